"""Which stones have won, where that is cheap to see."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Cell = tuple[int, int]
_LINES = ((0, 1), (1, 0), (1, 1), (1, -1))
_SIX = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, -1), (-1, 1))


def line_through(stones: NDArray[np.int8], last: Cell) -> frozenset[Cell]:
    """Returns the longest lines of one player's stones through a cell, which win where lines do.

    Args:
        stones: [H, W], 0 where nobody's lies.
        last: a cell with a stone.
    """
    runs = [_run(stones, last, *step) for step in _LINES]
    longest = max(map(len, runs))
    return frozenset(cell for run in runs if len(run) == longest for cell in run)


def chain_across(stones: NDArray[np.int8], last: Cell) -> frozenset[Cell]:
    """Returns a shortest chain of one player's stones between that player's edges of a board of hexagons.

    Args:
        stones: [H, W], 0 where nobody's lies, 1 the first player's, who joins top and bottom, 2 the second's.
        last: a cell with a stone of that player.

    Returns:
        Its cells; none where there is no chain.
    """
    mine = stones == stones[last]
    if stones[last] == 1:
        return frozenset(_downwards(mine))
    return frozenset((row, column) for column, row in _downwards(mine.T))


def _run(stones: NDArray[np.int8], last: Cell, down: int, right: int) -> list[Cell]:
    """Returns the cells of a line through a cell."""
    run = [last]
    for sign in (1, -1):
        row, column = last[0] + sign * down, last[1] + sign * right
        while 0 <= row < stones.shape[0] and 0 <= column < stones.shape[1] and stones[row, column] == stones[last]:
            run.append((row, column))
            row, column = row + sign * down, column + sign * right
    return run


def _downwards(mine: NDArray[np.bool_]) -> list[Cell]:
    """Returns a shortest chain from the first row to the last one; none where there is no chain."""
    height, width = mine.shape
    before: dict[Cell, Cell | None] = {(0, int(column)): None for column in np.flatnonzero(mine[0])}
    waiting = deque(before)
    while waiting:
        cell: Cell | None = waiting.popleft()
        assert cell is not None
        if cell[0] == height - 1:
            chain = []
            while cell is not None:
                chain.append(cell)
                cell = before[cell]
            return chain
        for down, right in _SIX:
            row, column = cell[0] + down, cell[1] + right
            if 0 <= row < height and 0 <= column < width and mine[row, column] and (row, column) not in before:
                before[row, column] = cell
                waiting.append((row, column))
    return []
