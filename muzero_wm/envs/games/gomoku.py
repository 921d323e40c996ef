"""Gomoku, and lines of any length: whoever first has k or more stones in a row wins; action a is cell a.

Freestyle: no opening rule, and no move is forbidden. A full board without a line is a draw.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from functools import cache

from numba import njit

from muzero_wm.envs.base import EnvError
from muzero_wm.envs.boards.board import BoardGame
from muzero_wm.envs.boards.kernels import DRAWN, IN_PLAY, LEGAL, OBSERVE, PLIES, RESET, STATUS, STEP, WON, kernel
from muzero_wm.envs.boards.options import Option, Options
from muzero_wm.envs.boards.symmetries import rectangle_symmetries

OPTIONS: Options = {
    "rows": Option(15, "rows of the board", low=3, high=19),
    "columns": Option(15, "columns of the board", low=3, high=19),
    "k": Option(5, "stones in a row that win, or more", low=3, high=19),
}

STONES = 2  # from here on one entry a row of the board, of the first player and then of the second; bit x is column x


@njit
def _run(row, base, y, x, dy, dx, rows, columns):
    """Returns how many stones in a row follow a cell in one direction."""
    count = 0
    y += dy
    x += dx
    while 0 <= y < rows and 0 <= x < columns and (row[base + y] >> x) & 1:
        count += 1
        y += dy
        x += dx
    return count


@cache
def make(rows: int, columns: int, k: int) -> BoardGame:
    """Returns the rules for a size.

    Args:
        rows: 3 to 19.
        columns: 3 to 19.
        k: stones in a row that win.

    Raises:
        EnvError: no line of k fits on the board.
    """
    if k > max(rows, columns):
        raise EnvError(f"gomoku: k must be at most {max(rows, columns)} on a board of {rows}x{columns}, got {k}")
    cells = rows * columns

    @kernel(RESET)
    def reset(row):
        """Empties the board."""
        row[:] = 0

    @kernel(STEP)
    def step(row, action):
        """Sets a stone on a free cell and passes the turn."""
        base = STONES + rows * (row[PLIES] & 1)
        y, x = action // columns, action % columns
        row[base + y] |= 1 << x
        row[PLIES] += 1
        row[STATUS] = DRAWN if row[PLIES] == cells else IN_PLAY
        for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
            line = _run(row, base, y, x, dy, dx, rows, columns) + _run(row, base, y, x, -dy, -dx, rows, columns)
            if line + 1 >= k:
                row[STATUS] = WON

    @kernel(LEGAL)
    def legal(row, out):
        """Allows the free cells."""
        for y in range(rows):
            taken = row[STONES + y] | row[STONES + rows + y]
            for x in range(columns):
                out[columns * y + x] = (taken >> x) & 1 == 0

    @kernel(OBSERVE)
    def observe(row, out):
        """Draws stones of the player to move, stones of the opponent, free cells."""
        seat = row[PLIES] & 1
        for y in range(rows):
            mine, theirs = row[STONES + rows * seat + y], row[STONES + rows * (1 - seat) + y]
            for x in range(columns):
                a, b = (mine >> x) & 1, (theirs >> x) & 1
                out[0, y, x], out[1, y, x], out[2, y, x] = a, b, 1 - a - b

    return BoardGame(
        name="gomoku",
        height=rows,
        width=columns,
        num_actions=cells,
        state_width=STONES + 2 * rows,
        max_plies=cells,
        symmetries=rectangle_symmetries(rows, columns, cells),
        reset=reset,
        step=step,
        legal=legal,
        observe=observe,
    )
