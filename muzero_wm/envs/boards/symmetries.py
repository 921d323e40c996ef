"""Turns and mirrors of rectangular boards."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs.base import Symmetry


def square_symmetries(size: int, num_actions: int) -> tuple[Symmetry, ...]:
    """Returns the 8 turns and mirrors of a square board whose move a < size² is a cell (row by row).

    Args:
        size: rows and columns.
        num_actions: moves beyond the cells (a pass) keep their number.

    Returns:
        8 symmetries, the identity first.
    """
    cells = np.arange(size * size).reshape(size, size)
    boards = [np.rot90(board, turns) for board in (cells, cells[:, ::-1]) for turns in range(4)]
    return _of_cells(boards, num_actions)


def rectangle_symmetries(height: int, width: int, num_actions: int) -> tuple[Symmetry, ...]:
    """Returns the turns and mirrors of a board whose move a < height·width is a cell: 8 of a square one, else 4.

    Args:
        height: rows.
        width: columns.
        num_actions: moves beyond the cells (a pass) keep their number.

    Returns:
        The symmetries, the identity first.
    """
    if height == width:
        return square_symmetries(height, num_actions)
    cells = np.arange(height * width).reshape(height, width)
    return _of_cells((cells, cells[::-1, ::-1], cells[:, ::-1], cells[::-1]), num_actions)


def diagonal_symmetries(size: int, num_actions: int) -> tuple[Symmetry, ...]:
    """Returns the identity, the half turn and the mirrors at both diagonals of a square, as in Hex.

    A mirror at a diagonal exchanges what joins top and bottom with what joins left and right, so planes must say it
    cell by cell.

    Args:
        size: rows and columns.
        num_actions: moves beyond the cells keep their number.

    Returns:
        4 symmetries, the identity first.
    """
    cells = np.arange(size * size).reshape(size, size)
    return _of_cells((cells, cells[::-1, ::-1], cells.T, cells[::-1, ::-1].T), num_actions)


def mirror_symmetries(height: int, width: int) -> tuple[Symmetry, ...]:
    """Returns the identity and the left-right mirror of a board whose moves are its columns.

    Args:
        height: rows.
        width: columns, the number of moves.

    Returns:
        2 symmetries, the identity first.
    """
    cells = np.arange(height * width).reshape(height, width)
    columns = np.arange(width)
    return _symmetry(cells, columns), _symmetry(cells[:, ::-1], columns[::-1])


def _of_cells(boards: Iterable[NDArray[np.int64]], num_actions: int) -> tuple[Symmetry, ...]:
    """Returns symmetries of moves that are cells, and others behind them that keep their number."""
    flat = [board.ravel() for board in boards]
    return tuple(_symmetry(board, np.concatenate([board, np.arange(board.size, num_actions)])) for board in flat)


def _symmetry(cells: NDArray[np.int64], moves: NDArray[np.int64]) -> Symmetry:
    return Symmetry(np.ascontiguousarray(cells.ravel(), np.int32), np.ascontiguousarray(moves, np.int32))
