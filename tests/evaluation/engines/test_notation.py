"""Vertices against the names that OpenSpiel gives its moves, and known ones; moves found again from stones."""

from __future__ import annotations

import random

import numpy as np
import pytest

from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.envs.boards.board import BoardEnv
from muzero_wm.evaluation.engines.notation import notation_of
from muzero_wm.evaluation.engines.record import moves_so_far

pyspiel = pytest.importorskip("pyspiel")


@pytest.mark.parametrize("game", ["go(board_size=9)", "go(board_size=19)", "othello", "hex(board_size=11)"])
def test_vertices_are_those_of_openspiel(game: str, seed: int) -> None:
    notation, state, rng = (
        notation_of(f"openspiel:{game}"),
        pyspiel.load_game(game).new_initial_state(),
        random.Random(seed),
    )
    seen = set()
    while not state.is_terminal():
        for action in state.legal_actions():
            named = state.action_to_string(action).split()[-1].split("(")[0].lower()
            word = notation.word(action, state.history())
            assert word.lower() == named
            assert notation.action(word, state.history()) == notation.action(word.lower(), state.history()) == action
            seen.add(word)
        state.apply_action(rng.choice(state.legal_actions()))
    assert len(seen) > 20


KNOWN = [
    ("openspiel:go(board_size=9)", 0, "A1"),  # lower left
    ("openspiel:go(board_size=9)", 8, "J1"),  # there is no I
    ("openspiel:go(board_size=9)", 81, "pass"),
    ("openspiel:hex(board_size=11)", 8, "I1"),  # here there is, and row 1 is the first
    ("openspiel:hex(num_rows=3, num_cols=5)", 14, "E3"),
    ("openspiel:othello", 0, "A1"),  # upper left
    ("openspiel:othello", 64, "pass"),
    ("tictactoe", 0, "A3"),  # upper left
    ("tictactoe", 5, "C2"),
    ("openspiel:tic_tac_toe", 8, "C1"),
    ("openspiel:gomoku(size=15)", 14, "P15"),
    ("openspiel:mnk(m=5, n=4, k=4)", 19, "E1"),
    ("connect4", 3, "D1"),
    ("go", 0, "A9"),  # upper left
    ("go(board_size=19)", 360, "T1"),
    ("go(board_size=5)", 25, "pass"),
    ("othello(board_size=6)", 35, "F6"),  # row 1 is the first
    ("othello(board_size=6)", 36, "pass"),
    ("hex", 8, "I1"),
    ("hex(swap=true)", 121, "swap-pieces"),
    ("gomoku(rows=6, columns=9, k=4)", 53, "J1"),
    ("openspiel:connect_four", 6, "G1"),
]


@pytest.mark.parametrize(("env", "action", "word"), KNOWN)
def test_known_vertices(env: str, action: int, word: str) -> None:
    notation = notation_of(env)
    assert notation.word(action, []) == word
    assert notation.action(word.lower(), []) == action


@pytest.mark.parametrize(
    "word", ["", "I1", "A0", "A10", "K1", "Z9", "A-1", "A01", "A1A1", "1A", "É1", "swap", "swap-pieces", "A¹"]
)
def test_words_that_are_no_vertices_of_nine_lines(word: str) -> None:
    assert notation_of("openspiel:go(board_size=9)").action(word, []) is None


def test_a_column_is_enough_where_stones_fall_and_a_wrong_row_is_not() -> None:
    notation = notation_of("connect4")
    assert notation.words([3, 3, 3, 0]) == ["D1", "D2", "D3", "A1"]
    assert notation.action("d", [3, 3]) == notation.action("d3", [3, 3]) == 3
    assert notation.action("d2", [3, 3]) is None


def test_chess_is_written_as_uci_does(seed: int) -> None:
    notation, state, rng = (
        notation_of("openspiel:chess"),
        pyspiel.load_game("chess").new_initial_state(),
        random.Random(seed),
    )
    opening = ["e2e4", "e7e5", "g1f3", "b8c6", "f1b5", "a7a6", "e1g1"]
    for word in opening:
        action = notation.action(word, state.history())
        assert action in state.legal_actions()
        state.apply_action(action)
    assert notation.words(state.history()) == opening
    assert str(state).split()[0].endswith("RNBQ1RK1")  # castled
    for _ in range(40):
        if state.is_terminal():
            break
        state.apply_action(rng.choice(state.legal_actions()))
    words = notation.words(state.history())
    for ply in range(0, len(words), 7):
        assert notation.action(words[ply], state.history()[:ply]) == state.history()[ply]


def test_boards_with_more_columns_than_letters_are_refused() -> None:
    with pytest.raises(UserError, match="expected at most 25 columns, which have letters, got 30"):
        notation_of("openspiel:mnk(m=30, n=4, k=4)")


@pytest.mark.parametrize("env_name", ["connect4", "tictactoe", "othello(board_size=6)", "go(board_size=5, komi=0.5)"])
def test_kept_moves_lead_to_the_same_position(env_name: str, seed: int) -> None:
    env = envs.make(env_name, 50, seed)
    assert isinstance(env, BoardEnv)
    step, rng = env.reset(), np.random.default_rng(seed)
    for _ in range(60):
        for row in range(0, 50, 7):
            states = env.game.first_states(1)
            for action in moves_so_far(env, row):
                states = env.game.play(states, [action])
            assert (states == env.states[row]).all()
        step = env.step(np.array([rng.choice(np.flatnonzero(legal)) for legal in step.legal_actions]))


def test_moves_of_openspiel_are_those_that_were_played() -> None:
    env = envs.make("openspiel:othello", 2, 0)
    step, played = env.reset(), []
    for _ in range(6):
        actions = step.legal_actions.argmax(axis=1)
        played.append(int(actions[1]))
        step = env.step(actions)
    assert moves_so_far(env, 1) == played


def test_a_game_that_was_restored_does_not_know_its_moves() -> None:
    env = envs.make("othello(board_size=6)", 2, 0)
    step = env.reset()
    step = env.step(step.legal_actions.argmax(axis=1))
    assert len(moves_so_far(env, 1)) == 1
    step, _ = env.restore(env.snapshot())
    with pytest.raises(UserError, match="was restored does not know its moves"):
        moves_so_far(env, 1)


def test_hex_stones_are_swapped_in_the_words_of_its_protocol() -> None:
    notation = notation_of("hex(board_size=5, swap=true)")
    assert notation.words([1, 25, 3]) == ["B1", "swap-pieces", "D1"]
    assert notation.action("swap-pieces", [1]) == 25
    assert notation_of("hex(board_size=5)").action("swap-pieces", [1]) is None
