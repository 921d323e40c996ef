"""What environments change about the process counts for them alone."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from muzero_wm import envs
from muzero_wm.basis import foreign
from muzero_wm.basis.signals import Interrupted
from muzero_wm.envs.checking.check import check_env
from muzero_wm.learning.learner import Learner
from muzero_wm.run.progress import Progress
from muzero_wm.training import train
from tests.acting.meddling import CHANGES
from tests.test_exact_resume import SMALL, assert_same, load_config, outcome


def meddler(kind: str, when: str) -> str:
    return f"gym:tests.acting.meddling:Meddler-v0(kind={kind!r}, when={when!r})"


@pytest.fixture(autouse=True)
def _nothing_from_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "_theirs", {})


def state() -> dict[str, object]:
    return {kind: read() for kind, (_, read) in CHANGES.items()}


@pytest.mark.parametrize("when", ["init", "reset", "step"])
@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_stays_with_the_environment(kind: str, when: str) -> None:
    before = state()
    name = meddler(kind, when)
    assert envs.spec(name).num_actions == 2 and state() == before
    env = envs.make(name, 3)
    assert state() == before
    env.reset()
    assert state() == before
    for _ in range(7):
        env.step(np.ones(3, int))
        assert state() == before
    snapshot = env.snapshot()
    env.restore(snapshot)
    env.close()
    assert state() == before
    assert check_env(name, steps=20).of("error") == [] and state() == before


def test_what_the_program_changes_itself_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = envs.make(meddler("dtype", "step"), 1)
    env.reset()
    env.step(np.ones(1, int))
    monkeypatch.chdir(tmp_path)
    with torch.no_grad():
        env.step(np.ones(1, int))
        assert not torch.is_grad_enabled()
    assert Path.cwd() == tmp_path and torch.is_grad_enabled()
    env.close()


def test_sections_may_be_nested_and_end_with_an_error() -> None:
    before = state()

    @foreign.foreign
    def fails() -> None:
        with foreign.foreign:
            CHANGES["numpy"][0]()
        assert np.geterr()["divide"] == "raise"
        raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert state() == before
    with foreign.foreign:
        assert np.geterr()["divide"] == "raise"
    done = []
    thread = threading.Thread(target=lambda: done.append(foreign.foreign.__enter__() or foreign.foreign.__exit__()))
    thread.start()
    thread.join()
    assert done == [None] and state() == before


@pytest.mark.parametrize("when", ["init", "step"])
def test_a_run_beside_a_meddler_is_the_run_beside_none(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its folder is named relative to the current one, and a signal comes after the meddling."""
    monkeypatch.chdir(tmp_path)
    ends = []
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def stop(learner: Learner, progress: Progress) -> None:
        if progress.rounds == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    for kind in ("", "all"):
        config = load_config("cartpole", env=meddler(kind, when), overrides=SMALL)
        folder = Path(f"runs/{kind or 'none'}")
        with pytest.raises(Interrupted) as caught:
            train(config, folder, on_round=stop)
        assert caught.value.signum == signal.SIGTERM and caught.value.saved
        ends.append(outcome(tmp_path / folder))
        del ends[-1]["state"]["config"], ends[-1]["state"]["env"]
    assert_same(*ends)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert ends[0]["state"]["progress"]["rounds"] == 6


def test_a_run_folder_may_begin_with_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    train(load_config("tictactoe", overrides=[*SMALL, "learning.max_updates=3"]), "~/runs/mine")
    assert (tmp_path / "runs/mine/config.yaml").is_file()
