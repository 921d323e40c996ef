"""Targets with newer weights: stored positions searched again, or evaluated again where returns end.

Source: MuZero Unplugged (arXiv:2104.06294) section 3; a target network for the bootstrap as in MuZero
(arXiv:1911.08265) appendix H.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.stored import STATE

MAX_ROOTS = 1024


class SearchFn(Protocol):
    """Is what reanalyze needs of a planner."""

    def __call__(
        self,
        observations: NDArray,
        legal_actions: NDArray[np.bool_],
        rng: NDArray[np.uint64],
        states: NDArray[np.int64] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Searches a batch of observations; returns policy targets [B, A] and root values [B].

        `states` are the true positions [B, W] int64, None where they are not stored.
        """
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
        states = buffer.ring[STATE.name][part] if STATE.name in buffer.ring else None
        mask = buffer.ring["legal_actions"][part]
        policy, value = search(buffer.observations(part), mask, keys[begin : begin + len(part)], states)
        buffer.renew(part, policy, value)
    return len(positions)


class ValueFn(Protocol):
    """Is what fresh bootstraps need of a network."""

    def __call__(self, observations: NDArray) -> NDArray[np.float32]:
        """Returns the values [B] of a batch of observations."""
        ...


def fresh_bootstraps(buffer: ReplayBuffer, slots: NDArray[np.int64], evaluate: ValueFn) -> NDArray[np.float32]:
    """Evaluates anew where the n-step returns of the samples end.

    What is stored when a step is played is the search's value of that time. For a while the returns would chase values
    that nobody believes any more, the longer the larger the replay is.

    Args:
        buffer: what it stores stays.
        slots: [n] int64, sampled roots.
        evaluate: the EMA teacher's value head.

    Returns:
        [capacity] float32, what `ReplayBuffer.batch` lets the returns of these samples end with.
    """
    positions = buffer.bootstrap_slots(slots)
    parts = [positions[begin : begin + MAX_ROOTS] for begin in range(0, len(positions), MAX_ROOTS)]
    values = [evaluate(buffer.observations(part)) for part in parts]
    return buffer.ends_with(positions, np.concatenate([np.zeros(0, np.float32), *values]))
