"""An environment that goes wrong on demand, for `gym:faulty_worlds:World-v0(...)` with this folder on PYTHONPATH."""

from __future__ import annotations

import os
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

SOUND = "FAULTY_WORLDS_SOUND"  # when this is set in the process' environment nothing goes wrong


class World(gymnasium.Env[Any, Any]):
    """A walk of 30 steps from a seeded start; the episode reset with `in_seed` is long, and the fault strikes in it.

    Every step warns, as environments do that were written for another version of a library.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self, fault: str = "", at: int = 500, in_seed: int = -1) -> None:
        """Chooses the fault, or none, and the step and episode that it strikes in."""
        self._fault = "" if os.environ.get(SOUND) else fault
        self._at, self._in_seed = at, in_seed

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode."""
        super().reset(seed=seed)
        self._t, self._due = 0, seed == self._in_seed
        self._x = self._start = self.np_random.normal(size=4)
        return self._x.astype(np.float32), {"action_mask": np.ones(3, np.int8)}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Plays an action, or goes wrong."""
        self._t += 1
        gymnasium.logger.warn(f"the {self._t}th step is deprecated")
        self._x = 0.9 * self._x + 0.1 * np.sin(self._start + self._t * np.arange(1, 5)) + 0.01 * (action - 1)
        shown, reward, mask = self._x.astype(np.float32), float(self._x[0]), np.ones(3, np.int8)
        if self._due and self._t == self._at:
            match self._fault:
                case "raise":
                    raise RuntimeError("the simulator\nfell over")
                case "nan-observation":
                    shown[1] = np.nan
                case "nan-reward":
                    reward = float("nan")
                case "shape":
                    shown = shown[:3]
                case "mask":
                    mask[:] = 0
                case "hang":
                    time.sleep(10_000)
                case "exit":
                    os._exit(3)
                case "leave":
                    raise SystemExit(3)
        return shown, reward, self._t == (2 * self._at if self._due else 30), False, {"action_mask": mask}


gymnasium.register("World-v0", entry_point=World)
