"""From words to players: every way to name one, and what is said of those that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.basis.registry import OPPONENTS
from muzero_wm.evaluation import register_opponent
from muzero_wm.evaluation.opponents import RandomPlayer
from muzero_wm.evaluation.ratings.pool import gather
from tests.evaluation.ratings.runs import make_agent, make_run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pool")
    make_run(place / "runs" / "a")
    make_run(place / "runs" / "a@5", steps=(7,), seed=1)
    make_run(place / "runs" / "b:3", steps=(2,), seed=2)
    make_run(place / "random", steps=(1,), seed=3)
    make_run(place / "runs" / "four", env="connect4", steps=(1,))
    make_agent(seed=999).save(place / "saved")
    (place / "empty").mkdir()
    return place


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("runs/a", ["runs/a@9:4"]),
        ("runs/a/", ["runs/a@9:4"]),
        ("./runs/a@last", ["runs/a@9:4"]),
        ("runs/a@0", ["runs/a@0:4"]),
        ("runs/a@best", ["runs/a/@5:4"]),
        ("runs/a@all", ["runs/a@0:4", "runs/a/@5:4", "runs/a@9:4"]),
        ("runs/a:64", ["runs/a@9:64"]),
        ("runs/a@all:0", ["runs/a@0:0", "runs/a/@5:0", "runs/a@9:0"]),
        # a folder of that name wins, and behind a slash it is the checkpoint
        ("runs/a@5", ["runs/a@5@7:4"]),
        ("runs/a@5:8", ["runs/a@5@7:8"]),
        ("runs/a/@5", ["runs/a/@5:4"]),
        ("runs/a/@5:8", ["runs/a/@5:8"]),
        ("runs/a@5@7:8", ["runs/a@5@7:8"]),
        ("runs/b:3", ["runs/b:3@2:4"]),
        ("runs/b:3:3", ["runs/b:3@2:3"]),
        ("./random", ["./random@1:4"]),
        ("saved", ["saved:4"]),
        ("saved:0", ["saved:0"]),
        ("mcts:7", ["mcts:7"]),
    ],
)
def test_words_and_whom_they_mean(word: str, names: list[str]) -> None:
    pool = gather([word, "random"], env="tictactoe")
    assert list(pool.words[word]) == names
    assert sorted(each.name for each in pool.entrants) == sorted([*names, "random"])
    assert pool.spec.name == "tictactoe"


def test_a_name_can_be_written_again_and_means_the_same() -> None:
    pool = gather(["runs/a@all:3", "runs/a@5", "./random", "saved", "mcts:5"])
    again = gather([each.name for each in pool.entrants])
    assert [(each.name, each.print) for each in again.entrants] == [(each.name, each.print) for each in pool.entrants]
    assert len({each.print for each in pool.entrants}) == 7, "all weights differ, and one has none"


def test_each_plays_once_however_often_it_is_named() -> None:
    pool = gather(["runs/a", "random", "runs/a@9", "runs/a/@last:4", "random"])
    assert [each.name for each in pool.entrants] == ["random", "runs/a@9:4"]


def test_simulations_are_those_of_the_word_or_of_the_option_or_of_the_run() -> None:
    pool = gather(["runs/a@0", "runs/a@9:2", "random"], simulations=6)
    assert [each.name for each in pool.entrants] == ["random", "runs/a@0:6", "runs/a@9:2"]


def test_no_simulations_are_the_network_alone() -> None:
    env = envs.make("tictactoe", 3)
    step = env.reset()
    raw = gather(["saved:0", "random"]).entrants[1]
    agent = make_agent(seed=999)
    expected = agent.policy(step.observation, step.legal_actions)[0].argmax(axis=1)
    np.testing.assert_array_equal(raw.seat(0).actions(env, step, np.arange(3)), expected)


def test_weights_tell_runs_of_one_name_apart(place: Path) -> None:
    before = gather(["saved", "random"]).entrants[1]
    make_agent(seed=8).save(place / "saved")
    after = gather(["saved", "random"]).entrants[1]
    assert before.name == after.name and before.print != after.print


def test_ones_own_opponent_is_met() -> None:
    register_opponent("mine", lambda argument, spec, seed: RandomPlayer(seed))
    try:
        assert [each.name for each in gather(["mine:x", "random"], env="tictactoe").entrants] == ["mine:x", "random"]
    finally:
        OPPONENTS._own.clear()


@pytest.mark.parametrize(
    ("words", "env", "expected"),
    [
        (["runs/c", "random"], None, "unknown player 'runs/c': expected a run folder (RUN, RUN@UPDATES, "),
        (["rnadom", "runs/a"], None, "gtp:COMMAND, uci:COMMAND, did you mean 'random'?"),
        (["runs/fou", "random"], None, "did you mean 'runs/four'?"),
        (["empty", "random"], None, "empty: has no config.yaml and no model.json, so it is neither run nor agent"),
        (["runs/a@6", "random"], None, "runs/a@6: there is no checkpoint of 6 updates (there are: 0, 5, 9)"),
        (["saved@5", "random"], None, "saved@5: there is no checkpoint of 5 updates (there are: none)"),
        (["saved@all", "random"], None, "saved@all: saved has no checkpoints"),
        (["runs/a@frist", "random"], None, "unknown player 'runs/a@frist'"),
        (["runs/a", "runs/four"], None, "the same environment: runs/a plays tictactoe, runs/four plays connect4"),
        (["runs/a", "random"], "connect4", "env 'connect4': runs/a plays tictactoe"),
        (["random", "mcts:5"], None, "which environment do they play? Name it by --env"),
        (["random", "mcts:5"], "gym:CartPole-v1", "needs an environment of two players, gym:CartPole-v1 is for one"),
        (["random", "mcts:5"], "tictactoo", "unknown environment 'tictactoo'"),
        (["random", "mcts:no"], "tictactoe", "opponent 'mcts:no': expected mcts:N"),
        (["random:3", "mcts:5"], "tictactoe", "unknown opponent 'random:3'"),
        (["random"], "tictactoe", "an arena needs at least two players, got random"),
        (["runs/a", "runs/a@9"], None, "at least two players, got runs/a@9:4"),
    ],
)
def test_what_is_wrong_is_told(words: list[str], env: str | None, expected: str) -> None:
    with pytest.raises(UserError) as told:
        gather(words, env)
    assert expected in str(told.value)
    assert "\n" not in str(told.value)
