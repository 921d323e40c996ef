"""Hex: the first player joins top and bottom, the second left and right; action a is cell a, and there are no draws.

Cell (y, x) touches (y, x - 1), (y, x + 1), (y - 1, x), (y - 1, x + 1), (y + 1, x) and (y + 1, x - 1). With `swap=true`
the second player may answer the first stone with action board_size²: it becomes one of their own, mirrored at the
diagonal from the top left (the pie rule).
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit

from muzero_wm.envs.boards.board import PLANES, BoardGame
from muzero_wm.envs.boards.kernels import IN_PLAY, LEGAL, OBSERVE, PLIES, RESET, STATUS, STEP, WON, kernel
from muzero_wm.envs.boards.options import Option, Options
from muzero_wm.envs.boards.symmetries import diagonal_symmetries

OPTIONS: Options = {
    "board_size": Option(11, "cells along a side", low=2, high=19),
    "swap": Option(False, "the second player may take over the first stone"),
}

STONES = 2  # from here on one entry a row of the board, of the first player and then of the second; bit x is column x


@njit
def _spread(line, stones):
    """Returns the stones of a row that those of `line` are joined to within the row."""
    line &= stones
    while True:
        wider = (line | (line << 1) | (line >> 1)) & stones
        if wider == line:
            return line
        line = wider


@njit
def _joins(row, base, size, y, x, upright):
    """Returns whether the stone at a cell is part of a chain between its player's two edges."""
    chain = np.zeros(size, np.int64)
    chain[y] = 1 << x
    growing = True
    while growing:
        growing = False
        for turn in range(2 * size):  # down the board and up again
            i = turn if turn < size else 2 * size - 1 - turn
            line = chain[i]
            if i > 0:
                line |= chain[i - 1] | (chain[i - 1] >> 1)
            if i < size - 1:
                line |= chain[i + 1] | (chain[i + 1] << 1)
            line = _spread(line, row[base + i])
            if line != chain[i]:
                chain[i] = line
                growing = True
    if upright:
        return chain[0] != 0 and chain[size - 1] != 0
    touched = 0
    for i in range(size):
        touched |= chain[i]
    return touched & 1 != 0 and (touched >> (size - 1)) & 1 != 0


@cache
def make(board_size: int, swap: bool) -> BoardGame:
    """Returns the rules for a size.

    Args:
        board_size: 2 to 19.
        swap: whether the second player may take over the first stone.
    """
    size, cells = board_size, board_size**2
    swapping = 1 if swap else 0

    @kernel(RESET)
    def reset(row):
        """Empties the board."""
        row[:] = 0

    @kernel(STEP)
    def step(row, action):
        """Sets a stone on a free cell, or takes over the first one."""
        seat = row[PLIES] & 1
        base = STONES + size * seat
        row[PLIES] += 1
        row[STATUS] = IN_PLAY
        if action < cells:
            y, x = action // size, action % size
            row[base + y] |= 1 << x
            # a chain from edge to edge has a stone in every row or column
            if row[PLIES] >= 2 * size - 1 and _joins(row, base, size, y, x, seat == 0):
                row[STATUS] = WON
        else:
            for y in range(size):
                for x in range(size):
                    if (row[STONES + y] >> x) & 1:
                        row[STONES + size + x] = 1 << y
                row[STONES + y] = 0

    @kernel(LEGAL)
    def legal(row, out):
        """Allows the free cells, and the swap as the second move."""
        for y in range(size):
            taken = row[STONES + y] | row[STONES + size + y]
            for x in range(size):
                out[size * y + x] = (taken >> x) & 1 == 0
        if swapping:
            out[cells] = row[PLIES] == 1

    @kernel(OBSERVE)
    def observe(row, out):
        """Draws stones of the player to move, stones of the opponent, free cells, and the edges to be joined."""
        seat = row[PLIES] & 1
        for y in range(size):
            mine, theirs = row[STONES + size * seat + y], row[STONES + size * (1 - seat) + y]
            for x in range(size):
                a, b = (mine >> x) & 1, (theirs >> x) & 1
                along = y if seat == 0 else x
                out[0, y, x], out[1, y, x], out[2, y, x] = a, b, 1 - a - b
                out[3, y, x] = 1 if along == 0 or along == size - 1 else 0

    return BoardGame(
        name="hex",
        height=size,
        width=size,
        num_actions=cells + swapping,
        state_width=STONES + 2 * size,
        max_plies=cells + swapping,
        symmetries=diagonal_symmetries(size, cells + swapping),
        reset=reset,
        step=step,
        legal=legal,
        observe=observe,
        planes=(*PLANES, "cells at the edges that the player to move joins"),
    )
