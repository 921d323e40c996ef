"""docs/metrics.md names what runs write, all of it and nothing else."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from muzero_wm.config import Config
from muzero_wm.config.presets import load_config
from muzero_wm.training import train

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([\w/]+)` \|([^|]*)\|([^|]*)\|[^|]*\|$", PAGE, re.MULTILINE)
DOCUMENTED = {row[0] for row in ROWS}
LOGGING = ("acting", "learning", "replay", "evaluation", "run", "training.py")
SMALL = ["acting.num_envs=8", "acting.steps_per_round=16", "search.num_simulations=2", "replay.min_steps=100"]
SMALL += ["acting.process=false", "inference.backend=eager", "learning.batch_size=16", "run.tensorboard=false"]
SMALL += ["model.width=16", "run.log_every_seconds=0.001"]


def test_every_row_is_whole_and_stands_once() -> None:
    assert len(ROWS) == len(DOCUMENTED) == len(re.findall(r"^\| `", PAGE, re.MULTILINE))
    assert all(unit.strip() and meaning.strip() for _, unit, meaning in ROWS)


def test_settings_that_are_named_exist() -> None:
    settings = Config().model_dump()
    sections = "|".join(name for name, value in settings.items() if isinstance(value, dict))
    named = re.findall(rf"`({sections})\.(\w+)(?:: \w+)?`", PAGE)
    assert len(named) > 20
    assert [f"{a}.{b}" for a, b in named if b not in settings[a]] == []


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in the lines of a run of one player and of one of two."""
    names: set[str] = set()
    for env, more in (
        ("gym:CartPole-v1", ()),
        ("tictactoe", ("replay.reanalyze_fraction=0.25", "acting.process=true")),
    ):
        folder = tmp_path_factory.mktemp("metrics") / "run"
        train(load_config(None, env=env, overrides=[*SMALL, *more], max_updates=8), folder)
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        names |= {name for line in lines for name in json.loads(line)}
    return names


def loggable() -> tuple[set[str], set[str]]:
    """Returns keys "group/name" of dictionaries in the modules that log, and every word in those of the losses."""
    keys, words = set(), set()
    for place in LOGGING:
        path = ROOT / "muzero_wm" / place
        for file in [path] if path.is_file() else path.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                found = (
                    node.keys if isinstance(node, ast.Dict) else [node.slice] if isinstance(node, ast.Subscript) else []
                )
                texts = {key.value for key in found if isinstance(key, ast.Constant) and isinstance(key.value, str)}
                keys |= {text for text in texts if re.fullmatch(r"[a-z_]+/[a-z_0-9]+", text)}
                if place == "learning" and isinstance(node, ast.Constant) and isinstance(node.value, str):
                    words.add(node.value)
    return keys, words


def test_what_runs_write_is_on_the_page(written: set[str]) -> None:
    assert {"episode/return", "episode/draws", "replay/reanalyzed", "acting/memory_mib", "loss/total"} <= written
    assert written - DOCUMENTED == set(), "add a row to docs/metrics.md"


def test_what_the_code_can_log_is_on_the_page_and_the_page_names_nothing_else(written: set[str]) -> None:
    keys, words = loggable()
    assert len(keys) > 15
    assert keys - DOCUMENTED == set(), "add a row to docs/metrics.md"
    losses = {name for name in DOCUMENTED if name.startswith("loss/") and name.removeprefix("loss/") in words}
    # shown where it comes, by muzero_wm/run/panel.py
    assert DOCUMENTED - keys - losses - written - {"evaluation/score"} == set()
