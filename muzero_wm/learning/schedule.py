"""How far learning rate, sharpness of the search and beta have gone on their way: with the budget, and never back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from muzero_wm.config import LearningConfig


class Spent(NamedTuple):
    """What a run has used so far.

    Attributes:
        updates: made.
        elapsed: seconds trained.
        steps: played in all environments together.
    """

    updates: int
    elapsed: float
    steps: int


class Schedule:
    """The share of the way that what changes over a run has gone.

    It is the share of the budget that is used. A run that is resumed with another budget goes on from the share it had
    and comes to 1 at the new end: nothing jumps back to where it began. What had come to its end stays there.

    Args:
        config: says when the run ends, in updates, seconds or steps.
    """

    def __init__(self, config: LearningConfig) -> None:
        """Begins at 0."""
        seconds = None if config.max_minutes is None else 60.0 * config.max_minutes
        self._limits: list[float | None] = [config.max_updates, seconds, config.max_steps]
        self._since, self._from = [0.0, 0.0, 0.0], 0.0

    def used(self, spent: Spent) -> float:
        """Returns the share of the budget that is used, in [0, 1], by whichever limit is nearest."""
        return min(1.0, self._gone(spent, (0.0, 0.0, 0.0)))

    def share(self, spent: Spent) -> float:
        """Returns a number in [0, 1], by whichever limit is nearest."""
        return min(1.0, self._from + (1.0 - self._from) * self._gone(spent, self._since))

    def _gone(self, now: Sequence[float], since: Sequence[float]) -> float:
        """Returns how much of the way from a beginning to the nearest limit is gone, at least 0."""
        ways = [(n, s, limit) for n, s, limit in zip(now, since, self._limits, strict=True) if limit is not None]
        return max([0.0, *((n - s) / (limit - s) if limit > s else 1.0 for n, s, limit in ways)])

    def state_dict(self) -> dict[str, Any]:
        """Returns the budget, and where the way to its end began."""
        return {"limits": list(self._limits), "since": list(self._since), "from": self._from}

    def load_state_dict(self, state: dict[str, Any], spent: Spent) -> None:
        """Goes on from a saved state, perhaps to another end.

        Args:
            state: of `state_dict`; runs of earlier versions did not count steps.
            spent: so far.

        Raises:
            ValueError: a number is not in its range.
        """
        limits, since, start = list(state["limits"]), [float(x) for x in state["since"]], float(state["from"])
        if len(limits) == len(since) == 2:
            limits, since = [*limits, None], [*since, 0.0]
        numbers = [*since, *(float(x) for x in limits if x is not None)]
        fits = len(limits) == len(since) == 3 and all(0.0 <= x < math.inf for x in numbers)
        if not fits or not 0.0 <= start <= 1.0:
            raise ValueError(f"schedule: expected three limits, three beginnings and a share in [0, 1], got {state}")
        ours = self._limits
        self._limits, self._since, self._from = limits, since, start
        if limits != ours:
            self._from, self._since = self.share(spent), [float(x) for x in spent]
            self._limits = ours
