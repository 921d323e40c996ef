"""Turns and mirrors of rectangular boards."""

from __future__ import annotations

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
    other_moves = np.arange(size * size, num_actions)
    turned = [np.rot90(board, turns).ravel() for board in (cells, cells[:, ::-1]) for turns in range(4)]
    return tuple(_symmetry(board, np.concatenate([board, other_moves])) for board in turned)


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


def _symmetry(cells: NDArray[np.int64], moves: NDArray[np.int64]) -> Symmetry:
    return Symmetry(np.ascontiguousarray(cells.ravel(), np.int32), np.ascontiguousarray(moves, np.int32))
