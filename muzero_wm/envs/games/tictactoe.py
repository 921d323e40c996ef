"""Tic-tac-toe: three in a row on a 3x3 board; action a is cell a, row by row from the top left."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from muzero_wm.envs.boards.board import BoardGame
from muzero_wm.envs.boards.kernels import DRAWN, IN_PLAY, LEGAL, OBSERVE, PLIES, RESET, STATUS, STEP, WON, kernel
from muzero_wm.envs.boards.options import Options
from muzero_wm.envs.boards.symmetries import square_symmetries

OPTIONS: Options = {}

# Bit a of a set of stones is cell a. MINE holds the stones of the player to move.
MINE, THEIRS = 2, 3
LINES = (0o007, 0o070, 0o700, 0o111, 0o222, 0o444, 0o421, 0o124)


@kernel(RESET)
def reset(row):
    """Empties the board."""
    row[:] = 0


@kernel(STEP)
def step(row, action):
    """Sets a stone on a free cell and passes the turn."""
    stones = row[MINE] | (1 << action)
    row[MINE] = row[THEIRS]
    row[THEIRS] = stones
    row[PLIES] += 1
    row[STATUS] = DRAWN if row[PLIES] == 9 else IN_PLAY
    for line in LINES:
        if stones & line == line:
            row[STATUS] = WON


@kernel(LEGAL)
def legal(row, out):
    """Allows the free cells."""
    taken = row[MINE] | row[THEIRS]
    for cell in range(9):
        out[cell] = (taken >> cell) & 1 == 0


@kernel(OBSERVE)
def observe(row, out):
    """Draws stones of the player to move, stones of the opponent, free cells."""
    for cell in range(9):
        mine, theirs = (row[MINE] >> cell) & 1, (row[THEIRS] >> cell) & 1
        y, x = cell // 3, cell % 3
        out[0, y, x] = mine
        out[1, y, x] = theirs
        out[2, y, x] = 1 - mine - theirs


GAME = BoardGame(
    name="tictactoe",
    height=3,
    width=3,
    num_actions=9,
    state_width=4,
    max_plies=9,
    symmetries=square_symmetries(3, 9),
    reset=reset,
    step=step,
    legal=legal,
    observe=observe,
)


def make() -> BoardGame:
    """Returns the rules."""
    return GAME
