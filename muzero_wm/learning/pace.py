"""How many updates a round makes, so that the ratio of updates to steps is exact however long episodes are."""

from __future__ import annotations

from typing import Any

from muzero_wm.config import Config
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.room import targets_reach

MOST = 2
"""Times the updates of a round that one round makes at most, where there is something to make up for."""


class Pace:
    """Counts the updates that are due.

    From `min_steps` steps played on, every round owes its updates. What cannot be made because nothing can be sampled
    yet is made up for later, by at most as much again in every round.

    Args:
        config: of the run.
    """

    def __init__(self, config: Config) -> None:
        """Owes nothing."""
        self.owed = 0
        self._per_round, self._min_steps = config.learning.updates_per_round, config.replay.min_steps
        reach = targets_reach(config.replay)
        # with a bounded reach the first update finds what all environments played, and may count what still is open
        self._first = max(self._min_steps, config.acting.num_envs * (reach + 1)) if reach else None

    def round(self, played: int, replay: ReplayBuffer) -> int:
        """Returns the updates of the round that begins.

        Args:
            played: steps of all environments so far.
            replay: what there is to learn from.
        """
        if played >= self._min_steps:
            self.owed += self._per_round
        late = replay.total_steps < self._min_steps if self._first is None else played < self._first
        if late or replay.num_steps == 0:
            return 0
        updates = min(self.owed, MOST * self._per_round)
        self.owed -= updates
        return updates

    def state_dict(self) -> dict[str, Any]:
        """Returns what is owed."""
        return {"owed": self.owed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state; runs of earlier versions owed nothing.

        Raises:
            ValueError: the count is negative.
        """
        self.owed = int(state.get("owed", 0))
        if self.owed < 0:
            raise ValueError(f"owed: expected a count >= 0, got {self.owed}")
