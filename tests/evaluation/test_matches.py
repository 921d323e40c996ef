"""Matches, exhaustive play and intervals."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.envs import BatchedEnv, EnvError, Step
from muzero_wm.evaluation import AgentPlayer, opponent_from_name, play_every_reply, play_match, plies_for
from muzero_wm.evaluation.intervals import mean_interval, wilson_interval
from muzero_wm.evaluation.players import Forfeit
from tests.evaluation.stubs import FirstLegalAgent, PerfectTicTacToe, RandomAgent


class Scripted:
    """Plays its moves in order, the same in every game, and writes down who was to move."""

    def __init__(self, moves: list[int]) -> None:
        self.moves = moves
        self.turns: dict[int, int] = {}
        self.seats: dict[int, set[int]] = {}

    def actions(self, env: BatchedEnv, step: Step, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        chosen = []
        for row in rows.tolist():
            turn = self.turns[row] = self.turns.get(row, -1) + 1
            self.seats.setdefault(row, set()).add(int(step.to_play[row]))
            chosen.append(self.moves[turn])
        return np.array(chosen)


def test_both_seats_are_played_and_told_apart() -> None:
    # Both build a column of their own; whoever moved first is first to four.
    player, opponent = Scripted([0] * 4), Scripted([6] * 4)
    result = play_match("connect4", player, opponent, 10)
    assert (result.first.wins, result.first.draws, result.first.losses) == (5, 0, 0)
    assert (result.second.wins, result.second.draws, result.second.losses) == (0, 0, 5)
    assert player.seats == {row: {0 if row < 5 else 1} for row in range(10)}
    assert opponent.seats == {row: {1 if row < 5 else 0} for row in range(10)}
    report = result.to_dict()
    assert report["seats"]["second"] == {"games": 5, "wins": 0, "draws": 0, "losses": 5, "score": 0.0}
    assert (report["wins"], report["draws"], report["losses"], report["score"]) == (5, 0, 5, 0.5)
    assert (report["distinct_games"], report["cut"], report["opening_plies"]) == (2, 0, 0)
    assert report["ci95"] == list(wilson_interval(1, 2))  # two games, played five times each


def test_every_slot_counts_one_game_only() -> None:
    # In the games the player opens it wins on its fourth move; the others go on for two more plies.
    player, opponent = Scripted([3, 3, 3, 3]), Scripted([0, 1, 5, 6, 6])
    seen: list[tuple[int, int]] = []
    result = play_match("connect4", player, opponent, 4, progress=lambda *counts: seen.append(counts))
    assert (result.first.wins, result.second.wins, result.total.games) == (2, 2, 4)
    assert seen == [(0, 4)] * 6 + [(2, 4), (4, 4)]
    assert set(player.turns.values()) == {3}


def test_an_odd_game_is_played_from_the_first_seat() -> None:
    spec = envs.spec("tictactoe")
    result = play_match("tictactoe", opponent_from_name("random", spec, 1), opponent_from_name("random", spec, 2), 7)
    assert (result.first.games, result.second.games) == (4, 3)


def test_perfect_players_draw_and_random_ones_lose(seed: int) -> None:
    spec = envs.spec("tictactoe")
    perfect = opponent_from_name("perfect", spec, seed)
    assert play_match("tictactoe", AgentPlayer(PerfectTicTacToe()), perfect, 60, seed).total.draws == 60
    result = play_match("tictactoe", AgentPlayer(RandomAgent("tictactoe"), seed=seed), perfect, 60, seed)
    assert result.total.wins == 0
    assert result.first.losses > 5
    assert result.second.losses > 15


def test_searches_take_a_stream_for_each_game_and_move(seed: int) -> None:
    env = envs.make("tictactoe", 40)
    step = env.reset()

    def player() -> AgentPlayer:
        return AgentPlayer(RandomAgent("tictactoe"), seed=seed)

    everyone = player()
    first = everyone.actions(env, step, np.arange(40))
    assert len(set(first.tolist())) > 3
    np.testing.assert_array_equal(player().actions(env, step, np.arange(9, 25)), first[9:25])
    assert (everyone.actions(env, step, np.arange(40)) != first).any()


class Watching:
    """Takes the first legal move and remembers the boards it saw first."""

    def __init__(self) -> None:
        self.first: dict[int, bytes] = {}

    def actions(self, env: BatchedEnv, step: Step, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        for row in rows.tolist():
            self.first.setdefault(row, step.observation[row].tobytes())
        return step.legal_actions[rows].argmax(axis=1)


def test_openings_come_in_pairs(seed: int) -> None:
    player, opponent = Watching(), Watching()
    result = play_match("connect4", player, opponent, 24, seed, opening_plies=4)
    for i in range(12):
        assert player.first[i] == opponent.first[12 + i]  # the same board, once from either seat
    assert len({player.first[i] for i in range(12)}) > 9
    # whoever plays alike from both seats cannot win a pair
    assert result.total.score == 0.5
    assert result.first.wins == result.second.losses
    assert (result.opening_plies, result.distinct) == (4, 2 * len({player.first[i] for i in range(12)}))


def test_an_odd_number_of_plies_gives_the_first_move_to_the_second_seat(seed: int) -> None:
    player, opponent = Watching(), Watching()
    play_match("connect4", player, opponent, 2, seed, opening_plies=1)
    assert np.frombuffer(opponent.first[0], np.uint8).reshape(-1, 42)[:2].sum() == 1  # one stone on the board
    assert opponent.first[0] == player.first[1]


@pytest.mark.parametrize(("games", "plies"), [(1, 1), (12, 2), (100, 3), (2000, 5)])
def test_plies_give_every_pair_a_beginning_of_its_own(games: int, plies: int) -> None:
    assert plies_for("connect4", games) == plies


def test_a_game_without_end_is_drawn_at_the_limit(seed: int) -> None:
    result = play_match("connect4", Watching(), Watching(), 4, seed, max_steps=3)
    assert (result.total.draws, result.cut, result.to_dict()["cut"]) == (4, 4, 4)
    with pytest.raises(UserError, match="max_steps must be at least 1, got 0"):
        play_match("connect4", Watching(), Watching(), 4, seed, max_steps=0)


def test_an_illegal_move_stops_the_match() -> None:
    with pytest.raises(EnvError, match="action 3 in slot 0 is illegal"):
        play_match("connect4", Scripted([3] * 9), Scripted([3] * 9), 1)


def test_what_is_no_match_is_refused() -> None:
    nobody = Scripted([])
    with pytest.raises(UserError, match="two-player environment, gym:CartPole-v1 has 1 player"):
        play_match("gym:CartPole-v1", nobody, nobody, 2)
    with pytest.raises(UserError, match="games must be at least 1, got 0"):
        play_match("connect4", nobody, nobody, 0)


def test_a_perfect_agent_loses_no_line_at_all() -> None:
    report = play_every_reply("tictactoe", AgentPlayer(PerfectTicTacToe()).choose)
    assert report["losses"] == 0
    assert report["losing_lines"] == []
    assert report["games"] == report["wins"] + report["draws"] > 200


def test_exhaustive_play_agrees_with_plain_recursion(seed: int) -> None:
    agent = FirstLegalAgent("tictactoe")
    game = envs.board_game("tictactoe")
    lost: list[list[int]] = []
    games = 0

    def walk(moves: list[int], states: NDArray[np.int64], seat: int) -> None:
        nonlocal games
        legal = game.legal_actions(states)[0]
        turn = len(moves) % 2
        for move in [int(legal.argmax())] if turn == seat else np.flatnonzero(legal).tolist():
            after = game.play(states, [move])
            over, result = game.outcome(after)
            if not over[0]:
                walk([*moves, move], after, seat)
                continue
            games += 1
            if result[0] == 1 and turn != seat:
                lost.append([*moves, move])

    walk([], game.first_states(1), 0)
    walk([], game.first_states(1), 1)
    report = play_every_reply("tictactoe", AgentPlayer(agent, seed=seed).choose)
    assert report["games"] == games
    assert report["losses"] == len(lost) > 0
    assert sorted(report["losing_lines"]) == sorted(lost)


def test_exhaustive_play_asks_for_each_position_once() -> None:
    asked: list[int] = []

    def choose(
        observations: NDArray[np.uint8], legal: NDArray[np.bool_], *, states: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        assert len(np.unique(observations, axis=0)) == len(observations)
        assert np.array_equal(envs.board_game("tictactoe").look(states)[0], observations)
        asked.append(len(observations))
        return legal.argmax(axis=1)

    play_every_reply("tictactoe", choose)
    assert asked[0] == 1
    assert len(asked) == 9


@pytest.mark.parametrize(
    ("wins", "games", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_published_values(wins: int, games: int, low: float, high: float) -> None:
    """Compares with the table of Newcombe (1998), "Two-sided confidence intervals for the single proportion"."""
    assert wilson_interval(wins, games) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(games - wins, games) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_a_draw_is_half_a_win() -> None:
    assert wilson_interval(3 + 4 / 2, 10) == wilson_interval(5, 10)


def test_mean_interval_known_values() -> None:
    assert mean_interval([3.0]) is None
    assert mean_interval([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx((3 - 1.385904, 3 + 1.385904), abs=1e-6)


class GivesUp(Watching):
    """Takes the first legal move until the given turn of a game, then gives it up, and says why if it may."""

    def __init__(self, turn: int, reason: str | None) -> None:
        super().__init__()
        self.turn, self.reason = turn, reason
        self.turns: dict[int, int] = {}
        if reason is not None:
            self.forfeits: list[Forfeit] = []

    def actions(self, env: BatchedEnv, step: Step, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        moves = super().actions(env, step, rows)
        for i, row in enumerate(rows.tolist()):
            self.turns[row] = self.turns.get(row, 0) + 1
            if self.turns[row] == self.turn:
                moves[i] = -1
                if self.reason is not None:
                    self.forfeits.append(Forfeit(row, 2 * (self.turn - 1), self.reason))
        return moves


@pytest.mark.parametrize("reason", ["it crashed", None])
def test_who_gives_a_game_up_has_lost_it(reason: str | None, seed: int) -> None:
    whole = play_match("connect4", Watching(), Watching(), 6, seed)
    assert (whole.first.wins, whole.second.losses, whole.forfeits) == (3, 3, ())  # the first column decides
    result = play_match("connect4", Watching(), GivesUp(2, reason), 6, seed)
    assert (result.first.wins, result.second.wins, result.total.games) == (3, 3, 6)
    said = [each.to_dict() for each in result.forfeits]
    # who moves second in a game gives it up at ply 3, who moves first at ply 2
    assert {(each["game"], each["ply"]) for each in said} == {(0, 3), (1, 3), (2, 3), (3, 2), (4, 2), (5, 2)}
    assert {(each["by"], each["reason"]) for each in said} == {("opponent", reason or "no reason given")}
    assert result.to_dict()["forfeits"] == said
    mirrored = play_match("connect4", GivesUp(2, reason), Watching(), 6, seed)
    assert (mirrored.total.losses, {each.by_opponent for each in mirrored.forfeits}) == (6, {False})


class Pays(gymnasium.Env[Any, Any]):
    """Gives half a point to whoever moves, six times."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.played = 0
        return np.zeros(2, np.float32), {"to_play": 0}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.played += 1
        return np.zeros(2, np.float32), 0.5, self.played == 6, False, {"to_play": self.played % 2}


def test_a_game_given_up_counts_as_lost_whatever_was_won() -> None:
    # who moves first is ahead by half a point when it gives up
    result = play_match("tests.evaluation.test_matches:Pays", GivesUp(2, "tired"), GivesUp(3, "bored"), 2)
    assert (result.first.losses, result.second.losses, result.total.games) == (1, 1, 2)
    assert play_match("tests.evaluation.test_matches:Pays", Watching(), Watching(), 2).total.draws == 2


def test_one_player_in_both_seats_gives_up_for_the_seat_whose_turn_it_is() -> None:
    player = GivesUp(2, "alone")
    result = play_match("connect4", player, player, 1)
    assert result.first.wins == 1  # its second turn is the second seat's first
    assert [each.to_dict() for each in result.forfeits] == [{"by": "opponent", "game": 0, "ply": 1, "reason": "alone"}]


def test_reasons_of_an_earlier_match_are_not_told_again(seed: int) -> None:
    player = GivesUp(1, "broken")
    assert len(play_match("connect4", player, Watching(), 2, seed).forfeits) == 2
    assert play_match("connect4", player, Watching(), 2, seed).forfeits == ()


def test_a_game_that_is_over_during_its_opening_begins_anew_and_is_played_to_its_end(seed: int) -> None:
    one, other = (opponent_from_name("random", envs.spec("tictactoe"), seed + i) for i in range(2))
    for plies in (5, 8, 20):
        assert play_match("tictactoe", one, other, 100, seed, opening_plies=plies).cut == 0
    # and limits count the moves of the game that is played
    result = play_match("tictactoe", one, other, 100, seed, opening_plies=9, max_steps=1)
    assert result.cut == 100
