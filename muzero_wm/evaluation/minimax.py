"""Exact values of every position of a small board game."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import UserError
from muzero_wm.envs import board_game
from muzero_wm.envs.boards.board import BoardGame, States
from muzero_wm.envs.boards.kernels import PLIES

MOST_POSITIONS = 200_000
ILLEGAL_MOVE = -1000


class MinimaxTable:
    """The value of every move in every reachable position that is not over.

    Attributes:
        states: [P, W] the positions, in order of their number of plies.
        move_scores: [P, A] int16, how far the end is from the latest there can be, in plies, plus one; negative where
            the player to move loses, 0 for a draw, `ILLEGAL_MOVE` for an illegal move: the higher, the sooner the win
            or the later the loss.
        move_values: [P, A] int8, 1 / 0 / -1 for a win / draw / loss of the player to move, -2 for an illegal move.
    """

    def __init__(self, name: str) -> None:
        """Solves the game by backward induction; meant for games of some thousand positions.

        Args:
            name: a built-in board game.

        Raises:
            UserError: it has more than `MOST_POSITIONS` positions.
        """
        self._game = board_game(name)
        layers = list(layers_of(self._game, MOST_POSITIONS))
        if sum(map(len, layers)) > MOST_POSITIONS or len(after_all(self._game, layers[-1])):
            raise UserError(f"{name} has more than {MOST_POSITIONS:,} positions, which is too many to solve it whole")
        self.states = np.concatenate(layers)
        self.move_scores = np.full((len(self.states), self._game.num_actions), ILLEGAL_MOVE, np.int16)
        self._index = {row.tobytes(): i for i, row in enumerate(self.states)}
        for layer in reversed(layers):
            self._solve(layer)
        self.move_values = np.where(self.move_scores == ILLEGAL_MOVE, -2, np.sign(self.move_scores)).astype(np.int8)

    def index(self, states: States) -> NDArray[np.int64]:
        """Returns where [n, W] positions in play stand in `states`."""
        return np.array([self._index[row.tobytes()] for row in np.ascontiguousarray(states)], np.int64)

    def best_moves(self, states: States) -> NDArray[np.bool_]:
        """Returns the moves [n, A] that keep the value of each position."""
        values = self.move_values[self.index(states)]
        best: NDArray[np.bool_] = values == values.max(axis=1, keepdims=True)
        return best

    def _solve(self, states: States) -> None:
        """Fills in one layer from the next."""
        after, rows, moves = _successors(self._game, states)
        ended, result = self._game.outcome(after)
        scores = (result * (1 + self._game.max_plies - after[:, PLIES])).astype(np.int16)
        if not ended.all():
            scores[~ended] = -self.move_scores[self.index(after[~ended])].max(axis=1)
        self.move_scores[self.index(states)[rows], moves] = scores


def layers_of(game: BoardGame, most: int) -> Iterator[States]:
    """Yields the positions in play after 0, 1, 2, ... plies, each once.

    Args:
        game: the rules.
        most: ends before the first ply with more positions than that.
    """
    layer = game.first_states(1)
    while 0 < len(layer) <= most:
        yield layer
        layer = after_all(game, layer)


def after_all(game: BoardGame, states: States) -> States:
    """Returns the positions in play that follow from others [n, W], each once."""
    after = _successors(game, states)[0]
    return np.unique(after[~game.outcome(after)[0]], axis=0)


def _successors(game: BoardGame, states: States) -> tuple[States, NDArray[np.int64], NDArray[np.int64]]:
    rows, moves = np.nonzero(game.legal_actions(states))
    return game.play(states[rows], moves), rows, moves


@cache
def minimax_table(name: str) -> MinimaxTable:
    """Returns the solved game, solved once per process.

    Args:
        name: a built-in board game of some thousand positions.

    Returns:
        Its table.
    """
    return MinimaxTable(name)
