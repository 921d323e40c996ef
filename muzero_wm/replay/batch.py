"""What is drawn from the replay, and the samples made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from muzero_wm.replay.targets import A, B, Targets


@dataclass
class Draws:
    """Steps to learn from, and how likely they were.

    Attributes:
        slot: [n] int64 ring slots, never a final one.
        odds: [n] float64, how many times as likely as among equals priorities made each draw, at the time of the draw.
        favour: [n] float64, how many times as likely again it was because rewarding steps are drawn more often.
        evenly: [n] float64 in [0, 1], the chance that such a draw was one of those, which ask for no priority.
    """

    slot: NDArray[np.int64]
    odds: NDArray[np.float64]
    favour: NDArray[np.float64]
    evenly: NDArray[np.float64]

    def __getitem__(self, part: int | slice) -> Draws:
        """Returns some of them."""
        return Draws(self.slot[part], self.odds[part], self.favour[part], self.evenly[part])

    def by_update(self, updates: int) -> Draws:
        """Returns the same as [updates, B]."""
        shape = updates, -1
        odds, favour, evenly = (each.reshape(shape) for each in (self.odds, self.favour, self.evenly))
        return Draws(self.slot.reshape(shape), odds, favour, evenly)


@dataclass
class Batch(Generic[A]):
    """Samples for updates: NumPy arrays as the replay makes them, or tensors on a device.

    Attributes:
        observation: [B, *shape] roots.
        next_observation: [B, K, *shape] real observations after each step; the final one repeats past the end.
        targets: see Targets.
        weight: [B] float32 importance weights, at most 1.
        reward_weight: [B] float32, those of the rewards alone: they are what rewarding steps are drawn more often for.
        slot: [B] int64 ring slots of the roots, for priority updates.
        stored: by name, [B, K + 1, ...] each: what terms of the loss have stored; 0 from the final observation on.
    """

    observation: A
    next_observation: A
    targets: Targets[A]
    weight: A
    reward_weight: A
    slot: A
    stored: dict[str, A] = field(default_factory=dict)

    def map(self, change: Callable[[A], B]) -> Batch[B]:
        """Returns the samples with every array changed in the same way."""
        return Batch(
            observation=change(self.observation),
            next_observation=change(self.next_observation),
            targets=self.targets.map(change),
            weight=change(self.weight),
            reward_weight=change(self.reward_weight),
            slot=change(self.slot),
            stored={name: change(array) for name, array in self.stored.items()},
        )

    @classmethod
    def stack(cls, batches: Sequence[Batch[NDArray[Any]]]) -> Batch[NDArray[Any]]:
        """Returns several batches of equal shapes as one, each array with an axis in front."""
        columns = [iter(_arrays(batch)) for batch in batches]
        return batches[0].map(lambda _: np.stack([next(column) for column in columns]))


def _arrays(batch: Batch[A]) -> list[A]:
    """Returns the arrays of a batch in the order in which `map` goes through them."""
    found: list[A] = []
    batch.map(found.append)
    return found
