"""Rewards that random play never sees are learnt all the same."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from muzero_wm import envs
from muzero_wm.config.derived import glimpse
from muzero_wm.config.presets import load_config
from muzero_wm.learning.learner import Learner
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.trajectory import Trajectories

NAME = "tests.learning.test_supports:Ladder"
TOP = 20


class Ladder(gymnasium.Env):
    """Action 0 jumps off and earns 1, action 1 climbs; the 20th rung, which random play never reaches, earns 1 000."""

    observation_space = spaces.Box(0.0, 1.0, (TOP + 1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._rung = 0
        return self._shown(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._rung += action
        top = self._rung == TOP
        return self._shown(), 1000.0 * top + (action == 0), top or action == 0, False, {}

    def _shown(self) -> Any:
        return np.eye(TOP + 1, dtype=np.float32)[self._rung]


def climb(last: int) -> Trajectories:
    """Returns an episode that jumps off from the last rung, or stays on to the top where there are not as many."""
    env = Ladder()
    observations, rewards, actions = [env.reset()[0]], [], []
    over = False
    while not over:
        actions.append(int(len(actions) < last))
        observation, reward, over, _, _ = env.step(actions[-1])
        observations.append(observation)
        rewards.append(reward)
    steps = len(actions)
    return Trajectories(
        lengths=np.array([steps]),
        terminated=np.array([True]),
        observation=np.stack(observations),
        legal_actions=np.ones((steps + 1, 2), np.bool_),
        to_play=np.zeros(steps + 1, np.int8),
        action=np.array([*actions, -1], np.int32),
        reward=np.array([*rewards, 0.0], np.float32),
        policy=np.append(np.eye(2, dtype=np.float32)[actions], np.zeros((1, 2), np.float32), 0),
        value=np.zeros(steps + 1, np.float32),
    )


def learn(*overrides: str, rounds: int) -> tuple[Learner, dict[str, float]]:
    config = load_config(env=NAME, overrides=["learning.max_updates=1000", *overrides])
    spec = envs.spec(NAME)
    learner, buffer = Learner(config, spec), ReplayBuffer(spec, config.replay, config.search.discount)
    for last in [*range(TOP), *[TOP] * 20]:
        buffer.extend(climb(last))
    metrics: dict[str, float] = {}
    for index in range(rounds):
        metrics = learner.run_round(buffer, index, 16, index / rounds)
    return learner, metrics


def test_random_play_earns_1() -> None:
    assert glimpse(envs.spec(NAME)).largest_reward == 1.0


def test_what_only_a_master_earns_is_learnt_with_what_follows_from_random_play() -> None:
    learner, metrics = learn(
        "model.width=64",
        "model.head_width=64",
        "replay.unroll_steps=1",
        "learning.learning_rate=4e-3",
        "learning.batch_size=64",
        "learning.self_prediction_weight=0",
        rounds=20,
    )
    assert metrics["reward/outside"] == metrics["value/outside"] == 0.0
    model = learner.model
    with torch.inference_mode():
        latent = model.represent(torch.eye(TOP + 1)[TOP - 1 : TOP])
        value = float(model.value_support.decode(model.predict(latent).value_logits))
        rewards = model.predict(model.step(latent.repeat(2, 1), torch.tensor([0, 1]))).reward_logits
        nothing, top = model.reward_support.decode(rewards).tolist()
    assert top == pytest.approx(1000.0, rel=0.2) and nothing < 100.0
    assert 600.0 < value < 1300.0


def test_bins_that_are_too_narrow_are_told() -> None:
    narrow = "={low: -1.0, high: 1.0, num_bins: 21, transform: true}"
    _, metrics = learn(f"model.reward_support{narrow}", f"model.value_support{narrow}", rounds=1)
    assert metrics["reward/outside"] > 0.001 and metrics["value/outside"] > 0.1


def test_a_search_that_promises_more_than_a_win_needs_no_wider_bins() -> None:
    config = load_config("tictactoe", overrides=["replay.outcome_weight=0", "replay.symmetries=false"])
    spec = envs.spec("tictactoe")
    learner, buffer = Learner(config, spec), ReplayBuffer(spec, config.replay, 1.0)
    steps = 5
    game = Trajectories(
        lengths=np.array([steps]),
        terminated=np.array([True]),
        observation=np.zeros((steps + 1, *spec.observation_shape), np.uint8),
        legal_actions=np.ones((steps + 1, 9), np.bool_),
        to_play=np.arange(steps + 1, dtype=np.int8) % 2,
        action=np.array([0, 1, 2, 3, 4, -1], np.int32),
        reward=np.array([0, 0, 0, 0, 1, 0], np.float32),
        policy=np.full((steps + 1, 9), 1 / 9, np.float32),
        value=np.array([1.4, -1.2, 1.1, -1.3, 1.5, 0], np.float32),  # a win that is foretold, and what follows it
    )
    buffer.extend(game)
    assert learner.run_round(buffer, 0, 2, 0.0)["value/outside"] == 0.0
