"""Finished episodes, packed: the currency between actor and replay."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass
class Trajectories:
    """E episodes laid end to end; an episode of T steps takes T + 1 slots, the last for its final observation.

    Attributes:
        lengths: [E] int64, steps T of each episode, >= 1.
        terminated: [E] bool; False means truncated: the final slot's value is then a bootstrap, else 0.
        observation: [M, *shape] with M = sum(T + 1).
        legal_actions: [M, A] bool; meaningless in final slots.
        to_play: [M] int8.
        action: [M] int32; -1 in final slots.
        reward: [M] float32, of the action taken here, seen by the player who took it.
        policy: [M, A] float32, the search's policy target; 0 in final slots.
        value: [M] float32, the search's root value seen by the player to move.
    """

    lengths: NDArray[np.int64]
    terminated: NDArray[np.bool_]
    observation: NDArray
    legal_actions: NDArray[np.bool_]
    to_play: NDArray[np.int8]
    action: NDArray[np.int32]
    reward: NDArray[np.float32]
    policy: NDArray[np.float32]
    value: NDArray[np.float32]

    @property
    def num_steps(self) -> int:
        """Steps in all episodes together."""
        return int(self.lengths.sum())

    def __len__(self) -> int:
        """Returns the number of episodes."""
        return len(self.lengths)

    @classmethod
    def concatenate(cls, parts: list[Trajectories]) -> Trajectories:
        """Lays several packs end to end, in order; at least one."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
