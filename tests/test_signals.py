"""What SIGINT and SIGTERM do to a run on the command line, in the middle of a round that takes half a minute."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from muzero_wm.storage.checkpoint import load_checkpoint
from tests.processes import children, gone

ROOT = Path(__file__).parents[1]
SLOW = ["acting.num_envs=12", "acting.steps_per_round=20", "model.width=16", "run.tensorboard=false"]


def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Yields a run as soon as it trains."""
    command = [sys.executable, "-m", "muzero_wm", "train", "--run-dir", str(folder), *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    ) as run:  # fmt: skip
        try:
            assert run.stdout is not None
            title = ""
            while not title.startswith(f"{folder}: "):  # signals are caught from here on
                title = run.stdout.readline()
                assert title, run.stderr.read() if run.stderr else ""
            yield run
        finally:
            run.kill()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_the_first_signal_saves_and_the_second_ends_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    slow = ("cartpole", "--env", "gym:tests.acting.faulty:Slow-v0", "--max-updates", "50", "--set", *SLOW)
    for run in started(folder, *slow, "acting.process=true"):
        time.sleep(3)  # into the first round
        players = children(run.pid)
        run.send_signal(signal.SIGTERM)
        _, errors = run.communicate(timeout=60)
        assert run.returncode == 143, errors
        assert "SIGTERM: saving a checkpoint, then ending" in errors
        assert f"the run is saved; go on with: muzero-wm train --resume --run-dir {folder}" in errors
        assert players
        while any(Path(f"/proc/{player}").exists() for player in players):
            time.sleep(0.1)  # the last to go is the one that watches over what multiprocessing shares
    assert load_checkpoint(folder / "checkpoints")["progress"]["rounds"] == 0

    for run in started(folder, "--resume", "--set", "acting.process=false"):
        run.send_signal(signal.SIGINT)
        assert run.stderr is not None
        while "SIGINT: saving" not in run.stderr.readline():
            pass
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=60)
        assert run.returncode == 130, errors
        assert "ended at once; the last checkpoint stands" in errors and "Traceback" not in errors


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_ctrl_c_reaches_the_parent_alone_and_ends_all(tmp_path: Path) -> None:
    """A terminal sends it to the whole group: acting process and environment workers must not break off."""
    walk = ("cartpole", "--env", "gym:tests.acting.faulty:Walk-v0", "--max-updates", "100000", "--set", *SLOW)
    for run in started(tmp_path / "run", *walk, "acting.process=true", "acting.env_workers=2"):
        while not (actors := [child for child in children(run.pid) if len(children(child)) == 2]):
            time.sleep(0.1)
        workers = children(actors[0])
        time.sleep(1)  # into a round, or into the start of the environments
        os.killpg(run.pid, signal.SIGINT)
        _, errors = run.communicate(timeout=60)
        assert run.returncode == 130 and "Traceback" not in errors
        assert errors.splitlines()[-2].startswith("the run is saved"), errors
        assert gone(workers | {*actors})
