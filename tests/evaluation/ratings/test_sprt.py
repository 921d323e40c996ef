"""The sequential test: against the formula by other means, and how often it is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from muzero_wm.evaluation.ratings.bradley_terry import Pairs
from muzero_wm.evaluation.ratings.sprt import LOWER, UPPER, decision, log_likelihood_ratio


def constrained_likelihood(counts: np.ndarray, score: float) -> float:
    """The largest log-likelihood of five counts whose expected score is given, by a general optimiser."""
    scores = np.arange(5) / 4
    start = np.full(5, 0.2)
    found = minimize(
        lambda q: -(counts * np.log(q)).sum(),
        start,
        jac=lambda q: -counts / q,
        bounds=[(1e-9, 1)] * 5,
        constraints=[
            {"type": "eq", "fun": lambda q: q.sum() - 1},
            {"type": "eq", "fun": lambda q: q @ scores - score},
        ],
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert found.success, found.message
    return -float(found.fun)


@pytest.mark.parametrize("counts", [(3, 8, 20, 12, 7), (1, 1, 30, 1, 1), (20, 9, 5, 4, 2)])
def test_the_ratio_is_that_of_the_two_constrained_likelihoods(counts: tuple[int, ...]) -> None:
    elo0, elo1 = -10.0, 60.0
    s0, s1 = (1 / (1 + 10 ** (-elo / 400)) for elo in (elo0, elo1))
    array = np.array(counts, float)
    expected = constrained_likelihood(array, s1) - constrained_likelihood(array, s0)
    assert log_likelihood_ratio(Pairs(counts, sum(counts)), elo0, elo1) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("counts", "elo0", "elo1", "ratio"),
    [((223, 9863, 21279, 10037, 246), 0.5, 2.5, -3.07), ((871, 26175, 55983, 26678, 821), 0.0, 2.0, -4.98)],
)
def test_the_ratio_is_what_others_publish(counts: tuple[int, ...], elo0: float, elo1: float, ratio: float) -> None:
    # matches of Stockfish, with the ratio that fishtest and fastchess give (logistic Elo, pentanomial)
    assert log_likelihood_ratio(Pairs(counts, sum(counts)), elo0, elo1) == pytest.approx(ratio, abs=0.006)


def test_the_bounds_are_walds() -> None:
    assert pytest.approx(math.log(0.05 / 0.95)) == LOWER
    assert pytest.approx(math.log(0.95 / 0.05)) == UPPER
    assert [decision(x) for x in (-3.0, -2.9, 0.0, 2.9, 3.0)] == ["elo0", None, None, None, "elo1"]


def test_no_games_and_games_that_repeat_others_say_nothing() -> None:
    assert log_likelihood_ratio(Pairs((0, 0, 0, 0, 0), 0), 0.0, 50.0) == 0.0
    once = log_likelihood_ratio(Pairs((0, 0, 1, 2, 1), 4), 0.0, 50.0)
    assert log_likelihood_ratio(Pairs((0, 0, 100, 200, 100), 4), 0.0, 50.0) == pytest.approx(once)
    assert log_likelihood_ratio(Pairs((0, 0, 0, 0, 9), 9), 0.0, 50.0) > 0


def test_both_sides_are_alike() -> None:
    one = log_likelihood_ratio(Pairs((3, 8, 20, 12, 7), 50), 0.0, 40.0)
    other = log_likelihood_ratio(Pairs((7, 12, 20, 8, 3), 50), -40.0, 0.0)
    assert one == pytest.approx(-other)


@pytest.mark.parametrize(("true", "wrong"), [(0.0, "elo1"), (80.0, "elo0")])
def test_it_is_wrong_as_rarely_as_it_says(true: float, wrong: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    answers = []
    for _ in range(200):
        # openings favour one side: the two games of a pair are not independent, and lean against each other
        score = 1 / (1 + 10 ** (-true / 400))
        counts = np.zeros(5, int)
        answer = None
        while answer is None:
            lean = rng.choice([-0.3, 0.3], 10)
            won = sum((rng.random(10) < score + sign * lean).astype(int) for sign in (1, -1))
            counts += np.bincount(2 * won, minlength=5)
            answer = decision(log_likelihood_ratio(Pairs(tuple(counts.tolist()), int(counts.sum())), 0.0, 80.0))
        answers.append(answer)
    # 5 % of 200 are 10; chance alone gives more than 18 less than one time in a hundred
    assert answers.count(wrong) <= 18
    assert answers.count(wrong) < len(answers)
