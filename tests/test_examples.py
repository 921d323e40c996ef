"""The examples of docs/custom-environment.md and docs/own-network.md: what the pages show, they do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import muzero_wm
from muzero_wm import envs
from tests.envs.helpers import random_moves

ROOT = Path(__file__).parents[1]
OWN = ROOT / "examples" / "own_network.py"
OWN_PAGE = (ROOT / "docs" / "own-network.md").read_text(encoding="utf-8")
EXAMPLES = sorted(set((ROOT / "examples").glob("*.py")) - {OWN})
PAGE = (ROOT / "docs" / "custom-environment.md").read_text(encoding="utf-8")
NAMES = [f"{path.stem}:make" for path in EXAMPLES if "\ndef make(" in path.read_text(encoding="utf-8")]
PATHS = os.pathsep.join([str(ROOT / "examples"), str(ROOT)])

SMALL = ["acting.num_envs=8", "acting.steps_per_round=16", "search.num_simulations=4", "replay.min_steps=200"]
SMALL += ["acting.process=false", "inference.backend=eager", "learning.batch_size=16"]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.setenv("PYTHONPATH", PATHS)  # of the processes that play and learn


def test_the_page_shows_the_files_and_nothing_else() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert sorted(blocks) == sorted(path.read_text(encoding="utf-8") for path in EXAMPLES)


@pytest.mark.parametrize("name", NAMES)
def test_random_games_come_to_an_end(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    env = envs.make(name, 4, seed)
    step, ended, shown = env.reset(), 0, []
    for _ in range(200):
        step = env.step(random_moves(step.legal_actions, rng))
        ended += int((step.terminated | step.truncated).sum())
        shown.append(step.observation)
    assert ended > 8
    assert len(np.unique(np.concatenate(shown), axis=0)) > 50
    assert env.spec.name == name


def test_both_forms_of_connect3_are_the_same_game(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = envs.make("connect3_gym:make", 16, seed), envs.make("connect3_numba:make", 16, seed)
    x, y = a.reset(), b.reset()
    results = []
    for _ in range(400):
        for what in ("observation", "legal_actions", "to_play", "reward", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(x, what), getattr(y, what), err_msg=what)
        np.testing.assert_array_equal(x.final_observation, y.final_observation)
        np.testing.assert_array_equal(x.final_to_play, y.final_to_play)
        results += y.reward[y.terminated].tolist()
        actions = random_moves(y.legal_actions, rng)
        x, y = a.step(actions), b.step(actions)
    assert set(results) == {0.0, 1.0}
    assert (a.spec.num_players, a.spec.alternating, a.spec.value_bounds) == (2, True, (-1.0, 1.0))
    assert a.spec.observation_shape == b.spec.observation_shape


@pytest.mark.parametrize(
    ("columns", "over"),
    [("01010", True), ("0011", False), ("00112", True), ("0212132", True), ("2110300", True)],
)
def test_connect3_knows_a_line(columns: str, over: bool) -> None:
    """Up; none; along the bottom; rising; falling."""
    for form in ("gym", "numba"):
        env = envs.make(f"connect3_{form}:make", 1)
        step = env.reset()
        for column in columns:
            assert not step.terminated[0]
            step = env.step(np.array([int(column)]))
        assert (bool(step.terminated[0]), float(step.reward[0])) == (over, float(over))


@pytest.mark.parametrize("columns", ["02233", "1030020"])
def test_no_line_of_connect3_runs_around_the_edge(columns: str) -> None:
    """Three cells that follow each other in memory, row by row in the first game, column by column in the second."""
    for form in ("gym", "numba"):
        env = envs.make(f"connect3_{form}:make", 1)
        env.reset()
        assert not any(env.step(np.array([int(column)])).terminated[0] for column in columns)


def way_to_the_goal(planes: np.ndarray) -> list[int]:
    """Returns the moves of a shortest way around the holes, found breadth first."""
    size = planes.shape[1]
    ways: dict[tuple[int, int], list[int]] = {(0, 0): []}
    edge = [(0, 0)]
    while (size - 1, size - 1) not in ways:
        y, x = edge.pop(0)
        for move, cell in enumerate([(y - 1, x), (y, x + 1), (y + 1, x), (y, x - 1)]):
            if min(cell) >= 0 and max(cell) < size and not planes[2][cell] and cell not in ways:
                ways[cell] = [*ways[y, x], move]
                edge.append(cell)
    return ways[size - 1, size - 1]


@pytest.mark.parametrize("size", [4, 7])
def test_the_goal_of_the_grid_can_be_reached(size: int, seed: int) -> None:
    env = envs.make(f"gridworld:make(size={size})", 1, seed)
    step = env.reset()
    for _ in range(20):
        nearer, rewards = {0: -0.1, 1: 0.1, 2: 0.1, 3: -0.1}, []
        for move in way_to_the_goal(step.observation[0]):
            step = env.step(np.array([move]))
            rewards.append(float(step.reward[0]) - nearer[move])
        assert step.terminated[0]
        assert rewards == pytest.approx([0.0] * (len(rewards) - 1) + [1.0], abs=1e-6)


def test_a_grid_has_holes_and_a_time_limit(seed: int) -> None:
    env = envs.make("gridworld:make", 1, seed)
    step = env.reset()
    hole = int(step.observation[0, 2, 1].argmax())
    for move in [1] * hole + [2]:
        step = env.step(np.array([move]))
    assert (step.reward[0], step.terminated[0]) == (pytest.approx(0.1), True)
    for length in range(1, 51):
        step = env.step(np.array([0]))
        assert (bool(step.terminated[0]), bool(step.truncated[0])) == (False, length == 50)


def test_the_command_of_the_page_trains(tmp_path: Path) -> None:
    command = "train --env gridworld:make"
    assert f"muzero-wm {command}" in PAGE
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "muzero_wm",
            *command.split(),
            "--max-updates",
            "3",
            "--run-dir",
            "run",
            "--set",
            *SMALL,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PATHS},
    )
    assert done.returncode == 0, done.stderr
    assert "muzero-wm evaluate" in done.stdout


@pytest.mark.parametrize("name", ["connect3_gym:make", "connect3_numba:make"])
def test_the_games_of_two_players_train(name: str, tmp_path: Path) -> None:
    agent = muzero_wm.train(env=name, run_dir=tmp_path / "run", max_updates=3, overrides=SMALL)
    step = envs.make(name, 1).reset()
    assert agent.act(step.observation[0], step.legal_actions[0]) in range(4)


def test_the_agent_plays_in_an_ordinary_loop(tmp_path: Path) -> None:
    """FrozenLake shows a number where the network sees 16; the file is run as it is."""
    muzero_wm.train(
        env="gym:FrozenLake-v1(is_slippery=False)", run_dir=tmp_path / "run", max_updates=1, overrides=SMALL
    )
    command = [sys.executable, str(ROOT / "examples" / "gymnasium_loop.py"), str(tmp_path / "run"), "FrozenLake-v1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"return [01]\.0\n", done.stdout)


def test_the_page_on_networks_shows_a_file_of_less_than_60_lines() -> None:
    text = OWN.read_text(encoding="utf-8")
    assert f"```python\n{text}```" in OWN_PAGE
    assert sum(1 for line in text.splitlines() if line.strip()) < 60


@pytest.mark.parametrize("block", re.findall(r"^```sh\n(.*?)^```", OWN_PAGE, re.MULTILINE | re.DOTALL))
def test_commands_with_an_own_network_run_as_a_file(block: str, tmp_path: Path) -> None:
    """The network acts in a process of its own, which is told what the program registered."""
    program = tmp_path / "python"
    small = " ".join([*(setting for setting in SMALL if "process" not in setting and "backend" not in setting)])
    program.write_text(
        f"""#!/bin/sh
case "$2" in train) set -- "$@" {small} --max-updates 2 ;; evaluate) set -- "$@" --games 2 ;; *) exit 1 ;; esac
exec {sys.executable} "$@"
"""
    )
    program.chmod(0o755)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "block.sh").write_text(block)
    done = subprocess.run(
        ["bash", "-e", "-u", "block.sh"], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]]), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "inference: eager-fp32" in done.stdout and "the others cannot evaluate it" in done.stdout
    assert "acting shares" not in done.stdout
    assert "against first" in done.stdout
    assert "loss/certainty" in (tmp_path / "runs" / "own" / "metrics.jsonl").read_text(encoding="utf-8")


def test_a_network_that_says_its_layers_runs_in_native_code(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```python\n(import math.*?)^```", OWN_PAGE, re.MULTILINE | re.DOTALL)
    small = [setting for setting in SMALL if "backend" not in setting]
    script = tmp_path / "block.py"
    script.write_text(block.replace("max_minutes=1, overrides=[", f"max_updates=2, overrides=[*{small}, "))
    assert "max_updates=2" in script.read_text()
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "inference: native-fp32" in done.stdout and "<Agent of tictactoe: shallow with" in done.stdout
