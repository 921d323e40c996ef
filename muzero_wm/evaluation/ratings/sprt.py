"""A sequential test of which of two players is stronger, which ends as soon as the games say enough."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from muzero_wm.evaluation.ratings.bradley_terry import POINTS, Pairs, expected_score

ALPHA = BETA = 0.05
"""Share of wrong answers that the test allows itself, on either side."""

LOWER, UPPER = math.log(BETA / (1.0 - ALPHA)), math.log((1.0 - BETA) / ALPHA)
"""Where the log-likelihood ratio ends the test: for the first hypothesis, for the second."""

MOST_ELO = 4000
"""Of a hypothesis in points: far beyond that its expected score is rounded to 1, under which no draw is possible."""

_NEVER_SEEN = 1e-3  # pairs of a kind that never came: its chance is small, and not 0


def log_likelihood_ratio(pairs: Pairs, elo0: float, elo1: float) -> float:
    """Returns how much likelier the results of pairs are where the first player is `elo1` points stronger than `elo0`.

    The chances of the five results of a pair are unknown. Under either hypothesis the most likely ones are taken that
    bring the expected score s: q_i = p_i / (1 + t (a_i - s)), with the shares p_i that were seen, the scores a_i = 0,
    1/4, ... 1 of a pair, and t such that sum q_i (a_i - s) = 0. The ratio is sum n_i log(q_i(s1) / q_i(s0)).

    Source: Owen, "Empirical likelihood" (1988) for the constrained estimate; Van den Bergh, "A practical introduction
    to the GSPRT", for its use on pairs of games (the pentanomial model of fishtest).

    Args:
        pairs: of the two players. Those that repeat others weigh nothing: n_i are those of as many as are distinct.
        elo0: difference in points by the first hypothesis, at least -`MOST_ELO`.
        elo1: by the second, > elo0 and at most `MOST_ELO`.

    Returns:
        The logarithm of the ratio, 0 without results.
    """
    counts = np.asarray(pairs.counts, np.float64)
    if not counts.sum():
        return 0.0
    counts = np.maximum(counts * pairs.distinct / counts.sum(), _NEVER_SEEN)
    shares = counts / counts.sum()
    q0, q1 = (_most_likely(shares, expected_score(elo)) for elo in (elo0, elo1))
    return float(counts @ np.log(q1 / q0))


def decision(ratio: float) -> str | None:
    """Returns which hypothesis is accepted, "elo0" or "elo1"; None while the test goes on.

    Args:
        ratio: of the likelihoods, its logarithm.
    """
    return "elo1" if ratio >= UPPER else "elo0" if ratio <= LOWER else None


def _most_likely(shares: NDArray[np.float64], score: float) -> NDArray[np.float64]:
    """Returns the likeliest chances [5] with this expected score, none of the shares being 0."""
    off = POINTS / 2.0 - score
    low, high = -1.0 / off.max(), -1.0 / off.min()  # in between all chances are positive, and the sum falls with t
    for _ in range(100):
        middle = 0.5 * (low + high)
        if (shares * off / (1.0 + middle * off)).sum() > 0.0:
            low = middle
        else:
            high = middle
    chances: NDArray[np.float64] = shares / (1.0 + 0.5 * (low + high) * off)
    return chances
