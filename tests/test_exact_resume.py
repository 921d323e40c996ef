"""Stopped anywhere and resumed, a run is bit for bit the run that was never stopped."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from muzero_wm import training
from muzero_wm.basis.signals import Interrupted
from muzero_wm.config import Config
from muzero_wm.config.presets import load_config
from muzero_wm.learning.learner import Learner
from muzero_wm.replay.packs import contents
from muzero_wm.run.progress import Progress
from muzero_wm.storage.checkpoint import load_checkpoint
from muzero_wm.training import train

SMALL = [
    "model.torso=mlp", "model.width=16", "model.head_width=16", "model.projection_width=16", "search.num_simulations=6",
    "acting.num_envs=12", "acting.steps_per_round=5", "acting.process=false", "replay.min_steps=60",
    "replay.max_steps=200", "learning.batch_size=16", "learning.updates_per_round=3", "learning.max_updates=30",
    "learning.max_minutes=null", "run.tensorboard=false", "run.log_every_seconds=0.0001",
]  # fmt: skip
PRIORITIES = ("replay.priority_exponent=0.6",)
REANALYZE = ("replay.reanalyze_fraction=0.25",)
CONV = ("model.torso=conv", "model.width=8", "model.batch_norm=true")
IMAGES = ("model.torso=pixels", "model.width=8", "learning.random_shift=3", "learning.random_intensity=0.1")
RULES = ("search.model=rules",)
PROCESS = ("acting.process=true",)
OPENINGS = ("acting.random_openings=0.5", "acting.max_random_plies=4")
EXPLORATION = ("acting.random_moves=0.9", "acting.min_noise=0")
CASES = {
    "board-mlp": ("tictactoe", ()),
    "board-mlp-priorities": ("tictactoe", (*PRIORITIES, "search.algorithm=puct", "learning.optimizer=sgd")),
    "board-conv-everything": ("connect4", (*CONV, *PRIORITIES, *REANALYZE, *OPENINGS)),
    "board-process": ("tictactoe", (*PROCESS, *PRIORITIES, *REANALYZE)),
    "board-rules": ("connect4", (*PROCESS, *PRIORITIES, *OPENINGS, *REANALYZE, *RULES)),
    "gym-mlp": ("gym:CartPole-v1", ()),
    "gym-exploration": ("gym:CartPole-v1", (*PRIORITIES, *EXPLORATION, "replay.bootstrap=teacher", "replay.n_step=3")),
    "gym-workers": ("gym:CartPole-v1", (*PROCESS, "acting.env_workers=2", "acting.env_timeout_seconds=60")),
    "images": ("tests.envs.toys:Road(size=24)", (*IMAGES, "replay.bootstrap=teacher", "replay.n_step=3")),
    "gym-long": ("gym:tests.replay.endless:Rare-v0", (*PROCESS, *PRIORITIES, *REANALYZE, "replay.n_step=4")),
    "gym-frames": (
        "gym:tests.replay.endless:Rare-v0(frame_stack=4)",
        (
            *PROCESS,
            *PRIORITIES,
            *REANALYZE,
            "replay.n_step=3",
            "replay.bootstrap=teacher",
            "replay.reward_fraction=0.3",
        ),
    ),
    "gym-process": ("gym:CartPole-v1", (*PROCESS, *PRIORITIES, *REANALYZE, "replay.n_step=5")),
}
CLOCKS = ("elapsed", "games_per_minute", "updates_per_second", "positions_per_second", "acting/memory_mib")


def configure(env: str, overrides: tuple[str, ...]) -> Config:
    return load_config("cartpole" if ":" in env else "tictactoe", env=env, overrides=[*SMALL, *overrides])


def outcome(folder: Path) -> dict[str, Any]:
    """Returns everything a run ends with except times."""
    state = load_checkpoint(folder / "checkpoints")
    del state["progress"]["elapsed"]
    state["replay"] = contents(state["replay"])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {"state": state, "metrics": [{k: v for k, v in line.items() if k not in CLOCKS} for line in lines]}


def assert_same(first: Any, second: Any, path: str = "") -> None:
    assert type(first) is type(second), path
    if isinstance(first, dict):
        assert first.keys() == second.keys(), path
        for key in first:
            assert_same(first[key], second[key], f"{path}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), path
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f"{path}[{index}]")
    elif isinstance(first, torch.Tensor | np.ndarray):
        assert first.dtype == second.dtype and np.array_equal(np.asarray(first), np.asarray(second)), path
    else:
        assert first == second, path


@pytest.fixture(params=CASES, scope="module")
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, forked_children: None
) -> tuple[Config, dict[str, Any]]:
    """A configuration and the outcome of its run that was never stopped."""
    config = configure(*CASES[request.param])
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(config, folder)
    return config, outcome(folder)


def test_a_signal_ends_at_a_border_and_the_rest_is_the_same(
    whole: tuple[Config, dict[str, Any]], tmp_path: Path
) -> None:
    config, expected = whole
    for stop_after, number in ((2, signal.SIGTERM), (7, signal.SIGINT)):

        def stop(learner: Learner, progress: Progress, rounds: int = stop_after, number: int = number) -> None:
            if progress.rounds == rounds:
                os.kill(os.getpid(), number)

        with pytest.raises(Interrupted) as caught:
            train(config, tmp_path / "run", resume=stop_after > 2, on_round=stop)
        assert caught.value.signum == number and caught.value.saved
        assert load_checkpoint(tmp_path / "run" / "checkpoints")["progress"]["rounds"] == stop_after
    train(config, tmp_path / "run", resume=True)
    assert_same(outcome(tmp_path / "run"), expected)


@pytest.mark.parametrize("age", [0.0, 1e9], ids=["last-border", "old-border"])
def test_a_round_that_is_given_up_is_done_again(
    whole: tuple[Config, dict[str, Any]], age: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of the updates of a round, when replay and weights are between two borders."""
    config, expected = whole
    monkeypatch.setattr(training.Border, "SHORTEST_AGE", age)
    monkeypatch.setattr(training.Border, "LARGEST_SHARE", 1e9)
    learn = training._learn

    def interrupted(learner: Learner, replay: Any, progress: Progress, config: Config, tick: Any) -> dict[str, float]:
        def stop() -> None:
            if learner.updates == 14:
                raise KeyboardInterrupt

        return learn(learner, replay, progress, config, stop)

    with monkeypatch.context() as patch:
        patch.setattr(training, "_learn", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run")
    saved = load_checkpoint(tmp_path / "run" / "checkpoints")
    assert saved["learner"]["updates"] == (12 if age == 0.0 else 0)
    train(config, tmp_path / "run", resume=True)
    assert_same(outcome(tmp_path / "run"), expected)
