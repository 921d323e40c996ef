"""Observations are normalised by what the replay holds, anew whenever twice as much was seen, and clipped."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from muzero_wm.config import Config
from muzero_wm.learning.learner import Learner
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.statistics import observation_statistics
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


def test_statistics_are_taken_whenever_what_was_seen_has_doubled_and_by_the_teacher_too() -> None:
    learner, buffer = Learner(configure(), SPEC), replay(3.0)
    assert learner.model.observation.waiting
    for round_index, more in enumerate([0, 5, 1, 11, 1]):
        for seed in range(more):
            buffer.extend(episode(3.0, 100 * round_index + seed))
        learner.run_round(buffer, round_index, 1, 0.0)
        episodes = {0: 6, 1: 6, 2: 12, 3: 12, 4: 24}[round_index]
        seen = buffer.ring["observation"][: episodes * 7].astype(np.float64)
        for model in (learner.model, learner.teacher):
            assert int(model.observation.count) == episodes * 7
            np.testing.assert_allclose(model.observation.shift.numpy(), seen.mean(0), rtol=1e-5)
            np.testing.assert_allclose(model.observation.scale.numpy(), 1 / seen.std(0), rtol=1e-5)
    kept = learner.model.observation.state_dict()
    assert set(kept) == {"shift", "scale", "count"}
    assert kept["scale"].equal(learner.acting_weights()["observation.scale"])


@pytest.mark.parametrize("shape", [(), (2, 3, 3), (2, 24, 21)])
def test_new_statistics_change_no_prediction(shape: tuple[int, ...]) -> None:
    """Within what was seen before, the first layer makes up for them."""
    conv = len(shape) == 3
    spec = dataclasses.replace(SPEC, observation_shape=shape or SPEC.observation_shape)
    model = Learner(configure(), spec).model
    rng = np.random.default_rng(0)
    seen = (5.0 + rng.normal(size=(100, *spec.observation_shape)) * 3.0).astype(np.float32)
    model.normalize(observation_statistics(seen, np.arange(100), conv), 100)
    with torch.no_grad():
        before = model.representation(model.observation(torch.from_numpy(seen)))
    more = np.concatenate([seen, 2.0 * seen])
    model.normalize(observation_statistics(more, np.arange(200), conv), 200)
    with torch.no_grad():
        after = model.representation(model.observation(torch.from_numpy(seen)))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


def test_observations_may_become_a_thousand_times_as_large() -> None:
    """Whether they are above 0 is what pays later on, and is learnt."""
    learner, buffer = Learner(configure(learning_rate=5e-3), SPEC), replay(1.0)
    for index in range(4):
        learner.run_round(buffer, index, 10, 0.0)

    def later(seed: int) -> Trajectories:
        made = episode(1.0, seed)
        observation = np.random.default_rng(seed).normal(size=made.observation.shape).astype(np.float32) * 1000.0
        reward = np.append(observation[:-1, 0] > 0, 0.0).astype(np.float32)
        return dataclasses.replace(made, observation=observation, reward=reward)

    for seed in range(20):
        buffer.extend(later(seed))
    for index in range(4, 40):
        learner.run_round(buffer, index, 10, 0.0)
    model = learner.model
    observation = torch.from_numpy(later(1000).observation)
    observation = torch.cat([observation, *(torch.from_numpy(later(seed).observation) for seed in range(1001, 1010))])
    prepared = model.observation(observation)
    assert 0.3 < prepared.std() < 3.0 and prepared.abs().max() <= 10.0
    with torch.inference_mode():
        latent = model.step(model.represent(observation), torch.zeros(len(observation), dtype=torch.int64))
        rewarded = model.reward_support.decode(model.predict(latent).reward_logits) > 0.5
    assert (rewarded == (observation[:, 0] > 0)).float().mean() > 0.85


def test_resumed_before_or_after_the_statistics_it_is_the_same() -> None:
    for stop in (0, 1, 2):
        whole, buffer = Learner(configure(), SPEC), replay(50.0)
        saved: dict = {}
        for index in range(3):
            buffer.extend(episode(50.0 + 100.0 * index, index))
            for seed in range(6 * index):
                buffer.extend(episode(200.0, seed))
            if index == stop:
                saved = copy.deepcopy({"learner": whole.state_dict(), "replay": buffer.state_dict()})
            whole.run_round(buffer, index, 2, 0.0)
        resumed, again = Learner(configure(), SPEC), ReplayBuffer(SPEC, configure().replay, 1.0)
        resumed.load_state_dict(saved["learner"])
        again.load_state_dict(saved["replay"])
        assert resumed.model.observation.waiting == (stop == 0)
        for index in range(stop, 3):
            if index > stop:
                again.extend(episode(50.0 + 100.0 * index, index))
                for seed in range(6 * index):
                    again.extend(episode(200.0, seed))
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
