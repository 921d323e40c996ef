"""Another `mcts` in front of ours is named, in one line, with what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from muzero_wm.basis.planner_package import check_planner

OTHERS = {"mcts.py": "class mcts: pass\n", "mcts/__init__.py": "from .searcher import search\n"}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture(params=OTHERS)
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    path.parent.mkdir(exist_ok=True)
    path.write_text(OTHERS[request.param], encoding="utf-8")
    return path


def test_ours_is_found() -> None:
    check_planner()


def test_a_command_says_it_in_one_line(other: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "muzero_wm", "envs")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"muzero-wm: error: mcts: expected the planner that comes with muzero_wm, got {other}; remove or rename that, "
        "for the package of that name on PyPI with: pip uninstall mcts"
    ]


@pytest.mark.parametrize("call", ["load('runs/none')", "Agent", "train('quickstart')"])
def test_the_library_says_it(call: str, other: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "-c", f"import muzero_wm; muzero_wm.{call}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "muzero_wm.basis.errors.UserError: mcts: expected the planner that comes"
    )
    assert str(other) in done.stderr


def test_none_is_said_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mcts", raising=False)
    monkeypatch.setattr(sys, "meta_path", [])
    with pytest.raises(ValueError, match=r"^mcts: expected the planner that comes with muzero_wm, got none; "):
        check_planner()
