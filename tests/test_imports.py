"""What a start imports: it is what a person waits for, and every process once more."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SMALL = ["acting.num_envs=4", "acting.process=true", "replay.min_steps=8", "learning.batch_size=8"]
SMALL += ["learning.max_updates=2", "learning.max_minutes=null", "run.tensorboard=false"]
# PyTorch's compiler takes as long to import as PyTorch itself; it brings along the other two.
COMPILER = {"torch._dynamo", "sympy", "triton"}


def imported(*arguments: str) -> list[set[str]]:
    """Returns the modules that a command has imported, and those of each process that it has started."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "muzero_wm", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    processes: list[set[str]] = []
    for name in re.findall(r"^import time: .*\| +(\S+)$", done.stderr, re.MULTILINE):
        if name == "site":  # the first that Python imports by itself
            processes.append(set())
        if processes:
            processes[-1].add(name)
    return processes


def test_training_and_playing_do_not_import_the_compiler(tmp_path: Path) -> None:
    learner_and_actor = imported("train", "tictactoe", "--run-dir", str(tmp_path / "run"), "--set", *SMALL)
    assert len(learner_and_actor) == 2
    assert any("muzero_wm.learning.learner" in names for names in learner_and_actor)
    assert not COMPILER & set.union(*learner_and_actor)
    (player,) = imported("evaluate", str(tmp_path / "run"), "--opponent", "random", "--games", "2")
    assert "torch" in player and not COMPILER & player
