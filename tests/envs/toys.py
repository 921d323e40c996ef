"""Small environments written by hand, and factories of them, named in tests as `tests.envs.toys:...`."""

from __future__ import annotations

import os
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from muzero_wm.envs import board_game
from muzero_wm.envs.base import EnvError, EnvSpec
from muzero_wm.envs.slots.single import Moment, SingleEnv

MADE: list[Any] = []
"""What the factories below have made in this process."""


class Counting(gymnasium.Env):
    """Step t (from 0) pays t and shows t + 1; `length` steps end the episode."""

    observation_space = spaces.Box(0.0, 100.0, (1,), np.float32)
    action_space = spaces.Discrete(3, start=5)

    def __init__(self, length: int = 4, bad_reward: bool = False, info: dict[str, Any] | None = None) -> None:
        self._length, self._bad_reward, self._info = length, bad_reward, info or {}
        self._t = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t = 0
        return np.zeros(1, np.float32), self._info

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in (5, 6, 7)
        reward = float("nan") if self._bad_reward else float(self._t)
        self._t += 1
        return np.full(1, self._t, np.float32), reward, self._t == self._length, False, self._info


class Echo(gymnasium.Env):
    """Shows `shown` all the time, keeps every action it got, and never ends."""

    def __init__(self, observation_space: Any = None, action_space: Any = None, shown: Any = 0) -> None:
        self.observation_space = observation_space or spaces.Discrete(1)
        self.action_space = action_space or spaces.Discrete(2)
        self.shown, self.got = shown, []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.shown, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.got.append(action)
        return self.shown, 0.0, False, False, {}


class Masked(Echo):
    """`action_masks()` forbids the actions below the number of steps, in the convention of sb3-contrib."""

    def __init__(self) -> None:
        super().__init__(action_space=spaces.Discrete(4))

    def action_masks(self) -> Any:
        return np.arange(4) >= min(len(self.got), 3)


class Nim(gymnasium.Env):
    """Two players take 1 to 3 of `pile` matches; who takes the last wins.

    Observation: matches left, and the seat to move. Taking `again` matches keeps the turn (0: never), `random_pile`
    draws the pile in [4, 12]. `quiet` leaves out to_play, always ("step") or at the end ("end").
    """

    observation_space = spaces.Box(0, 100, (2,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(
        self,
        pile: int = 7,
        again: int = 0,
        prize: float = 1.0,
        random_pile: bool = False,
        quiet: str = "",
        **about: Any,
    ) -> None:
        self.metadata = {"render_modes": [], **about}
        self._pile, self._again, self._prize, self._random_pile, self._quiet = pile, again, prize, random_pile, quiet
        self._left = self._seat = self.resets = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._left = int(self.np_random.integers(4, 13)) if self._random_pile else self._pile
        self._seat = 0
        self.resets += 1
        return self._show(), {"to_play": 0, "action_mask": self._mask()}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        take = action + 1
        assert 1 <= take <= self._left
        self._left -= take
        if take != self._again:
            self._seat = 1 - self._seat
        over = self._left == 0
        info = {"to_play": self._seat, "action_mask": self._mask()}
        if self._quiet == "step" or (self._quiet == "end" and over):
            del info["to_play"]
        return self._show(), self._prize if over else 0.0, over, False, info

    def _show(self) -> Any:
        return np.array([self._left, self._seat], np.float32)

    def _mask(self) -> Any:
        return (np.arange(3) < self._left).astype(np.int8)


class Road(gymnasium.Env):
    """Shows a road from above, the car at the bottom; it bends a column at a time, and beside it the drive is over."""

    action_space = spaces.Discrete(3)

    def __init__(self, size: int = 96, cells: int = 8, length: int = 40) -> None:
        self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)
        self._size, self._cells, self._length = size, cells, length

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        bends = self.np_random.integers(-1, 2, self._length + self._cells)
        self._road = np.clip(np.cumsum(bends) + self._cells // 2, 1, self._cells - 2)
        self._car, self._t = int(self._road[0]), 0
        return self._show(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._car = int(np.clip(self._car + action - 1, 0, self._cells - 1))
        self._t += 1
        on_road = abs(self._car - int(self._road[self._t])) <= 1
        return self._show(), float(on_road), not on_road, self._t == self._length, {}

    def _show(self) -> Any:
        image = np.zeros((self._cells, self._cells, 3), np.uint8)
        for row in range(self._cells):
            middle = self._road[self._t + row]
            image[-1 - row, middle - 1 : middle + 2, 1] = 200
        image[-1, self._car, 0] = 255
        large = -(-self._size // self._cells)
        return image.repeat(large, 0).repeat(large, 1)[: self._size, : self._size]


class Walk(SingleEnv):
    """Action a adds a to the number that is shown, from seed % 10 on; over at 30 or more. `players` take turns."""

    def __init__(self, players: int = 1, again: bool = False, alternating: bool = True) -> None:
        shape, dtype = (2,), np.dtype(np.float32)
        self.spec = EnvSpec("walk", shape, dtype, 5, players, alternating=alternating)
        self._players, self._again = players, again
        self._at = self._seat = 0
        self._shown = np.zeros(2, np.float32)
        self.closed = False

    def reset(self, seed: int) -> Moment:
        self._at, self._seat = seed % 10, 0
        return self._moment(0.0)

    def step(self, action: int) -> Moment:
        self._at += action
        if self._players == 2 and not (self._again and action == 4):
            self._seat = 1 - self._seat
        return self._moment(float(action), self._at >= 30)

    def clone(self) -> Walk:
        twin = Walk.__new__(Walk)
        twin.__dict__.update(self.__dict__, _shown=self._shown.copy())
        return twin

    def close(self) -> None:
        self.closed = True

    def _moment(self, reward: float, over: bool = False) -> Moment:
        self._shown[:] = self._at, self._seat  # one buffer for all moments: who keeps them must copy
        return Moment(self._shown, None, self._seat, reward, terminated=over)


def counting(**options: Any) -> gymnasium.Env:
    MADE.append(Counting(**options))
    return MADE[-1]


def nim(**options: Any) -> gymnasium.Env:
    return Nim(**options)


def walk(**options: Any) -> SingleEnv:
    MADE.append(Walk(**options))
    return MADE[-1]


def board() -> Any:
    return board_game("tictactoe")


def unknown_dtype() -> SingleEnv:
    env = Walk()
    env.spec = EnvSpec("walk", (2,), np.dtype(np.float64), 5, 1)
    return env


SHARED = Counting()


def shared() -> gymnasium.Env:
    return SHARED


def vector() -> Any:
    return gymnasium.make_vec("CartPole-v1", 2)


def fails() -> Any:
    raise RuntimeError("no\nlicence")


def nothing() -> None:
    pass


NUMBER = 3


class Lives(SingleEnv):
    """A game of `lives` episodes that counts on from one to the next and rewards with the count; it saves its state.

    Shows the sum of seed and actions, and the steps of the game. An episode ends when the sum can be divided by 5.
    """

    saves_state = True

    def __init__(self, lives: int = 3) -> None:
        self.spec = EnvSpec("lives", (2,), np.dtype(np.float32), 4, 1)
        self._lives, self._left, self._sum, self._steps = lives, 0, 0, 0

    def reset(self, seed: int) -> Moment:
        return self._moment() if self._left > 0 and self._sum % 5 == 0 and self._steps else self.new_game(seed)

    def new_game(self, seed: int) -> Moment:
        self._left, self._sum, self._steps = self._lives, seed % 5, 0
        return self._moment()

    def step(self, action: int) -> Moment:
        self._sum, self._steps = self._sum + action, self._steps + 1
        over = self._sum % 5 == 0
        self._left -= over
        return self._moment(float(self._steps), over)

    def save(self) -> bytes:
        return f"{self._left} {self._sum} {self._steps}".encode()

    def load(self, state: bytes, shown: Any) -> Moment:
        if not state[:1].isdigit():
            raise EnvError("lives: this is no state of it")
        self._left, self._sum, self._steps = map(int, state.split())
        return self._moment()

    def _moment(self, reward: float = 0.0, over: bool = False) -> Moment:
        return Moment(np.array([self._sum, self._steps], np.float32), reward=reward, terminated=over)


def lives(count: int = 3) -> Lives:
    """Returns a game of several episodes."""
    return Lives(count)


class Stuck(Lives):
    """Ends its process ("exit") or waits for ever ("hang") where it is saved or loaded."""

    def __init__(self, where: str, how: str) -> None:
        super().__init__()
        self._where, self._how = where, how

    def save(self) -> bytes:
        self._strike("save")
        return super().save()

    def load(self, state: bytes, shown: Any) -> Moment:
        self._strike("load")
        return super().load(state, shown)

    def _strike(self, where: str) -> None:
        if where != self._where:
            return
        if self._how == "exit":
            os._exit(3)
        time.sleep(1000.0)


def stuck(where: str, how: str) -> Stuck:
    return Stuck(where, how)
