"""Ratings from the results of games in pairs, with intervals that stay honest where somebody never loses.

A pair of games is one opening from both seats. Its two games are not independent, pairs are; so pairs are what is
counted and drawn anew, by the points that they brought: 0, 1/2, 1, 3/2 or 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.seeding import derive_seed

ELO = 400.0 / math.log(10.0)
"""Rating points in one unit of log-odds: 400 points are odds of ten to one."""

PRIOR = 1000.0
"""Standard deviation of the prior of every rating around that of the pool, in points."""

RESAMPLES = 1000
POINTS = np.array([0.0, 0.5, 1.0, 1.5, 2.0])

_CHUNK = 100
_VARIANCE = (PRIOR / ELO) ** 2


@dataclass(frozen=True)
class Pairs:
    """Results of the pairs of games between two players.

    Attributes:
        counts: [5] how many pairs brought the first player 0, 1/2, 1, 3/2 and 2 points.
        distinct: how many of the pairs differ in their moves; the others repeat what was played and say nothing new.
    """

    counts: tuple[int, ...]
    distinct: int

    @property
    def shares(self) -> NDArray[np.float64]:
        """[5] the share of each result."""
        return np.asarray(self.counts, np.float64) / sum(self.counts)


@dataclass(frozen=True)
class Ratings:
    """Ratings in points, the anchor's 0.

    Attributes:
        rating: [n].
        low: [n] lower ends of the 95 % intervals.
        high: [n] upper ends.
        ahead: [n, n] the share of the resamples in which the one is rated above the other, a tie as half.
        covariance: [n, n] of the ratings before they are anchored, in squared points, by the curvature at the optimum.
    """

    rating: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    ahead: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def width(self) -> NDArray[np.float64]:
        """[n] of the intervals."""
        return self.high - self.low


def rate(
    matches: Mapping[tuple[int, int], Pairs], players: int, anchor: int, seed: int = 0, resamples: int = RESAMPLES
) -> Ratings:
    """Rates players by the Bradley-Terry model, a draw as half a win.

    Two things are assumed beforehand. Every player has played one pair of games more than was seen, with all opponents
    together and a fifth of it for each result: so who always wins is not infinitely strong. And ratings are normal
    around that of the pool, with a deviation of `PRIOR` points, which holds together what no game connects. The rating
    is the mode. Intervals are percentiles of a Bayesian bootstrap: each resample weighs the pairs of every match anew,
    as many as are distinct and the unseen share, by a Dirichlet distribution, and draws the centre of every prior
    from the prior. (An ordinary bootstrap would let who won all games win all games of every resample, with an interval
    of no width.)

    Source: Bradley and Terry (1952); Rubin, "The Bayesian bootstrap" (1981); Perks (1947) for the unseen pair; Bardsley
    et al., "Randomize-then-optimize" (2014) for priors that are drawn along.

    Args:
        matches: results by the numbers (i, j) of two players, i < j, from the view of i; each with at least one pair.
        players: n.
        anchor: number of the player whose rating is 0.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        The ratings.
    """
    order = sorted(matches)
    unseen = np.full(5, 1.0 / (5 * (players - 1)))
    weights = {pair: matches[pair].distinct * matches[pair].shares + unseen for pair in order}
    games = np.zeros((players, players))
    for i, j in order:
        games[i, j] = games[j, i] = 2.0 * weights[i, j].sum()

    def points(drawn: Mapping[tuple[int, int], NDArray[np.float64]], size: int) -> NDArray[np.float64]:
        """Returns what everybody won against everybody, from the results [size, 5] of every match."""
        won = np.zeros((size, players, players))
        for i, j in order:
            won[:, i, j] = drawn[i, j] @ POINTS
            won[:, j, i] = games[i, j] - won[:, i, j]
        return won

    nowhere = np.zeros((1, players))
    best = _fit(points(weights, 1), games, nowhere, nowhere)
    curvature = _curvature(best, games)[0]
    rng = np.random.default_rng(derive_seed(seed, "evaluation/ratings"))
    drawn = []
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        anew = {pair: weights[pair].sum() * rng.dirichlet(weights[pair], size) for pair in order}
        centre = rng.normal(0.0, math.sqrt(_VARIANCE), (size, players))
        drawn.append(_fit(points(anew, size), games, centre, np.repeat(best, size, axis=0)))
    sample = np.concatenate(drawn)
    sample -= sample[:, [anchor]]
    ahead = np.stack([((one[:, None] > sample) + (one[:, None] == sample) / 2.0).mean(axis=0) for one in sample.T])
    low, high = np.percentile(ELO * sample, [2.5, 97.5], axis=0)
    return Ratings(ELO * (best[0] - best[0, anchor]), low, high, ahead, ELO**2 * np.linalg.inv(curvature))


def most_telling(ratings: Ratings, anchor: int, candidates: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Returns the two players whose next games shorten the widest interval most.

    A game between i and j brings p(1 - p) of information on the difference of their ratings, which takes
    cov(r, i - j)^2 w / (1 + w var(i - j)) from the variance of a rating r.

    Args:
        ratings: so far.
        anchor: number of the player whose rating is 0.
        candidates: pairs of numbers (i, j), at least one.

    Returns:
        The first in order of those that do most.
    """
    widest = int(ratings.width.argmax())
    about = ratings.covariance[widest] - ratings.covariance[anchor]

    def gain(pair: tuple[int, int]) -> float:
        i, j = pair
        chance = 1.0 / (1.0 + math.exp((ratings.rating[j] - ratings.rating[i]) / ELO))
        weight = chance * (1.0 - chance) / ELO**2
        variance = ratings.covariance[i, i] + ratings.covariance[j, j] - 2.0 * ratings.covariance[i, j]
        return float((about[i] - about[j]) ** 2 * weight / (1.0 + weight * variance))

    return max(sorted(candidates), key=gain)


def expected_score(difference: float) -> float:
    """Returns the score expected of a player who is rated so many points higher."""
    return 1.0 / (1.0 + math.exp(-difference / ELO))


def _fit(
    points: NDArray[np.float64], games: NDArray[np.float64], centre: NDArray[np.float64], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the most likely ratings [B, n] in log-odds, by Newton's method.

    A step in which no difference changes by more than 1 always leads uphill (Bach, "Self-concordant analysis for
    logistic regression", 2010), so longer ones are shortened.

    Args:
        points: [B, n, n] of the one against the other.
        games: [n, n] between them.
        centre: [B, n] of the priors.
        x: [B, n] where to begin.
    """
    for _ in range(1000):
        expected = games * _chances(x)
        slope = (points - expected).sum(axis=2) - (x - centre) / _VARIANCE
        step = np.linalg.solve(_curvature(x, games), slope[..., None])[..., 0]
        longest = np.ptp(step, axis=1, keepdims=True)
        x = x + step / np.maximum(longest, 1.0)
        if longest.max() < 1e-9:
            break
    return x


def _curvature(x: NDArray[np.float64], games: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the curvature [B, n, n] of minus the log posterior at ratings [B, n]."""
    chances = _chances(x)
    weight = games * chances * (1.0 - chances)
    identity = np.eye(x.shape[1])
    result: NDArray[np.float64] = identity * (weight.sum(axis=2)[..., None] + 1.0 / _VARIANCE) - weight
    return result


def _chances(x: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * (x[:, :, None] - x[:, None, :])))
    return result
