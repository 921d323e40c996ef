"""Scores over several games and seeds: mean, median and interquartile mean, with intervals that are not too hopeful.

Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (arXiv:2108.13264).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import UserError

RESAMPLES = 5000

Runs = list[NDArray[np.float64]]


def interquartile_mean(scores: Sequence[float] | NDArray[np.float64]) -> float:
    """Returns the mean of the middle half of some scores.

    Args:
        scores: at least one. A quarter of them, rounded down, is left out at either end.

    Returns:
        Their interquartile mean.
    """
    return float(interquartile_means(np.asarray(scores, np.float64)[None])[0])


def interquartile_means(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the interquartile mean [n] of each row of [n, scores]."""
    ordered = np.sort(rows, axis=1)
    cut = rows.shape[1] // 4
    means: NDArray[np.float64] = ordered[:, cut : rows.shape[1] - cut].mean(axis=1)
    return means


def aggregate(scores: Mapping[str, Sequence[float]], seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Puts the scores of several games together.

    Args:
        scores: by game, one normalised score for each run (a seed, not an episode); at least one each.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        Ready for JSON: games, runs (of each game), and `mean`, `median` (over games, of their means) and `iqm` (over
        all runs of all games), each with `score` and `ci95`: the percentile interval of a bootstrap that draws the runs
        of each game anew, None where no game has two runs.

    Raises:
        UserError: there is no game, or one without a run or with a score that is not finite.
    """
    runs = [np.asarray(each, np.float64) for each in scores.values()]
    for game, each in zip(scores, runs, strict=True):
        if each.ndim != 1 or not len(each) or not np.isfinite(each).all():
            raise UserError(f"{game}: expected one finite score for each run, got {str(each)[:80]}")
    if not runs:
        raise UserError("scores: expected at least one game, got none")
    rng = np.random.default_rng(seed)
    several = any(len(each) > 1 for each in runs)
    draws = [[each[rng.integers(len(each), size=len(each))] for each in runs] for _ in range(resamples * several)]
    found: dict[str, Any] = {"games": len(runs), "runs": {game: len(each) for game, each in scores.items()}}
    for name, statistic in _STATISTICS.items():
        interval = np.percentile([statistic(draw) for draw in draws], [2.5, 97.5]).tolist() if several else None
        found[name] = {"score": statistic(runs), "ci95": interval}
    return found


_STATISTICS: dict[str, Callable[[Runs], float]] = {
    "mean": lambda runs: float(np.mean([each.mean() for each in runs])),
    "median": lambda runs: float(np.median([each.mean() for each in runs])),
    "iqm": lambda runs: interquartile_mean(np.concatenate(runs)),
}
