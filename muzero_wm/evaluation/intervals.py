"""Confidence intervals of match scores and returns."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

Z95 = 1.959963984540054


def wilson_interval(score_sum: float, games: int) -> tuple[float, float]:
    """Returns the 95 % Wilson interval of a score.

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference". A draw counts as half
    a win and half a loss, which makes the interval a little wider than it need be: draws vary less than that.

    Args:
        score_sum: wins + draws / 2, in [0, games].
        games: number of games, >= 1.

    Returns:
        Lower and upper bound in [0, 1].
    """
    share, z2 = score_sum / games, Z95**2
    centre = (share + z2 / (2 * games)) / (1 + z2 / games)
    half = Z95 / (1 + z2 / games) * math.sqrt(share * (1 - share) / games + z2 / (4 * games**2))
    low = 0.0 if score_sum <= 0 else centre - half  # exact ends, whatever the rounding
    high = 1.0 if score_sum >= games else centre + half
    return low, high


def mean_interval(returns: Sequence[float]) -> tuple[float, float] | None:
    """Returns the 95 % normal interval of a mean.

    Args:
        returns: one return for each episode.

    Returns:
        Lower and upper bound, None for fewer than two episodes.
    """
    if len(returns) < 2:
        return None
    mean, half = statistics.fmean(returns), Z95 * statistics.stdev(returns) / math.sqrt(len(returns))
    return mean - half, mean + half
