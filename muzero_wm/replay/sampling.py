"""Which steps are drawn: by their priorities, and a share of every batch among those that a reward follows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.replay.batch import Draws
from muzero_wm.replay.sum_tree import SumTree


def leads_to_reward(reward: NDArray[np.float32], to_end: NDArray[Any], unroll_steps: int) -> NDArray[np.bool_]:
    """Returns behind which slots a reward follows within the steps that a model is unrolled.

    Args:
        reward: [n] of consecutive slots, whole segments.
        to_end: [n] integers, steps until the segment's final slot.
        unroll_steps: K.

    Returns:
        [n] bool; True where one of the K steps from there on, as far as the segment goes, pays something other than 0.
    """
    paid = np.concatenate([[0], np.cumsum((reward != 0.0) & (to_end > 0))])
    here = np.arange(len(reward))
    return paid[here + np.minimum(to_end, unroll_steps)] > paid[here]


def draw(
    priorities: SumTree,
    rewarding: SumTree | None,
    share: float,
    count: int,
    num_steps: int,
    rng: np.random.Generator,
) -> tuple[Draws, NDArray[np.bool_]]:
    """Draws steps in proportion to their priorities, a share of them evenly among the rewarding ones.

    Args:
        priorities: of all slots.
        rewarding: 1 for each slot that can be drawn and leads to a reward, else 0; None: nobody asks.
        share: of the draws; 0 where no slot leads to a reward.
        count: number of draws.
        num_steps: slots that can be drawn.
        rng: source of randomness.

    Returns:
        The draws; [count] which were made among the rewarding steps.
    """
    slots = priorities.sample(rng.random(count))
    if rewarding is None or rewarding.total == 0.0:
        by_priority = priorities.get(slots) * (num_steps / priorities.total)
        return Draws(slots, by_priority, np.ones(count), np.zeros(count)), np.zeros(count, np.bool_)
    chosen = rng.random(count) < share
    slots = np.where(chosen, rewarding.sample(rng.random(count)), slots)
    by_priority = priorities.get(slots) * (num_steps / priorities.total)
    more = share * (rewarding.get(slots) * (num_steps / rewarding.total)) / by_priority
    favour = 1.0 - share + more
    return Draws(slots, by_priority, favour, more / favour), chosen
