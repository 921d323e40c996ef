"""Opponents: exact where they claim to be, sensible where they search, reproducible all of them."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.basis.seeding import pick
from muzero_wm.envs.boards.board import BoardEnv, States
from muzero_wm.evaluation import connect4_solver, opponent_from_name, play_match
from muzero_wm.evaluation.connect4_solver import FULL_COLUMN, connect_four_solver
from muzero_wm.evaluation.minimax import minimax_table
from muzero_wm.evaluation.opponents import MctsPlayer
from muzero_wm.evaluation.uct import uct_visits
from tests.evaluation.stubs import textbook_value


def position(name: str, moves: list[int]) -> States:
    game = envs.board_game(name)
    states = game.first_states(1)
    for move in moves:
        states = game.play(states, [move])
    return states


def test_minimax_knows_all_tictactoe_positions() -> None:
    table, game = minimax_table("tictactoe"), envs.board_game("tictactoe")
    rows, moves = np.nonzero(game.legal_actions(table.states))
    after = game.play(table.states[rows], moves)
    ended = np.unique(after[game.outcome(after)[0]], axis=0)
    assert len(table.states) + len(ended) == 5_478
    memo: dict[tuple[int, int], int] = {}
    for row, values in zip(table.states.tolist(), table.move_values.tolist(), strict=True):
        mine, theirs = row[2:]
        for cell, value in enumerate(values):
            taken = (mine | theirs) >> cell & 1
            assert value == (-2 if taken else -textbook_value(theirs, mine | 1 << cell, memo))


def test_a_perfect_player_never_loses_from_any_position() -> None:
    table, game = minimax_table("tictactoe"), envs.board_game("tictactoe")
    values = table.move_values.max(axis=1)
    safe = table.states[values >= 0]
    assert values[table.index(game.first_states(1))].tolist() == [0]
    rows, moves = np.nonzero(table.best_moves(safe))
    after = game.play(safe[rows], moves)
    over, result = game.outcome(after)
    assert (result[over] >= 0).all()
    # Whatever is replied, the perfect player is to move in a position that is safe again.
    rows, moves = np.nonzero(game.legal_actions(after[~over]))
    replied = game.play(after[~over][rows], moves)
    over, result = game.outcome(replied)
    assert (result[over] <= 0).all()
    assert (values[table.index(replied[~over])] >= 0).all()


@pytest.fixture
def solver() -> connect4_solver.ConnectFourSolver:
    pytest.importorskip("bitbully", reason="bitbully is the Connect Four solver (extra: eval)")
    return connect_four_solver()


def test_connect_four_openings(solver: connect4_solver.ConnectFourSolver) -> None:
    scores = solver.move_scores(position("connect4", []))
    assert np.sign(scores).tolist() == [[-1, -1, 0, 1, 0, -1, -1]]
    assert solver.best_moves(position("connect4", [])).tolist() == [[False] * 3 + [True] + [False] * 3]


@pytest.mark.parametrize(("columns", "score"), [("4455", 18), ("44455554221", -15)])
def test_connect_four_known_scores(solver: connect4_solver.ConnectFourSolver, columns: str, score: int) -> None:
    scores = solver.move_scores(position("connect4", [int(column) - 1 for column in columns]))
    assert scores.max() == score


def test_connect_four_full_columns_and_mirrored_positions(solver: connect4_solver.ConnectFourSolver, seed: int) -> None:
    full = solver.move_scores(position("connect4", [0] * 6))
    assert full[0, 0] == FULL_COLUMN
    assert (full[0, 1:] > FULL_COLUMN).all()
    rng = np.random.default_rng(seed)
    game = envs.board_game("connect4")
    for _ in range(20):
        moves: list[int] = []
        while len(moves) < 16:
            states = position("connect4", moves)
            if game.outcome(states)[0][0]:
                moves = []
            else:
                moves.append(int(rng.choice(np.flatnonzero(game.legal_actions(states)[0]))))
        states, mirrored = position("connect4", moves), position("connect4", [6 - move for move in moves])
        if not game.outcome(states)[0][0]:
            np.testing.assert_array_equal(solver.move_scores(states)[:, ::-1], solver.move_scores(mirrored))


def test_a_missing_solver_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitbully", None)
    connect_four_solver.cache_clear()
    with pytest.raises(UserError, match=r"pip install 'muzero-wm\[eval\]'"):
        opponent_from_name("perfect", envs.spec("connect4"))


# Tic-tac-toe cells are counted row by row, Connect Four columns from the left.
TACTICS = {
    "wins in a row": ("tictactoe", [0, 3, 1, 4], 2),
    "blocks a column": ("tictactoe", [0, 4, 3], 6),
    "wins rather than blocks": ("tictactoe", [0, 3, 1, 4, 8], 5),
    "wins upward": ("connect4", [3, 0, 3, 0, 3, 1], 3),
    "blocks upward": ("connect4", [3, 0, 3, 0, 3], 3),
    "blocks a gap": ("connect4", [1, 1, 2, 2, 4], 3),
    "wins on the diagonal": ("connect4", [0, 1, 1, 2, 2, 3, 2, 3, 3, 6], 3),
}


@pytest.mark.parametrize("case", TACTICS)
def test_mcts_takes_wins_and_blocks(case: str, seed: int) -> None:
    name, moves, expected = TACTICS[case]
    states = np.repeat(position(name, moves), 8, axis=0)
    chosen = MctsPlayer(4_000, seed).moves(envs.board_game(name), states, np.arange(8))
    assert chosen.tolist() == [expected] * 8


def test_mcts_searches_every_position_by_itself(seed: int) -> None:
    game = envs.board_game("connect4")
    states = np.concatenate([position("connect4", [3, column, 2]) for column in range(7)])
    keys = np.random.default_rng(seed).integers(0, 2**64, 7, np.uint64)
    together = uct_visits(game, states, keys, 200)
    assert (together.sum(axis=1) == 200).all()
    for i in (3, 0, 6):
        np.testing.assert_array_equal(uct_visits(game, states[i : i + 1], keys[i : i + 1], 200)[0], together[i])
    assert (uct_visits(game, states, keys + np.uint64(1), 200) != together).any(axis=1).all()


def test_mcts_finds_the_value_of_tictactoe_openings(seed: int) -> None:
    # After a corner only the centre holds; with enough playouts UCT finds out.
    states = np.repeat(position("tictactoe", [0]), 5, axis=0)
    chosen = MctsPlayer(5_000, seed).moves(envs.board_game("tictactoe"), states, np.arange(5))
    assert chosen.tolist() == [4] * 5


def test_more_playouts_beat_fewer_and_few_beat_none(seed: int) -> None:
    spec = envs.spec("connect4")
    none, weak, strong = (opponent_from_name(name, spec, seed) for name in ("random", "mcts:50", "mcts:1000"))
    assert play_match("connect4", weak, none, 200, seed).total.score > 0.9
    assert play_match("connect4", strong, weak, 100, seed).total.score > 0.8


@pytest.mark.parametrize("name", ["random", "perfect", "mcts:50"])
def test_choices_are_reproducible_varied_and_each_games_own(name: str, seed: int) -> None:
    env = envs.make("tictactoe", 40)
    assert isinstance(env, BoardEnv)
    step = env.reset()

    def choose(with_seed: int, rows: np.ndarray) -> np.ndarray:
        return opponent_from_name(name, env.spec, with_seed).actions(env, step, rows)

    everyone = choose(seed, np.arange(40))
    np.testing.assert_array_equal(choose(seed, np.arange(40)), everyone)
    np.testing.assert_array_equal(choose(seed, np.arange(7, 30)), everyone[7:30])
    assert len(set(everyone.tolist())) > 1
    assert (choose(seed + 1, np.arange(40)) != everyone).any()


def test_random_moves_are_uniform(seed: int) -> None:
    allowed = np.tile([True, False, True, True], (30_000, 1))
    counts = np.bincount(pick(allowed, np.random.default_rng(seed).integers(0, 2**64, 30_000, np.uint64)), minlength=4)
    assert counts[1] == 0
    assert (abs(counts[[0, 2, 3]] - 10_000) < 500).all()


@pytest.mark.parametrize(
    ("name", "env", "message"),
    [
        ("perfct", "connect4", "unknown opponent 'perfct'.*did you mean 'perfect'"),
        ("mtcs:10", "connect4", "did you mean 'mcts'"),
        ("random:3", "connect4", "unknown opponent 'random:3'"),
        ("", "connect4", "unknown opponent ''"),
        ("mcts", "connect4", "expected mcts:N"),
        ("mcts:0", "connect4", "expected mcts:N with N from 1"),
        ("mcts:-5", "connect4", "expected mcts:N"),
        ("mcts:1e3", "connect4", "expected mcts:N"),
        ("mcts:10", "gym:CartPole-v1", "needs an environment of two players"),
        ("perfect", "gym:CartPole-v1", "'perfect' exists for tictactoe and connect4, not for gym:CartPole-v1"),
    ],
)
def test_opponents_that_do_not_exist_are_named(name: str, env: str, message: str) -> None:
    spec = envs.spec(env)
    with pytest.raises(UserError, match=message):
        opponent_from_name(name, spec)
