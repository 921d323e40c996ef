"""Human-normalised scores and what is made of several games."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from muzero_wm.basis.errors import UserError
from muzero_wm.evaluation.aggregate import aggregate, interquartile_mean
from muzero_wm.evaluation.normalised import reference, references


def test_the_table_has_the_26_games() -> None:
    table = references()
    assert len(table) == 26 and table["Pong"].published["bbf"] == 16.7
    assert all(each.human > each.random for each in table.values())


@pytest.mark.parametrize(
    "name",
    ["ale:MsPacman", "ale:ms_pacman", "ale:MsPacman(size=48,frame_stack=2)", "gym:ALE/MsPacman-v5",
     "gym:ale_py:ALE/MsPacman-v5", "gym:MsPacmanNoFrameskip-v4", "gym:MsPacman-v0"],
)  # fmt: skip
def test_a_game_is_found_by_any_of_its_names(name: str) -> None:
    found = reference(name)
    assert found is not None and (found.game, found.random, found.human) == ("MsPacman", 307.0, 6952.0)


@pytest.mark.parametrize("name", ["connect4", "gym:CartPole-v1", "minatar:breakout", "ale:Tennis", "my.module:Pong"])
def test_what_is_no_game_of_the_benchmark_has_no_reference(name: str) -> None:
    assert reference(name) is None


def test_random_play_is_zero_and_a_person_is_one() -> None:
    pong = references()["Pong"]
    assert pong.normalised(-20.7) == 0.0 and pong.normalised(14.6) == 1.0
    assert pong.normalised(20.4) == pytest.approx(41.1 / 35.3)


def test_the_interquartile_mean_is_that_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for count in range(1, 40):
        scores = rng.standard_cauchy(count)
        assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores, 0.25))


def test_what_is_known_of_several_games() -> None:
    found = aggregate({"a": [0.0, 0.2], "b": [1.0, 1.0], "c": [4.0, 6.0]})
    assert (found["mean"]["score"], found["median"]["score"]) == (pytest.approx(6.1 / 3), 1.0)
    assert found["iqm"]["score"] == pytest.approx((0.2 + 1.0 + 1.0 + 4.0) / 4)
    assert found["median"]["ci95"] == [1.0, 1.0]
    # of two runs each, a game's mean is that of one run twice in four times
    assert found["mean"]["ci95"] == [pytest.approx(5.0 / 3), pytest.approx(7.2 / 3)]


def test_the_interval_of_a_mean_covers_it_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        scores = {str(game): rng.normal(game, 1.0, size=20).tolist() for game in range(4)}
        low, high = aggregate(scores, seed=trial, resamples=200)["mean"]["ci95"]
        hits += low <= 1.5 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_one_run_of_every_game_has_no_interval() -> None:
    assert aggregate({"a": [0.5], "b": [0.7]})["iqm"] == {"score": 0.6, "ci95": None}


def test_bad_scores_are_named() -> None:
    with pytest.raises(UserError, match="at least one game"):
        aggregate({})
    for wrong in ([], [float("nan")], [[1.0]]):
        with pytest.raises(UserError, match="Pong: expected one finite score"):
            aggregate({"Pong": wrong})
