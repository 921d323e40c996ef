"""Statistics of stored observations, for models that normalise what they see."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from muzero_wm.model.observation import Statistics

_CHUNK = 1 << 22  # numbers at a time


def observation_statistics(
    observations: NDArray, slots: NDArray[np.int64], per_channel: bool, frames: int = 1
) -> Statistics:
    """Returns the statistics of stored observations, in two passes and float64.

    Args:
        observations: [capacity, *shape] real numbers.
        slots: [n] int64, which of them; at least one. Their order decides the last digits.
        per_channel: over all cells [H, W] of a channel too.
        frames: how many of these stand one behind the other in what the model sees.

    Returns:
        Arrays of the shape of what the model sees, or [C, 1, 1] of its channels.
    """
    axes = (0, 2, 3) if per_channel else (0,)
    rows = max(1, _CHUNK // math.prod(observations.shape[1:]))

    def chunks() -> Iterator[NDArray[np.float64]]:
        for begin in range(0, len(slots), rows):
            yield observations[slots[begin : begin + rows]].astype(np.float64)

    low, high, total = np.inf, -np.inf, 0.0
    for chunk in chunks():
        low = np.minimum(low, chunk.min(axes, keepdims=True))
        high = np.maximum(high, chunk.max(axes, keepdims=True))
        total = total + chunk.sum(axes, keepdims=True)
    numbers = len(slots) * (math.prod(observations.shape[2:]) if per_channel else 1)
    mean = np.asarray(total / numbers)
    squares = sum(np.square(chunk - mean).sum(axes, keepdims=True) for chunk in chunks())
    deviation = np.asarray(np.sqrt(squares / numbers))
    found = (np.asarray(low)[0], np.asarray(high)[0], mean[0], deviation[0])
    return Statistics(len(slots), *(np.concatenate([each] * frames) for each in found))
