"""What an environment starts sees ordinary signals, wherever the environment runs, and none of our pipes."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from muzero_wm.acting.worker import ActingError
from muzero_wm.basis.signals import Interrupted, StopSignals
from muzero_wm.training import train
from tests.acting import helped
from tests.acting.pools import Kind, inline, spawned
from tests.acting.test_worker import config_for, play
from tests.processes import gone
from tests.test_exact_resume import SMALL, load_checkpoint, load_config
from tests.test_signals import SLOW, started

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


HELPERS = "gym:tests.acting.helped:Helpers-v0"


@pytest.mark.parametrize(("kind", "workers"), [(inline, 0), (spawned, 0), (spawned, 1)])
def test_helpers_end_by_the_signals_that_end_others(kind: Kind, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helped.Helpers, "tried", kind is spawned)  # in this process, which asks for the spec
    config = config_for(HELPERS, env_workers=workers)
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as stop:
        results = play(kind(config), config, rounds=1)
    assert len(results) == 1 and stop.requested is None
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_helpers_of_the_test_are_what_they_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where signals are blocked, the test sees it."""
    monkeypatch.setattr(helped, "_SECONDS", 0.3)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        survivors = list(helped.Helpers()._survivors())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert {"subprocess after SIGTERM", "os.fork after SIGTERM", "posix_spawn after SIGTERM"} <= {*survivors}


@LINUX
def test_ctrl_c_spares_what_the_environments_started_until_all_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(helped.LOG, str(log := tmp_path / "engines"))
    engine = ("cartpole", "--env", "gym:tests.acting.helped:Engine-v0", "--max-updates", "100000", "--set", *SLOW)
    for run in started(tmp_path / "run", *engine, "acting.process=true", "acting.env_workers=2"):
        while len(log.read_text().split()) < 14:  # one each, and those that were tried out
            time.sleep(0.1)
        time.sleep(1)  # into a round
        os.killpg(run.pid, signal.SIGINT)
        _, errors = run.communicate(timeout=60)
        assert run.returncode == 130, errors
        assert errors.splitlines()[-2].startswith("the run is saved"), errors
        assert "acting failed" not in errors and "Traceback" not in errors
        assert gone({int(pid) for pid in log.read_text().split()})


def test_what_ctrl_c_broke_within_the_program_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("cartpole", env="gym:tests.acting.helped:Struck-v0", overrides=SMALL)
    monkeypatch.setenv(helped.LOG, "")
    with pytest.raises(Interrupted) as caught:
        train(config, tmp_path / "run")
    assert caught.value.signum == signal.SIGINT and caught.value.saved
    assert load_checkpoint(tmp_path / "run/checkpoints")["progress"]["rounds"] == 0


@LINUX
@pytest.mark.parametrize("workers", [0, 1])
def test_a_process_that_ends_is_noticed_though_its_helper_lives(workers: int) -> None:
    """A fork holds what its parent held open, and would keep the pipe open with it."""
    config = config_for("gym:tests.acting.helped:Orphan-v0", env_workers=workers, max_restarts=0)
    begin = time.monotonic()
    with pytest.raises(ActingError, match="exit code 3"):
        play(spawned(config), config, rounds=1)
    assert time.monotonic() - begin < 45.0


@LINUX
def test_a_process_that_is_ended_by_force_takes_along_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(helped.LOG, str(log := tmp_path / "engines"))
    config = config_for("gym:tests.acting.helped:Engine-v0")
    actor = spawned(config)
    made_here = len(log.read_text().split())
    while len(log.read_text().split()) < made_here + config.acting.num_envs:
        time.sleep(0.1)
    actor.close()  # it was not asked for anything yet
    assert gone({int(pid) for pid in log.read_text().split()})
