"""How sure a comparison is: statistics of samples that were drawn again and again from each of their parts.

Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (arXiv:2108.13264): the
interquartile mean, the probability of improvement, percentile intervals of a bootstrap that is stratified.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.evaluation.aggregate import interquartile_means

RESAMPLES = 2000

Scores = NDArray[np.float64]
Strata = Sequence[Scores]

STATISTICS: dict[str, Callable[[Scores], Scores]] = {
    "mean": lambda rows: rows.mean(axis=1),
    "median": lambda rows: np.median(rows, axis=1),
    "iqm": interquartile_means,
}
"""From [n, scores] to [n]."""


def summary(strata: Strata, seed: int = 0) -> dict[str, Any]:
    """Returns mean, median and interquartile mean of all scores.

    Args:
        strata: parts of the scores, each [n], n >= 1; each is drawn anew by itself.
        seed: of the bootstrap.

    Returns:
        By name score and ci95, which is None where all draws are alike, as those of one score are.
    """
    rng = np.random.default_rng(seed)
    together = np.concatenate(strata)
    draws = [part[rng.integers(len(part), size=(RESAMPLES, len(part)))] for part in strata]
    found = {}
    for name, statistic in STATISTICS.items():
        drawn = statistic(np.concatenate(draws, axis=1))
        found[name] = {"score": float(statistic(together[None])[0]), "ci95": _interval(drawn)}
    return found


def improvement(ours: Sequence[Strata], theirs: Sequence[Strata], seed: int = 0) -> dict[str, Any]:
    """Returns how probable it is that a score of ours is above one of theirs.

    Args:
        ours: for each task the parts of our scores there, see `summary`.
        theirs: for each of the same tasks theirs.
        seed: of the bootstrap.

    Returns:
        probability: averaged over the tasks, the share of pairs in which ours is higher, equal ones count a half; and
        ci95, None where all draws are alike.
    """
    rng = np.random.default_rng(seed)
    total, drawn = 0.0, np.zeros(RESAMPLES)
    for mine, others in zip(ours, theirs, strict=True):
        a, b = np.concatenate(mine), np.concatenate(others)
        higher = (a[:, None] > b) + 0.5 * (a[:, None] == b)
        total += float(higher.mean())
        drawn += ((_counts(mine, rng) @ higher) * _counts(others, rng)).sum(axis=1) / higher.size
    return {"probability": total / len(ours), "ci95": _interval(drawn / len(ours))}


def _interval(drawn: Scores) -> list[float] | None:
    """Returns the 95 % percentile interval, None where all draws are alike: then they say nothing of doubt."""
    if np.ptp(drawn) < 1e-9 * (1 + np.abs(drawn).max()):
        return None
    ends: list[float] = np.percentile(drawn, [2.5, 97.5]).tolist()
    return ends


def _counts(strata: Strata, rng: np.random.Generator) -> Scores:
    """Returns [RESAMPLES, n], how often each score was drawn when each part was drawn anew."""
    draws = [rng.multinomial(len(part), np.full(len(part), 1 / len(part)), size=RESAMPLES) for part in strata]
    return np.concatenate(draws, axis=1).astype(np.float64)
