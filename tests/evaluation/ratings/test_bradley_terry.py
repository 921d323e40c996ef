"""Ratings: against the likelihood written out, and of games between players of known strength."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from muzero_wm.evaluation.ratings.bradley_terry import Pairs, most_telling, rate

Matches = dict[tuple[int, int], Pairs]


def play(strengths: list[float], pairs: int, rng: np.random.Generator, draws: float = 0.3) -> Matches:
    """Plays pairs of games by the model with draws: the expected score is that of the difference in strength."""
    matches = {}
    for i, j in itertools.combinations(range(len(strengths)), 2):
        score = 1 / (1 + 10 ** ((strengths[j] - strengths[i]) / 400))
        drawn = draws * 2 * min(score, 1 - score)
        games = rng.choice([1.0, 0.5, 0.0], p=[score - drawn / 2, drawn, 1 - score - drawn / 2], size=(pairs, 2))
        counts = np.bincount((2 * games.sum(axis=1)).astype(int), minlength=5)
        matches[i, j] = Pairs(tuple(counts.tolist()), pairs)
    return matches


def textbook_posterior(ratings: np.ndarray, matches: Matches) -> float:
    """The log posterior, term by term; one more pair of each player is shared out among its three opponents."""
    total = sum(-0.5 * (rating / 1000.0) ** 2 for rating in ratings)
    for (i, j), found in matches.items():
        chance = 1 / (1 + 10 ** ((ratings[j] - ratings[i]) / 400))
        won = sum(n * points for n, points in zip(found.counts, (0, 0.5, 1, 1.5, 2), strict=True)) + 1 / 3
        total += won * math.log(chance) + (2 * sum(found.counts) + 2 / 3 - won) * math.log(1 - chance)
    return total


def test_the_ratings_are_the_likeliest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matches = play([0.0, 150.0, -400.0, 900.0], 20, rng)
    found = rate(matches, 4, anchor=2).rating
    assert found[2] == 0.0
    centred = found - found.mean()  # where the prior is at its best
    best = textbook_posterior(centred, matches)
    for _ in range(200):
        assert textbook_posterior(centred + rng.normal(0, 3.0, 4), matches) < best


def test_two_players_by_hand() -> None:
    # 3 of 4 points are odds of three to one; the prior takes a little of it
    found = rate({(0, 1): Pairs((0, 0, 0, 1000, 0), 1000)}, 2, anchor=1)
    assert found.rating[0] == pytest.approx(400 * math.log10(3), abs=1.0)
    assert rate({(0, 1): Pairs((1, 2, 3, 2, 1), 9)}, 2, anchor=0).rating == pytest.approx([0.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("draws", [0.0, 0.6])
def test_intervals_hold_the_true_strength_as_often_as_they_say(draws: float, seed: int) -> None:
    strengths = [0.0, 80.0, 250.0, 400.0]
    rng = np.random.default_rng(seed)
    inside, above = [], []
    for repetition in range(150):
        found = rate(play(strengths, 40, rng, draws), 4, anchor=0, seed=repetition, resamples=300)
        inside.append((found.low <= strengths)[1:] & (strengths <= found.high)[1:])
        above.append(found.rating[1:] - strengths[1:])
    share = np.mean(inside)
    assert 0.90 <= share <= 0.985, "of 450 intervals of 95 %"
    assert np.abs(np.mean(above, axis=0)).max() < 15.0


def test_draws_make_intervals_narrower() -> None:
    often = rate({(0, 1): Pairs((0, 0, 50, 0, 0), 50)}, 2, anchor=0)
    never = rate({(0, 1): Pairs((12, 0, 26, 0, 12), 50)}, 2, anchor=0)
    assert often.rating == pytest.approx(never.rating, abs=1e-6)
    assert often.width[1] < 0.6 * never.width[1]


@pytest.mark.parametrize("pairs", [10, 50, 1000])
def test_who_always_loses_has_a_rating_and_an_interval_that_is_not_a_point(pairs: int) -> None:
    found = rate({(0, 1): Pairs((pairs, 0, 0, 0, 0), pairs)}, 2, anchor=1)
    # the largest chance to win a game that leaves one in forty to lose all of them, and one that leaves nine in ten
    likely, unlikely = (1 - share ** (1 / (2 * pairs)) for share in (0.025, 0.9))
    assert found.high[0] == pytest.approx(400 * math.log10(likely / (1 - likely)), abs=60.0)
    assert found.low[0] < 400 * math.log10(unlikely / (1 - unlikely))
    assert found.low[0] < found.rating[0] < found.high[0]
    assert found.ahead[1, 0] == 1.0


def test_more_games_say_more_and_repeated_ones_nothing() -> None:
    few = rate({(0, 1): Pairs((2, 4, 6, 5, 3), 20)}, 2, anchor=0)
    many = rate({(0, 1): Pairs((20, 40, 60, 50, 30), 200)}, 2, anchor=0)
    repeated = rate({(0, 1): Pairs((20, 40, 60, 50, 30), 20)}, 2, anchor=0)
    assert few.width[1] / many.width[1] == pytest.approx(math.sqrt(10), rel=0.15)
    np.testing.assert_allclose(repeated.rating, few.rating)
    np.testing.assert_array_equal(repeated.low, few.low)


def test_what_no_game_connects_is_held_by_the_prior_and_its_interval_says_so() -> None:
    apart = {(0, 1): Pairs((5, 10, 20, 10, 5), 50), (2, 3): Pairs((5, 10, 20, 10, 5), 50)}
    found = rate(apart, 4, anchor=0, resamples=2000)
    assert found.width[1] < 200.0
    # the means of two pairs of players, each around the pool: sqrt(2 / 2) standard deviations of 1000
    assert found.width[2] == pytest.approx(2 * 1.96 * 1000.0, rel=0.1)
    assert 0.4 < found.ahead[2, 0] < 0.6


def test_the_anchor_moves_all_ratings_alike(seed: int) -> None:
    matches = play([0.0, 200.0, -100.0], 30, np.random.default_rng(seed))
    first, last = rate(matches, 3, anchor=0, seed=seed), rate(matches, 3, anchor=2, seed=seed)
    np.testing.assert_allclose(first.rating - last.rating, first.rating[2], atol=1e-6)
    np.testing.assert_array_equal(first.ahead, last.ahead)
    assert first.width[0] == last.width[2] == 0.0


def test_the_number_of_a_player_does_not_matter(seed: int) -> None:
    matches = play([0.0, 200.0, -100.0, 50.0], 30, np.random.default_rng(seed))
    order = [2, 0, 3, 1]  # the new number of each
    turned = {}
    for (i, j), found in matches.items():
        a, b = order[i], order[j]
        counts = found.counts if a < b else found.counts[::-1]
        turned[min(a, b), max(a, b)] = Pairs(counts, found.distinct)
    np.testing.assert_allclose(
        rate(turned, 4, anchor=order[1]).rating[order], rate(matches, 4, anchor=1).rating, atol=1e-6
    )


def test_a_hundred_players_with_hopeless_games_are_rated(seed: int) -> None:
    strengths = [60.0 * i for i in range(60)]
    found = rate(play(strengths, 3, np.random.default_rng(seed)), 60, anchor=0, resamples=20)
    assert np.isfinite(found.rating).all()
    assert np.corrcoef(found.rating, strengths)[0, 1] > 0.99


def test_the_next_games_are_those_that_tell_most() -> None:
    matches = {
        (0, 1): Pairs((10, 20, 40, 20, 10), 100),
        (0, 2): Pairs((0, 1, 1, 1, 0), 3),
        (0, 3): Pairs((30, 20, 20, 20, 10), 100),
        (1, 3): Pairs((30, 20, 20, 20, 10), 100),
    }
    found = rate(matches, 4, anchor=0)
    assert int(found.width.argmax()) == 2
    everybody = list(itertools.combinations(range(4), 2))

    def variance_after(pair: tuple[int, int]) -> float:
        """That of the difference between 2 and the anchor, with one more game: the information written out."""
        information = np.eye(4) / 1000.0**2
        games = {each: 2.0 * sum(pairs.counts) for each, pairs in matches.items()}
        games[pair] = games.get(pair, 0.0) + 1.0
        for (i, j), count in games.items():
            chance = 1 / (1 + 10 ** ((found.rating[j] - found.rating[i]) / 400))
            difference = np.eye(4)[i] - np.eye(4)[j]
            information += count * chance * (1 - chance) * np.outer(difference, difference) * (math.log(10) / 400) ** 2
        contrast = np.eye(4)[2] - np.eye(4)[0]
        return float(contrast @ np.linalg.solve(information, contrast))

    for candidates in (everybody, everybody[2:], [(1, 3), (0, 3)], [(1, 2), (0, 1)]):
        assert most_telling(found, 0, candidates) == min(candidates, key=variance_after)
        assert most_telling(found, 0, candidates[::-1]) == most_telling(found, 0, candidates)
