"""The arrays of all slots in one piece of memory that several processes see."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs.base import EnvSpec, Step

CALLS = ("step", "reset", "save", "load")
"""What of an environment a worker calls, by the number that it writes down."""

_ALIGN = 8  # bytes, of the widest number


class SharedSlots:
    """Actions and steps of n slots, and what each of W workers is doing.

    The memory has no name anywhere, so nothing is left when its processes end in whatever way. It can be sent to a
    process that is being started with `file` open, and only there.

    Attributes:
        file: descriptor of the memory.
        action: [n] int64, to be played.
        place: [W, 4] int64, what a worker calls or called last: slot, episode, step, and which of `CALLS`.
        since: [W] float64, the monotonic time at which it called, 0 while it calls nothing.
    """

    action: NDArray[np.int64]
    observation: NDArray[Any]
    legal_actions: NDArray[np.bool_]
    to_play: NDArray[np.int8]
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    final_observation: NDArray[Any]
    final_to_play: NDArray[np.int8]
    place: NDArray[np.int64]
    since: NDArray[np.float64]

    _COPIED = ("observation", "legal_actions", "to_play", "reward", "terminated", "truncated", "final_to_play")

    def __init__(self, spec: EnvSpec, num_envs: int, workers: int, file: int | None = None) -> None:
        """Lays the arrays out.

        Args:
            spec: gives the shapes.
            num_envs: n.
            workers: W.
            file: descriptor of the memory where they lie already; None: new memory, all zero.
        """
        seen = ((num_envs, *spec.observation_shape), spec.observation_dtype)
        fields: dict[str, tuple[tuple[int, ...], Any]] = {
            "action": ((num_envs,), np.int64),
            "observation": seen,
            "legal_actions": ((num_envs, spec.num_actions), np.bool_),
            "to_play": ((num_envs,), np.int8),
            "reward": ((num_envs,), np.float32),
            "terminated": ((num_envs,), np.bool_),
            "truncated": ((num_envs,), np.bool_),
            "final_observation": seen,
            "final_to_play": ((num_envs,), np.int8),
            "place": ((workers, 4), np.int64),
            "since": ((workers,), np.float64),
        }
        sizes = [-(-math.prod(shape) * np.dtype(dtype).itemsize // _ALIGN) * _ALIGN for shape, dtype in fields.values()]
        self.file = _new_memory(sum(sizes)) if file is None else file
        self._memory = mmap.mmap(self.file, sum(sizes))
        self._made_of = spec, num_envs, workers
        offset = 0
        for (name, (shape, dtype)), size in zip(fields.items(), sizes, strict=True):
            setattr(self, name, np.frombuffer(self._memory, dtype, math.prod(shape), offset).reshape(shape))
            offset += size

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedSlots, (*self._made_of, self.file)

    def close(self) -> None:
        """Closes the file; the arrays stay, and can be sent no more."""
        os.close(self.file)

    def write(self, step: Step, rows: slice) -> None:
        """Puts a step of some of the slots there."""
        ended = step.terminated | step.truncated
        self.final_observation[rows][ended] = step.final_observation[ended]
        for name in self._COPIED:
            getattr(self, name)[rows] = getattr(step, name)

    def read(self) -> Step:
        """Returns a copy of the step of all slots."""
        ended = self.terminated | self.truncated
        final = np.zeros_like(self.final_observation)
        final[ended] = self.final_observation[ended]
        return Step(final_observation=final, **{name: getattr(self, name).copy() for name in self._COPIED})


def _new_memory(size: int) -> int:
    """Returns the descriptor of zeros that have no name."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("slots")
    else:
        with tempfile.TemporaryFile() as unnamed:
            file = os.dup(unnamed.fileno())
    os.ftruncate(file, size)
    return file
