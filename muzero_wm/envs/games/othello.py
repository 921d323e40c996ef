"""Othello on 4x4, 6x6 or 8x8 cells: a move flips the rows it closes in; whoever has none passes; most discs win.

Action a is cell a, row by row from the top left; the last one is the pass, legal where there is nothing else. The game
is over as soon as neither player has a move, where by the rules both would pass.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit, types

from muzero_wm.envs.boards.board import BoardGame
from muzero_wm.envs.boards.kernels import DRAWN, IN_PLAY, LEGAL, LOST, OBSERVE, PLIES, RESET, STATUS, STEP, WON, kernel
from muzero_wm.envs.boards.options import Option, Options
from muzero_wm.envs.boards.symmetries import square_symmetries

OPTIONS: Options = {"board_size": Option(8, "cells along a side", low=4, high=8, step=2)}

# Bit size * y + x of a set of discs is the cell in row y and column x. MINE holds the discs of the player to move, and
# MOVES the cells where that player may move.
MINE, THEIRS, MOVES = 2, 3, 4


@njit
def _bits(number):
    return types.uint64(number)


@njit
def _along(mine, between, shift):
    """Returns the cells behind unbroken lines of `between` that begin at `mine`, towards higher and lower bits."""
    shift = _bits(shift)
    up, down = between & (mine << shift), between & (mine >> shift)
    for _ in range(5):  # as long as a line of others can be
        up |= between & (up << shift)
        down |= between & (down >> shift)
    return up << shift, down >> shift


@njit
def _moves(mine, theirs, size, board, inner):
    """Returns the cells where the owner of `mine` may move; `inner` is the board without its outer columns."""
    found = _bits(0)
    for shift, between in ((1, theirs & inner), (size, theirs), (size - 1, theirs & inner), (size + 1, theirs & inner)):
        up, down = _along(mine, between, shift)
        found |= up | down
    return found & board & ~(mine | theirs)


@njit
def _flipped(disc, mine, theirs, size, inner):
    """Returns the discs of `theirs` that a disc at one cell turns over."""
    found = _bits(0)
    for shift, between in ((1, theirs & inner), (size, theirs), (size - 1, theirs & inner), (size + 1, theirs & inner)):
        s = _bits(shift)
        line, reached = _bits(0), disc << s
        while reached & between:
            line |= reached
            reached <<= s
        if reached & mine:
            found |= line
        line, reached = _bits(0), disc >> s
        while reached & between:
            line |= reached
            reached >>= s
        if reached & mine:
            found |= line
    return found


@njit
def _count(discs):
    count = 0
    while discs:
        discs &= discs - _bits(1)
        count += 1
    return count


@cache
def make(board_size: int) -> BoardGame:
    """Returns the rules for a size.

    Args:
        board_size: 4, 6 or 8.
    """
    size, cells, middle = board_size, board_size**2, board_size // 2
    # NumPy's numbers, for Numba takes Python's for signed ones as long as they are small.
    board = np.uint64(2**cells - 1)
    inner = np.uint64(sum(1 << (size * y + x) for y in range(size) for x in range(1, size - 1)))
    first = np.uint64((1 << (size * (middle - 1) + middle)) | (1 << (size * middle + middle - 1)))
    second = np.uint64((1 << (size * (middle - 1) + middle - 1)) | (1 << (size * middle + middle)))

    @kernel(RESET)
    def reset(row):
        """Sets up two discs of each player, crosswise in the middle."""
        row[:] = 0
        row[MINE], row[THEIRS] = types.int64(first), types.int64(second)
        row[MOVES] = types.int64(_moves(first, second, size, board, inner))

    @kernel(STEP)
    def step(row, action):
        """Sets a disc and turns over what it closes in, or passes; ends the game where nobody can move."""
        mine, theirs = _bits(row[MINE]), _bits(row[THEIRS])
        if action < cells:
            disc = _bits(1) << _bits(action)
            flipped = _flipped(disc, mine, theirs, size, inner)
            mine |= disc | flipped
            theirs &= ~flipped
        row[MINE], row[THEIRS] = types.int64(theirs), types.int64(mine)
        row[PLIES] += 1
        moves = _moves(theirs, mine, size, board, inner)
        row[MOVES] = types.int64(moves)
        if moves == 0 and _moves(mine, theirs, size, board, inner) == 0:
            ahead = _count(mine) - _count(theirs)
            row[STATUS] = WON if ahead > 0 else (LOST if ahead < 0 else DRAWN)
        else:
            row[STATUS] = IN_PLAY

    @kernel(LEGAL)
    def legal(row, out):
        """Allows the cells that close in others, or else the pass."""
        moves = _bits(row[MOVES])
        for cell in range(cells):
            out[cell] = (moves >> _bits(cell)) & _bits(1) != 0
        out[cells] = moves == 0

    @kernel(OBSERVE)
    def observe(row, out):
        """Draws discs of the player to move, discs of the opponent, empty cells."""
        mine, theirs = _bits(row[MINE]), _bits(row[THEIRS])
        for y in range(size):
            for x in range(size):
                cell = _bits(size * y + x)
                a, b = (mine >> cell) & _bits(1), (theirs >> cell) & _bits(1)
                out[0, y, x], out[1, y, x], out[2, y, x] = a, b, _bits(1) - a - b

    return BoardGame(
        name="othello",
        height=size,
        width=size,
        num_actions=cells + 1,
        state_width=5,
        # A pass comes between two discs, and not before the first.
        max_plies=2 * (cells - 4) - 1,
        symmetries=square_symmetries(size, cells + 1),
        reset=reset,
        step=step,
        legal=legal,
        observe=observe,
        passing=cells,
    )
