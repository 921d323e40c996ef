"""How far a run has come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from muzero_wm.config import Config
from muzero_wm.learning.learner import Learner
from muzero_wm.learning.pace import Pace
from muzero_wm.learning.schedule import Schedule, Spent
from muzero_wm.replay.buffer import ReplayBuffer


class Progress:
    """Counters of a run, and how much of its budget is used.

    Args:
        config: says when the run ends.
        learner: knows its updates.
        replay: knows the finished games.
    """

    def __init__(self, config: Config, learner: Learner, replay: ReplayBuffer) -> None:
        """Starts at zero; time counts from `begin` on."""
        self.rounds = self.steps = 0
        self.pace = Pace(config)
        self._moves, self._num_envs = config.acting.steps_per_round, config.acting.num_envs
        whole = None if config.learning.max_steps is None else config.learning.max_steps // self._num_envs
        self._last_step = None if whole is None else whole * self._num_envs
        self._schedule = Schedule(config.learning.model_copy(update={"max_steps": self._last_step}))
        self._learner, self._replay = learner, replay
        self._before = 0.0
        self._start: float | None = None

    def begin(self) -> None:
        """Has time count from here: importing, compiling and measuring before the first round use up no budget."""
        self._start = time.monotonic()

    @property
    def updates(self) -> int:
        """Updates made."""
        return self._learner.updates

    @property
    def games(self) -> int:
        """Games finished."""
        return self._replay.total_episodes

    @property
    def elapsed(self) -> float:
        """Seconds trained, earlier parts of a resumed run included."""
        return self._before + (0.0 if self._start is None else time.monotonic() - self._start)

    @property
    def fraction(self) -> float:
        """Share of the budget used, by whichever limit is nearest."""
        return self._schedule.used(self._spent)

    @property
    def share(self) -> float:
        """Share of their way that learning rate, sharpness and beta have gone; see `Schedule`."""
        return self._schedule.share(self._spent)

    @property
    def moves(self) -> int:
        """Moves of every environment in the round that begins: fewer at the end of a budget of steps."""
        if self._last_step is None:
            return self._moves
        return min(self._moves, (self._last_step - self.steps) // self._num_envs)

    @property
    def _spent(self) -> Spent:
        return Spent(self.updates, self.elapsed, self.steps)

    def advance(self, steps: int) -> None:
        """Counts a round in which so many steps were played."""
        self.rounds += 1
        self.steps += steps

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock for what is no training."""
        elapsed = self.elapsed
        try:
            yield
        finally:
            self._before, self._start = elapsed, time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Returns the counters."""
        counters = {"rounds": self.rounds, "steps": self.steps, "elapsed": self.elapsed, "updates": self.updates}
        return counters | self.pace.state_dict() | {"schedule": self._schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from saved counters."""
        self.rounds, self.steps = int(state["rounds"]), int(state["steps"])
        self._before = float(state["elapsed"])
        if min(self.rounds, self.steps) < 0 or not 0.0 <= self._before < float("inf"):
            raise ValueError(f"expected counters >= 0, got {state}")
        self.pace.load_state_dict(state)
        if "schedule" in state:  # not in runs of earlier versions
            self._schedule.load_state_dict(state["schedule"], Spent(int(state["updates"]), self._before, self.steps))
