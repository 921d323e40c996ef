"""Symmetries turn board, policy and actions together."""

from __future__ import annotations

import numpy as np
import pytest

from muzero_wm import envs
from muzero_wm.config import ReplayConfig
from muzero_wm.learning.augment import apply_symmetries
from tests.replay.helpers import random_games

CONFIG = ReplayConfig(max_steps=500, unroll_steps=2)


@pytest.mark.parametrize("name", ["tictactoe", "connect4"])
def test_turned_samples_still_follow_the_rules(name: str, seed: int) -> None:
    """The cell that differs between a turned board and the next one is where the turned action puts its stone."""
    buffer = random_games(name, CONFIG, 20, seed)
    rng = np.random.default_rng(seed)
    slots = buffer.sample_slots(400, rng).slot
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
    buffer = random_games("tictactoe", CONFIG, 20, seed)
    rng = np.random.default_rng(seed)
    batch = buffer.batch(buffer.sample_slots(50, rng).slot, 0.0, rng)
    before = batch.observation.copy()
    apply_symmetries(batch, (), rng)
    assert np.array_equal(batch.observation, before)
