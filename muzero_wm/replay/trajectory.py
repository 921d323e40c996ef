"""Episodes and parts of episodes, packed: the currency between actor and replay."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Trajectories:
    """E segments laid end to end; one of T steps takes T + 1 slots, the last for the observation behind it.

    A segment is a whole episode, or a part of one that is (or was) still being played.

    Attributes:
        lengths: [E] int64, steps T of each segment, >= 1.
        terminated: [E] bool; False means truncated or cut: the final slot's value is then a bootstrap, else 0.
        observation: [M, *frame_shape] with M = sum(T + 1); of stacked frames the newest.
        legal_actions: [M, A] bool; meaningless in final slots.
        to_play: [M] int8.
        action: [M] int32; -1 in final slots.
        reward: [M] float32, of the action taken here, seen by the player who took it.
        policy: [M, A] float32, the search's policy target; 0 in final slots.
        value: [M] float32, the search's root value seen by the player to move.
        cut: [E] bool; True where the episode goes on behind the segment, which is no end of any kind. All False when
            left out.
        stored: by name, [M, ...] each: what terms of the loss have stored of every step; 0 in final slots.
        repeated: [E] int64, steps at the beginning that the segment before it of the same episode holds too. All 0
            when left out.
        lead: [E] int64, how many of these are there only for what stacks of frames show of the past; the others are
            learnt from here and not there. All 0 when left out.
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
    cut: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    stored: dict[str, NDArray[Any]] = field(default_factory=dict)
    repeated: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    lead: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        """Takes the segments for whole episodes where nothing else is said."""
        if not len(self.cut):
            self.cut = np.zeros(len(self.lengths), np.bool_)
        if not len(self.repeated):
            self.repeated = np.zeros(len(self.lengths), np.int64)
        if not len(self.lead):
            self.lead = np.zeros(len(self.lengths), np.int64)

    @property
    def num_steps(self) -> int:
        """Steps in all segments together, each counted once."""
        return int(self.lengths.sum() - self.repeated.sum())

    def __len__(self) -> int:
        """Returns the number of segments."""
        return len(self.lengths)

    @classmethod
    def concatenate(cls, parts: list[Trajectories]) -> Trajectories:
        """Lays several packs end to end, in order; at least one."""
        names = [each.name for each in fields(cls) if each.name != "stored"]
        stored = {name: np.concatenate([part.stored[name] for part in parts]) for name in parts[0].stored}
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}, stored=stored)
