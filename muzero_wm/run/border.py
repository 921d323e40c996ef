"""The border between two rounds, the only moment that is saved."""

from __future__ import annotations

import time
from typing import Any

from muzero_wm.acting.pool import ActorPool
from muzero_wm.learning.learner import Learner
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.run.progress import Progress


class Border:
    """A recent border of rounds in memory, for when the running round cannot be finished.

    Weights, counters and actors are copied; the replay only notes from here on what it overwrites. A copy is taken
    again when it has become so old that copying costs little: at every border where rounds are long. It is taken again
    too when the replay's notes have grown large.

    Args:
        learner: of the run.
        replay: of the run.
        progress: of the run.
        actors: of the run.
    """

    SHORTEST_AGE = 2.0  # seconds
    LARGEST_SHARE = 0.005  # of the run's time
    LARGEST_NOTES = 0.125  # of replay.max_mib

    def __init__(self, learner: Learner, replay: ReplayBuffer, progress: Progress, actors: ActorPool) -> None:
        """Takes the first copy; the run is at a border."""
        self._learner, self._replay, self._progress, self._actors = learner, replay, progress, actors
        self._taken = self._cost = 0.0
        self._copies: dict[str, Any] = {}
        self.refresh()

    def refresh(self) -> None:
        """Takes a new copy if it is time; the run is at a border."""
        now = time.monotonic()
        young = now - self._taken < max(self.SHORTEST_AGE, self._cost / self.LARGEST_SHARE)
        few = self._replay.undo_nbytes < self.LARGEST_NOTES * self._replay.config.max_mib * 2**20
        if self._copies and young and few:
            return
        self._copies = {
            "learner": self._learner.anchor(),
            "progress": self._progress.state_dict(),
            "actor": self._actors.state_dict(),
        }
        self._replay.mark()
        self._taken = time.monotonic()
        self._cost = self._taken - now

    def now(self) -> dict[str, Any]:
        """Returns what a checkpoint holds, of the border where the run is."""
        return {
            "learner": self._learner.state_dict(),
            "replay": self._replay.state_dict(),
            "progress": self._progress.state_dict(),
            "actor": self._actors.state_dict(),
        }

    def before(self) -> dict[str, Any]:
        """Returns what a checkpoint holds, of the border last copied; the replay goes back there: the run is over."""
        self._replay.rewind()
        return {**self._copies, "replay": self._replay.state_dict()}
