"""The opponent where none is named: as strong as there is time for, and said."""

from __future__ import annotations

import pytest

from muzero_wm import envs
from muzero_wm.evaluation.affordable import affordable_opponent, strongest
from muzero_wm.evaluation.opponents import opponent_from_name


@pytest.mark.parametrize(
    ("seconds_per_playout", "opponent"),
    [
        (0.01, "mcts:1000"),
        (0.06, "mcts:1000"),
        (0.061, "mcts:500"),
        (0.6, "mcts:100"),
        (3.0, "mcts:20"),
        (3.1, "random"),
    ],
)
def test_the_most_playouts_within_a_minute(seconds_per_playout: float, opponent: str) -> None:
    assert strongest(seconds_per_playout, 60.0) == opponent


@pytest.mark.parametrize(("name", "usual"), [("tictactoe", "perfect"), ("connect4", "mcts:1000")])
def test_games_that_are_built_in_keep_theirs(name: str, usual: str) -> None:
    told: list[str] = []
    assert affordable_opponent(envs.spec(name), 100, told.append, seconds=0.0) == usual
    assert told == []


def test_a_game_in_python_is_measured_and_what_follows_is_told() -> None:
    spec = envs.spec("tests.envs.toys:nim")
    told: list[str] = []
    assert affordable_opponent(spec, 100, told.append, seconds=0.0) == "random"
    assert "The opponent is random: a playout of tests.envs.toys:nim takes" in told[0] and "--opponent" in told[0]
    assert affordable_opponent(spec, 1, told.append, seconds=1e9) == "mcts:1000"
    assert len(told) == 1
    opponent_from_name("mcts:20", spec)
