"""Observations are normalised by what the replay held before the first update, and by nothing later."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from muzero_wm.config import Config
from muzero_wm.learning.learner import Learner
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.trajectory import Trajectories
from tests.replay.helpers import make_episode, make_spec

SPEC = make_spec(1)


def configure(**learning: object) -> Config:
    return Config.model_validate(
        {
            "model": {"width": 16, "head_width": 16, "projection_width": 8},
            "search": {"num_simulations": 4},
            "acting": {"process": False},
            "replay": {"max_steps": 200, "unroll_steps": 2, "reanalyze_fraction": 0.25},
            "learning": {"max_updates": 100, "batch_size": 8, **learning},
            "inference": {"backend": "eager"},
        }
    )


def episode(size: float, seed: int) -> Trajectories:
    made = make_episode([0.0, 1.0, 0.0, 0.0, 1.0, 0.5], players=1)
    observation = np.random.default_rng(seed).normal(size=made.observation.shape) * size + 0.5 * size
    return dataclasses.replace(made, observation=observation.astype(np.float32))


def replay(size: float) -> ReplayBuffer:
    buffer = ReplayBuffer(SPEC, configure().replay, 1.0)
    for seed in range(6):
        buffer.extend(episode(size, seed))
    return buffer


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_any_size_of_features_trains_alike(size: float) -> None:
    """Units do not matter: the losses are those of features of size 1."""
    losses = []
    for scale in (1.0, size):
        learner, buffer = Learner(configure(), SPEC), replay(scale)
        metrics = [learner.run_round(buffer, index, 5, 0.1) for index in range(4)]
        losses.append([each["loss/total"] for each in metrics])
        assert np.isfinite(losses[-1]).all() and metrics[-1]["replay/reanalyzed"] > 0
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-3)


def test_statistics_are_taken_once_and_by_the_teacher_too() -> None:
    learner, buffer = Learner(configure(), SPEC), replay(3.0)
    assert learner.model.observation.waiting
    seen = buffer.ring["observation"][: 6 * 7].astype(np.float64)
    learner.run_round(buffer, 0, 1, 0.0)
    for model in (learner.model, learner.teacher):
        assert int(model.observation.count) == 6 * 7
        np.testing.assert_allclose(model.observation.shift.numpy(), seen.mean(0), rtol=1e-6)
        np.testing.assert_allclose(model.observation.scale.numpy(), 1 / seen.std(0), rtol=1e-6)
    before = {name: tensor.clone() for name, tensor in learner.model.observation.state_dict().items()}
    assert set(before) == {"shift", "scale", "count"}
    buffer.extend(episode(100.0, 9))
    learner.run_round(buffer, 1, 3, 0.0)
    for model in (learner.model, learner.teacher):
        assert all(torch.equal(model.observation.state_dict()[name], tensor) for name, tensor in before.items())
    assert before["scale"].equal(learner.acting_weights()["observation.scale"])


def test_resumed_before_or_after_the_statistics_it_is_the_same() -> None:
    for stop in (0, 1, 2):
        whole, buffer = Learner(configure(), SPEC), replay(50.0)
        saved: dict = {}
        for index in range(3):
            if index == stop:
                saved = copy.deepcopy({"learner": whole.state_dict(), "replay": buffer.state_dict()})
            whole.run_round(buffer, index, 2, 0.0)
        resumed, again = Learner(configure(), SPEC), ReplayBuffer(SPEC, configure().replay, 1.0)
        resumed.load_state_dict(saved["learner"])
        again.load_state_dict(saved["replay"])
        assert resumed.model.observation.waiting == (stop == 0)
        for index in range(stop, 3):
            resumed.run_round(again, index, 2, 0.0)
        for name, tensor in whole.state_dict()["teacher"].items():
            assert torch.equal(tensor, resumed.state_dict()["teacher"][name]), name


def test_a_rollback_to_before_the_statistics_takes_them_again() -> None:
    learner, buffer = Learner(configure(on_nonfinite="rollback"), SPEC), replay(1e4)
    learner.anchor()
    bad = iter([False, True, False])
    update = learner._update

    def sometimes_bad(batch: object, *rest: object) -> object:
        if next(bad):
            batch.targets.value[0, 0] = np.nan  # type: ignore[attr-defined]
        return update(batch, *rest)  # type: ignore[arg-type]

    learner._update = sometimes_bad  # type: ignore[method-assign,assignment]
    learner.run_round(buffer, 0, 3, 0.0)
    assert learner.guard.total == 1
    assert int(learner.model.observation.count) == int(learner.teacher.observation.count) == 6 * 7
