"""Exact scores of Connect Four moves by the solver `bitbully` (optional: extra `eval`)."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import UserError
from muzero_wm.envs import board_game
from muzero_wm.envs.boards.board import States
from muzero_wm.envs.boards.kernels import PLIES

FULL_COLUMN = -1000


class ConnectFourSolver:
    """Scores every move of a position, remembering positions it has seen.

    The score is 22 minus the number of stones the winner has used in the end, negative when the player to move loses, 0
    for a draw: the higher, the sooner the win or the later the loss.
    """

    def __init__(self) -> None:
        """Loads the solver and its opening book.

        Raises:
            UserError: bitbully is not installed.
        """
        try:
            import bitbully
        except ImportError as error:
            raise UserError(
                "the perfect Connect Four player needs the package bitbully: pip install 'muzero-wm[eval]'"
            ) from error
        self._board = bitbully.Board
        self._solver = bitbully.BitBully()
        self._game = board_game("connect4")
        self._seen: dict[bytes, NDArray[np.int64]] = {}

    def move_scores(self, states: States) -> NDArray[np.int64]:
        """Scores every move of positions in play.

        Args:
            states: [n, W] rows of `connect4`.

        Returns:
            [n, 7] scores, FULL_COLUMN where the column is full.
        """
        planes = self._game.look(states)[0]
        scores = np.empty((len(states), 7), np.int64)
        for i, row in enumerate(states):
            key = row.tobytes()
            if key not in self._seen:
                self._seen[key] = self._solve(planes[i], int(row[PLIES]))
            scores[i] = self._seen[key]
        return scores

    def best_moves(self, states: States) -> NDArray[np.bool_]:
        """Returns the moves [n, 7] of the highest score in each position."""
        scores = self.move_scores(states)
        best: NDArray[np.bool_] = scores == scores.max(axis=1, keepdims=True)
        return best

    def _solve(self, planes: NDArray[np.uint8], plies: int) -> NDArray[np.int64]:
        mover = 1 + plies % 2
        board = self._board((planes[0] * mover + planes[1] * (3 - mover)).tolist())
        scores = np.full(7, FULL_COLUMN, np.int64)
        for column, score in self._solver.score_all_moves(board).items():
            scores[column] = score
        return scores


@cache
def connect_four_solver() -> ConnectFourSolver:
    """Returns the solver, loaded once per process.

    Returns:
        The solver.

    Raises:
        UserError: bitbully is not installed.
    """
    return ConnectFourSolver()
