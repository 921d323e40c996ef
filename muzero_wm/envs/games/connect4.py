"""Connect Four: stones fall in 7 columns of 6 cells, four in a row win; action a is column a."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from numba import njit

from muzero_wm.envs.boards.board import BoardGame
from muzero_wm.envs.boards.kernels import DRAWN, IN_PLAY, LEGAL, OBSERVE, PLIES, RESET, STATUS, STEP, WON, kernel
from muzero_wm.envs.boards.options import Options
from muzero_wm.envs.boards.symmetries import mirror_symmetries

OPTIONS: Options = {}

# Bit 7x + h of a set of stones is column x at height h (0 is the bottom). Bit 7x + 6 stays empty, so that a line cannot
# run from the top of a column into the bottom of the next. MINE holds the stones of the player to move.
MINE, THEIRS = 2, 3
UP, RIGHT, DOWN_RIGHT, UP_RIGHT = 1, 7, 6, 8


@njit
def _four_in_a_row(stones):
    """Returns whether four stones stand in line."""
    for direction in (UP, RIGHT, DOWN_RIGHT, UP_RIGHT):
        pairs = stones & (stones >> direction)
        if pairs & (pairs >> (2 * direction)):
            return True
    return False


@kernel(RESET)
def reset(row):
    """Empties the board."""
    row[:] = 0


@kernel(STEP)
def step(row, action):
    """Drops a stone into a column with room and passes the turn."""
    # Adding a column's bottom bit carries through its stones to the lowest free cell.
    free_cell = ((row[MINE] | row[THEIRS]) + (1 << (7 * action))) & (0b111111 << (7 * action))
    stones = row[MINE] | free_cell
    row[MINE] = row[THEIRS]
    row[THEIRS] = stones
    row[PLIES] += 1
    if _four_in_a_row(stones):
        row[STATUS] = WON
    else:
        row[STATUS] = DRAWN if row[PLIES] == 42 else IN_PLAY


@kernel(LEGAL)
def legal(row, out):
    """Allows the columns whose top cell is free."""
    taken = row[MINE] | row[THEIRS]
    for column in range(7):
        out[column] = (taken >> (7 * column + 5)) & 1 == 0


@kernel(OBSERVE)
def observe(row, out):
    """Draws stones of the player to move, stones of the opponent, free cells; the top row first."""
    for column in range(7):
        for height in range(6):
            cell = 7 * column + height
            mine, theirs = (row[MINE] >> cell) & 1, (row[THEIRS] >> cell) & 1
            out[0, 5 - height, column] = mine
            out[1, 5 - height, column] = theirs
            out[2, 5 - height, column] = 1 - mine - theirs


GAME = BoardGame(
    name="connect4",
    height=6,
    width=7,
    num_actions=7,
    state_width=4,
    max_plies=42,
    symmetries=mirror_symmetries(6, 7),
    reset=reset,
    step=step,
    legal=legal,
    observe=observe,
)


def make() -> BoardGame:
    """Returns the rules."""
    return GAME
