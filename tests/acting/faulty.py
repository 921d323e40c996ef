"""Environments that go wrong for real, for `gym:tests.acting.faulty:NAME`: importing this module registers them.

What goes wrong once does so when the file named by FAULT_MARKER is not there yet, and makes it first.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

MARKER = "FAULT_MARKER"
SEEDS: list[int | None] = []  # of every reset in this process


class Walk(gymnasium.Env):
    """A seeded random walk of 7 to 12 steps that pays where it goes; `fault` strikes at the third step.

    With `in_seed` it strikes only in the episode that is reset with that seed.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, fault: str = "", once: bool = True, in_seed: int | None = None) -> None:
        self._fault, self._once, self._in_seed = fault, once, in_seed

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        SEEDS.append(seed)
        self._due = self._in_seed in (None, seed)
        self._t, self._length = 0, int(self.np_random.integers(7, 13))
        self._x = self.np_random.normal()
        return self._show(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._t += 1
        if self._t == 3 and self._due and self._strikes():
            self._strike()
        self._x += (2 * action - 1) * 0.3 + 0.1 * self.np_random.normal()
        return self._show(), float(self._x), self._t == self._length, False, {}

    def _show(self) -> Any:
        drift = time.perf_counter_ns() % 1_000_003 if self._fault == "drift" else 0.0
        return np.array([self._x + drift, self._t], np.float32)

    def _strikes(self) -> bool:
        if not self._once or not self._fault:
            return bool(self._fault)
        try:
            os.close(os.open(os.environ[MARKER], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def _strike(self) -> None:
        if self._fault == "exit":
            os._exit(3)
        elif self._fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._fault == "alarm":  # a signal of real time, which has no name
            os.kill(os.getpid(), 40)
        elif self._fault == "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            time.sleep(1000)
        elif self._fault == "raise":
            raise RuntimeError("the simulator\nfell over")
        elif self._fault == "leave":
            sys.exit(5)
        elif self._fault == "nan":
            self._x = float("nan")
        elif self._fault == "slow":
            time.sleep(1.0)


for name, options in {
    "Walk": {},
    "ExitOnce": {"fault": "exit"},
    "KillOnce": {"fault": "kill"},
    "AlarmOnce": {"fault": "alarm"},
    "HangOnce": {"fault": "hang"},
    "ExitAlways": {"fault": "exit", "once": False},
    "Raise": {"fault": "raise", "once": False},
    "Nan": {"fault": "nan", "once": False},
    "Slow": {"fault": "slow", "once": False},
    "Drift": {"fault": "drift", "once": False},
}.items():
    gymnasium.register(f"{name}-v0", entry_point=Walk, disable_env_checker=True, kwargs=options)
gymnasium.register("Dice-v0", entry_point=Walk, disable_env_checker=True, nondeterministic=True)
