"""Reanalyze: stored positions searched again with newer weights.

Source: MuZero Unplugged (arXiv:2104.06294) section 3.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from muzero_wm.replay.buffer import ReplayBuffer

MAX_ROOTS = 1024


class SearchFn(Protocol):
    """Is what reanalyze needs of a planner."""

    def __call__(
        self, observations: NDArray, legal_actions: NDArray[np.bool_], rng: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Searches a batch of observations; returns policy targets [B, A] and root values [B]."""
        ...


def reanalyze(buffer: ReplayBuffer, slots: NDArray[np.int64], search: SearchFn, keys: NDArray[np.uint64]) -> int:
    """Renews the stored policy and root value of the K + 1 positions behind each sampled slot.

    Targets are built from the store, so what is renewed here serves this batch and every later one.

    Args:
        buffer: changed in place.
        slots: [n] int64, sampled roots.
        search: the planner on the EMA teacher's weights.
        keys: [>= n (K + 1)] uint64, one random stream per position.

    Returns:
        Number of positions searched.
    """
    offsets = np.arange(buffer.config.unroll_steps + 1)
    to_end = buffer.ring["to_end"][slots]
    inside = offsets[None, :] < to_end[:, None]
    positions = np.unique(((slots[:, None] + offsets[None, :]) % buffer.capacity)[inside])
    for begin in range(0, len(positions), MAX_ROOTS):
        part = positions[begin : begin + MAX_ROOTS]
        policy, value = search(
            buffer.ring["observation"][part], buffer.ring["legal_actions"][part], keys[begin : begin + len(part)]
        )
        buffer.renew(part, policy, value)
    return len(positions)
