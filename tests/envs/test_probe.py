"""What random games show: whether every move passes the turn."""

from __future__ import annotations

import numpy as np
import pytest

from muzero_wm.envs import EnvError, EnvSpec
from muzero_wm.envs.adapters.probe import alternates
from muzero_wm.envs.slots.single import Moment, SingleEnv


class Turns(SingleEnv):
    """`length` moves a game; action `again` at move `when` keeps the turn."""

    def __init__(self, again: int = -1, when: int = 0, length: int = 6, mask: list[int] | None = None) -> None:
        self.spec = EnvSpec("turns", (1,), np.dtype(np.float32), 4, 2)
        self._again, self._when, self._length, self._mask = again, when, length, mask
        self._t = self._seat = self.resets = self.steps = 0

    def reset(self, seed: int) -> Moment:
        self._t = self._seat = 0
        self.resets += 1
        return self._moment()

    def step(self, action: int) -> Moment:
        assert self._t < self._length and (self._mask is None or self._mask[action])
        if (action, self._t) != (self._again, self._when):
            self._seat = 1 - self._seat
        self._t += 1
        self.steps += 1
        return self._moment()

    def _moment(self) -> Moment:
        return Moment(np.zeros(1), self._mask, self._seat, terminated=self._t == self._length)


def test_a_game_that_passes_the_turn_every_time_alternates(seed: int) -> None:
    env = Turns()
    assert alternates(env, seed)
    assert (env.resets, env.steps) == (20, 120)


def test_one_move_that_keeps_the_turn_is_found(seed: int) -> None:
    assert not alternates(Turns(again=2, when=3), seed, games=100)


def test_the_seat_after_the_last_move_says_nothing(seed: int) -> None:
    assert alternates(Turns(again=2, when=5), seed, games=100)


def test_forbidden_actions_are_not_played(seed: int) -> None:
    assert alternates(Turns(again=2, when=0, mask=[1, 0, 0, 1]), seed)
    with pytest.raises(EnvError, match="turns: no action is allowed though the episode is not over"):
        alternates(Turns(mask=[0, 0, 0, 0]), seed)


def test_a_game_without_end_is_left_after_the_bound(seed: int) -> None:
    env = Turns(length=10**9)
    assert alternates(env, seed, games=3, max_moves=50)
    assert (env.resets, env.steps) == (1, 50)
