"""Schedules of sequential halving: which visit count is considered in which simulation.

Source: Karnin et al. 2013, "Almost optimal exploration in multi-armed bandits"; used at the root as in "Policy
improvement by planning with Gumbel" (ICLR 2022, bERaNdoegnO), section 4.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt


def considered_visits(num_considered: int, num_simulations: int) -> list[int]:
    """Lists the visit count that a root action must have to be chosen, for each simulation in turn.

    Every phase gives `max(1, floor(S / (ceil(log2 m) * m_i)))` visits to each of the m_i actions still in the race, and
    halves m_i down to 2. Because the survivors of a phase are the only actions with the highest count, naming the count
    is enough to name them.

    Args:
        num_considered: m, the number of actions that enter the race, >= 0.
        num_simulations: S, the length of the schedule.

    Returns:
        S visit counts.

    Example:
        >>> considered_visits(4, 8)
        [0, 0, 0, 0, 1, 1, 2, 2]
    """
    if num_considered <= 1:
        return list(range(num_simulations))
    num_phases = (num_considered - 1).bit_length()  # ceil(log2 m), exact for every integer
    sequence: list[int] = []
    visits = 0
    remaining = num_considered
    while len(sequence) < num_simulations:
        for _ in range(max(1, num_simulations // (num_phases * remaining))):
            sequence.extend([visits] * remaining)
            visits += 1
        remaining = max(2, remaining // 2)
    return sequence[:num_simulations]


def considered_visits_by_root(num_considered: npt.NDArray[np.integer], num_simulations: int) -> npt.NDArray[np.int32]:
    """Returns the schedule of every root; roots of one batch may have different numbers of legal actions.

    Args:
        num_considered: [B] int, m of each root.
        num_simulations: S.

    Returns:
        [B, S] int32; row b is `considered_visits(num_considered[b], S)`.
    """
    schedules = [_cached_schedule(m, num_simulations) for m in num_considered.tolist()]
    return np.concatenate(schedules).reshape(-1, num_simulations)


@lru_cache(maxsize=256)
def _cached_schedule(num_considered: int, num_simulations: int) -> npt.NDArray[np.int32]:
    return np.array(considered_visits(num_considered, num_simulations), dtype=np.int32)
