"""Options of built-in games, and what a game may say besides win, draw and loss."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from muzero_wm import envs
from muzero_wm.envs.boards import LEGAL, OBSERVE, PLIES, RESET, SCORED, STATUS, STEP, UNIT, BoardGame, kernel
from muzero_wm.envs.boards.board import BoardEnv
from muzero_wm.envs.registry import option_values
from muzero_wm.evaluation.uct import uct_visits


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("othello", "othello"),
        ("othello()", "othello"),
        ("othello(board_size=8)", "othello"),
        ("othello( board_size = 6 )", "othello(board_size=6)"),
        ("gomoku(k=4, rows=6)", "gomoku(rows=6, k=4)"),
        ("hex(swap=True, board_size=11)", "hex(swap=true)"),
        ("go(komi=7.0)", "go"),
        ("go(komi=-2.5, board_size=5)", "go(board_size=5, komi=-2.5)"),
        ("go(komi=-0.0, board_size=5)", "go(board_size=5, komi=0)"),
    ],
)
def test_a_game_has_one_name(said: str, name: str) -> None:
    assert envs.is_built_in(said)
    assert envs.spec(said).name == envs.make(said, 1).spec.name == envs.board_game(said).name == name
    assert envs.spec(name) == envs.spec(said)
    assert option_values(said) == option_values(name)
    assert envs.board_game(said) is envs.board_game(said)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("othello(board_size=7)", r"othello\(board_size=7\): board_size must be 4, 6 or 8, got 7"),
        ("othello(board_size=10)", "must be 4, 6 or 8, got 10"),
        ("othello(board_size=6.0)", "must be 4, 6 or 8, got 6.0"),
        ("othello(board_size=true)", "must be 4, 6 or 8, got True"),
        ("othello(board_size=big)", "must be 4, 6 or 8, got 'big'"),
        ("othello(size=6)", r"unknown option 'size' \(known: board_size\)"),
        ("othello(bord_size=6)", "unknown option 'bord_size'.*did you mean 'board_size'"),
        ("othello(frame_stack=2)", "frame_stack is not for board games"),
        ("othello(channels=first)", "channels=first is for gym"),
        ("gomoku(rows=20)", "rows must be a whole number from 3 to 19, got 20"),
        ("gomoku(rows=3, columns=4)", "k must be at most 4 on a board of 3x4, got 5"),
        ("hex(swap=1)", "swap must be true or false, got 1"),
        ("go(komi=7.25)", "komi must be a multiple of 0.5 from -100 to 100, got 7.25"),
        ("go(komi=1e400)", "komi must be a multiple of 0.5"),
        ("go(komi=half)", "komi must be a multiple of 0.5 from -100 to 100, got 'half'"),
        ("go(board_size=1)", "board_size must be a whole number from 3 to 19, got 1"),
        ("connect4(rows=6)", r"connect4\(rows=6\): unknown option 'rows' \(connect4 takes no options\)"),
        ("otello(board_size=6)", r"unknown environment 'otello\(board_size=6\)'.*did you mean 'othello'"),
        ("othello(6)", "expected options like"),
    ],
)
def test_impossible_options_are_named(name: str, message: str) -> None:
    for ask in (envs.spec, envs.board_game):
        with pytest.raises(envs.EnvError, match=message):
            ask(name)


def test_moves_are_kept_with_random_openings_and_not_beyond_a_restore(seed: int) -> None:
    env = envs.make("othello(board_size=6)", 40, seed, random_openings=0.7, max_random_plies=12)
    assert isinstance(env, BoardEnv)
    step, rng = env.reset(), np.random.default_rng(seed)
    for _ in range(60):
        for row in (0, 17, 39):
            states = env.game.first_states(1)
            for move in env.moves[row, : env.states[row, PLIES]]:
                states = env.game.play(states, [move])
            np.testing.assert_array_equal(states[0], env.states[row])
        step = env.step(np.where(step.legal_actions, rng.random(step.legal_actions.shape), -1.0).argmax(axis=1))
    env.restore(env.snapshot())
    assert (env.moves == -1).all()


def test_rows_of_a_stranger_stay_within_their_game(seed: int) -> None:
    """Rows come from checkpoints: whatever stands in them, nothing outside of them is read or written."""
    rng = np.random.default_rng(seed)
    for name in (
        "othello(board_size=6)",
        "gomoku(rows=5, columns=8, k=4)",
        "hex(board_size=5)",
        "go(board_size=5, komi=0.5)",
    ):
        game = envs.board_game(name)
        margin, width = 64, game.state_width
        field = np.full(width + 2 * margin, 77, np.int64)
        row = field[margin : margin + width]
        for _ in range(200):
            row[:] = rng.integers(-(2**62), 2**62, width) >> rng.integers(0, 62, width)
            row[STATUS] = 0
            states = row.reshape(1, -1)
            mask = game.look(states)[1][0]
            for move in rng.permutation(np.flatnonzero(mask))[:3]:
                if not game.outcome(states)[0][0] and game.look(states)[1][0, move]:
                    game.play_in_place(states, np.array([move]))
            game.look(states)
            assert (field[:margin] == 77).all()
            assert (field[margin + width :] == 77).all()


@kernel(RESET)
def reset(row):  # type: ignore[no-untyped-def]
    row[:] = 0


@kernel(STEP)
def step(row, action):  # type: ignore[no-untyped-def]
    row[PLIES] += 1
    if row[PLIES] == 1:
        row[2] = action
    else:
        row[STATUS] = SCORED
        row[3] = (action - row[2]) * UNIT // 4


@kernel(LEGAL)
def legal(row, out):  # type: ignore[no-untyped-def]
    for move in range(5):
        out[move] = row[PLIES] == 0 or move <= 1 + row[2]


@kernel(OBSERVE)
def observe(row, out):  # type: ignore[no-untyped-def]
    out[:] = 0
    out[0, 0, row[2] & 3] = 1


SHARES = BoardGame("shares", 1, 4, 5, 4, 2, (), reset, step, legal, observe, planes=("what was said",))


def test_a_result_may_lie_between_win_and_loss() -> None:
    """The first says a number, the second one that is at most one more, and wins a quarter for each that it is more."""
    env = BoardEnv(SHARES, 3)
    assert env.reset().observation.shape == (3, 1, 1, 4)
    assert env.step(np.array([0, 2, 4])).reward.tolist() == [0, 0, 0]
    last = env.step(np.array([1, 1, 0]))
    assert last.terminated.all()
    assert last.reward.tolist() == [0.25, -0.25, -1.0]
    states = SHARES.play(SHARES.play(SHARES.first_states(3), [0, 2, 4]), [1, 1, 0])
    over, result = SHARES.outcome(states)
    assert over.all()
    assert result.tolist() == [0.25, -0.25, -1.0]
    visits = uct_visits(SHARES, SHARES.play(SHARES.first_states(1), [1]), np.ones(1, np.uint64), 200)
    assert visits[0].argmax() == 2  # the most that may be said


def test_compiled_sizes_are_kept_on_the_disk(tmp_path: Path) -> None:
    """Kernels of one size are a closure's: a later process must load those of its own size."""
    code = (
        "from muzero_wm import envs\n"
        "for size in (4, 6):\n"
        "    game = envs.board_game(f'othello(board_size={size})')\n"
        "    states = game.first_states(1)\n"
        "    assert game.legal_actions(states).sum() == 4, size\n"
        "    print(size, game.step.cache_hits, game.legal.cache_hits)\n"
    )
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    told = [
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert told == ["4 0 0\n6 0 0\n", "4 1 1\n6 1 1\n"]
