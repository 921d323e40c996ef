"""Symmetries turn board, policy and actions together."""

from __future__ import annotations

import numpy as np
import pytest

from muzero_wm import envs
from muzero_wm.config import ReplayConfig
from muzero_wm.learning.augment import apply_symmetries
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.trajectory import Trajectories


def played(name: str, seed: int) -> ReplayBuffer:
    """Returns a replay of random games whose policy target is one-hot on the action played."""
    env, rng = envs.make(name, 1, seed), np.random.default_rng(seed)
    buffer = ReplayBuffer(env.spec, ReplayConfig(max_steps=500, unroll_steps=2), 1.0)
    step = env.reset()
    for _ in range(20):
        rows, done = [], False
        while not done:
            action = rng.choice(np.flatnonzero(step.legal_actions[0]))
            after = env.step(np.array([action]))
            rows.append((step.observation[0], step.legal_actions[0], step.to_play[0], action, after.reward[0]))
            done, step, final = bool(after.terminated[0]), after, after.final_observation[0]
        observation, legal, to_play, actions, reward = (list(column) for column in zip(*rows, strict=True))
        policy = np.eye(env.spec.num_actions, dtype=np.float32)[actions]
        buffer.extend(
            Trajectories(
                lengths=np.array([len(rows)]),
                terminated=np.array([True]),
                observation=np.stack([*observation, final]),
                legal_actions=np.stack([*legal, legal[0]]),
                to_play=np.array([*to_play, 1 - to_play[-1]], np.int8),
                action=np.array([*actions, -1], np.int32),
                reward=np.array([*reward, 0], np.float32),
                policy=np.concatenate([policy, policy[:1] * 0]),
                value=np.zeros(len(rows) + 1, np.float32),
            )
        )
    return buffer


@pytest.mark.parametrize("name", ["tictactoe", "connect4"])
def test_turned_samples_still_follow_the_rules(name: str, seed: int) -> None:
    """The cell that differs between a turned board and the next one is where the turned action puts its stone."""
    buffer = played(name, seed)
    rng = np.random.default_rng(seed)
    slots = buffer.sample_slots(400, rng)
    plain, turned = buffer.batch(slots, 0.0, rng), buffer.batch(slots, 0.0, rng)
    symmetries = envs.spec(name).symmetries
    apply_symmetries(turned, symmetries, rng)
    changed = (plain.observation != turned.observation).any((1, 2, 3))
    assert changed.mean() > 0.3, "hardly anything was turned"
    for b in np.flatnonzero(turned.targets.next_mask[:, 0]):
        own_before, other_after = turned.observation[b, 0], turned.next_observation[b, 0, 1]
        placed = np.argwhere(own_before != other_after)
        assert len(placed) == 1
        row, column = placed[0]
        action = turned.targets.action[b, 0]
        assert action == (row * 3 + column if name == "tictactoe" else column)
        assert np.argmax(turned.targets.policy[b, 0]) == action


def test_without_symmetries_nothing_changes(seed: int) -> None:
    buffer = played("tictactoe", seed)
    rng = np.random.default_rng(seed)
    batch = buffer.batch(buffer.sample_slots(50, rng), 0.0, rng)
    before = batch.observation.copy()
    apply_symmetries(batch, (), rng)
    assert np.array_equal(batch.observation, before)
