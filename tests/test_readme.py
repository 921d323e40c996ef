"""README.md: every block of code in it is run as a file, and what it says is printed is printed."""

from __future__ import annotations

import io
import os
import re
import shlex
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from muzero_wm.cli import arguments as cli_arguments
from muzero_wm.cli import main as cli
from muzero_wm.cli.reports import print_evaluation
from muzero_wm.config.presets import load_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SHELL = [text for language, text in BLOCKS if language == "sh"]
PYTHON = [text for language, text in BLOCKS if language == "python"]
TEXT = [text for language, text in BLOCKS if language == "text"]

SMALL = ["acting.num_envs=4", "search.num_simulations=2", "replay.min_steps=8", "learning.batch_size=4"]
SMALL += ["run.tensorboard=true", "inference.backend=eager"]
INLINE = [*SMALL, "acting.process=false"]
BUDGETS = {
    "train": ["--max-updates", "2", "--set", *INLINE],
    "evaluate": ["--games", "2", "--opponent", "random"],
    "arena": ["--games", "2"],
    "play": [],
    "envs": [],
    "check-env": ["--steps", "50"],
    "bench": ["--seconds", "0.01"],
}

# What a shell finds before the programs of these names. `muzero-wm` is the real one with a budget at the end of its
# words; a budget of ours comes last, so it counts.
PROGRAMS = {
    "muzero-wm": """
case "$1" in {cases} *) echo "no budget for $1" >&2; exit 1 ;; esac
exec {python} -m muzero_wm "$@" < {answers}
""",
    # installs from the network and trains: the targets are looked up and their commands listed
    "make": 'exec {make} --dry-run --directory {root} "$@"',
    # serves until it is stopped: looks for the same logs and ends
    "tensorboard": 'exec {python} -m tensorboard.main --inspect "$@" > /dev/null',
}
NOT_RUN = {"pip install --constraint constraints.txt torch": "downloads PyTorch"}
SLOW = "train quickstart --run-dir"


def _programs(folder: Path) -> Path:
    folder.mkdir()
    answers = folder / "answers"
    answers.write_text("q\n")
    quoted = ((name, " ".join(map(shlex.quote, words))) for name, words in BUDGETS.items())
    cases = " ".join(f'{name}) set -- "$@" {words} ;;' for name, words in quoted)
    for name, text in PROGRAMS.items():
        program = folder / name
        filled = text.format(
            cases=cases, python=sys.executable, answers=answers, root=ROOT, make="/usr/bin/env -i make"
        )
        program.write_text(f"#!/bin/sh\n{filled.strip()}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


@pytest.mark.parametrize("block", [pytest.param(b, marks=pytest.mark.slow if SLOW in b else ()) for b in SHELL])
def test_every_shell_block_runs_as_a_file(block: str, tmp_path: Path) -> None:
    if reason := next((why for line, why in NOT_RUN.items() if line in block), None):
        pytest.skip(reason)
    script = tmp_path / "block.sh"
    script.write_text(block)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = os.pathsep.join([str(_programs(tmp_path / "programs")), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-e", "-u", str(script)], cwd=tmp_path, env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_only_what_installs_is_not_run() -> None:
    for line, _ in NOT_RUN.items():
        (block,) = (block for block in SHELL if line in block)
        words = [shlex.split(line) for line in block.splitlines()]
        assert all(word[0] in ("python", "source", "pip") for word in words)
        files = [word[i + 1] for word in words for i in range(len(word) - 1) if word[i] == "--constraint"]
        assert files and all((ROOT / file).is_file() for file in files)


def test_every_command_parses_and_every_preset_is_there() -> None:
    """The blocks that run have their budgets changed; so this looks at the words as they stand."""
    seen = set()
    for line in "".join(SHELL).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["muzero-wm"]:
            args, unknown = cli_arguments.build_parser(cli.COMMANDS).parse_known_args(words[1:])
            assert not unknown and args.command is not None, line
            if source := getattr(args, "source", None):
                env = source if ":" in source else args.env
                load_config(None if ":" in source else source, env=env, overrides=args.set)
            seen.add(words[1])
    assert seen == set(BUDGETS)


def test_every_command_runs_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick half of `test_every_shell_block_runs_as_a_file`, whose many commands each start Python anew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.setattr("sys.stdin", io.StringIO("q\n"))
    for line in "".join(SHELL).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["muzero-wm"]:
            assert cli.main([*words[1:], *BUDGETS[words[1]]]) == 0, line


@pytest.mark.parametrize("block", PYTHON)
def test_every_python_block_runs_as_a_file(block: str, tmp_path: Path) -> None:
    """With an acting process, which does not run the file again."""
    budget = f"max_updates=2, overrides={SMALL}"
    script = tmp_path / "block.py"
    script.write_text(block.replace("max_minutes=1", budget))
    assert budget in script.read_text()
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "<Agent of gym:CartPole-v1:" in done.stdout
    assert (tmp_path / "runs" / "pole" / "config.yaml").is_file()


def test_the_verdict_is_what_an_evaluation_prints(capsys: pytest.CaptureFixture[str]) -> None:
    match = {"games": 2, "wins": 0, "draws": 2, "losses": 0, "score": 0.5}
    report = {"env": "tictactoe", "simulations": 25, "seed": 0, "opponent": "perfect", **match, "raw_policy": match}
    print_evaluation({**report, "exhaustive": {"losses": 0, "games": 534}})
    assert capsys.readouterr().out.endswith(f"\n{TEXT[0]}")


def test_mistakes_are_reported_as_shown(capsys: pytest.CaptureFixture[str]) -> None:
    call = ["train", "tictactoe", "--set", "model.torso=cnv", "model.widht=1"]
    assert cli.main(call) == 2
    assert capsys.readouterr().err == TEXT[1]
    assert len(TEXT) == 2


def test_it_is_short_and_its_links_are_there() -> None:
    assert len(README.splitlines()) < 200
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_every_extra_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    table = README[README.index("| extra | brings |") :].partition("\n\n")[0]
    told = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert told | {"device"} == set(project["optional-dependencies"])  # PyTorch brings what that one is for
