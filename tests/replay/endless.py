"""Environments that do not end, for `gym:tests.replay.endless:NAME`: importing this module registers them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Endless(gymnasium.Env):
    """A wheel that turns for ever; pushing it on pays a little. `size` numbers are shown, the first the step."""

    action_space = spaces.Discrete(3)

    def __init__(self, size: int = 2) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t = 0
        return self._show(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._t += 1
        return self._show(), 0.1 * float(action), False, False, {}

    def _show(self) -> Any:
        shown = np.zeros(self.observation_space.shape, np.float32)
        shown[0], shown[1] = self._t, np.sin(self._t)
        return shown


class Rare(Endless):
    """The same, ending after a number of steps between 20 and 400 that the seed decides."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        shown = super().reset(seed=seed)
        self._length = int(self.np_random.integers(20, 400))
        return shown

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        shown, reward, _, _, info = super().step(action)
        return shown, reward, self._t == self._length, False, info


class Film(Rare):
    """The same as small pictures: the number of the step, and stripes that move."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(0, 255, (6, 5, 1), np.uint8)

    def _show(self) -> Any:
        shown = np.zeros((6, 5, 1), np.uint8)
        shown[self._t % 6], shown[0, 0] = 255, self._t % 256
        return shown


gymnasium.register("Endless-v0", entry_point=Endless, disable_env_checker=True)
gymnasium.register("Rare-v0", entry_point=Rare, disable_env_checker=True)
gymnasium.register("Film-v0", entry_point=Film, disable_env_checker=True)
