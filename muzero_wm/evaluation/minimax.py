"""Exact values of every position of a small board game."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs import board_game
from muzero_wm.envs.boards.board import States


class MinimaxTable:
    """The value of every move in every reachable position that is not over.

    Attributes:
        states: [P, W] the positions, in order of their number of plies.
        move_values: [P, A] int8, 1 / 0 / -1 for a win / draw / loss of the player to move, -2 for an illegal move.
    """

    def __init__(self, name: str) -> None:
        """Solves the game by backward induction; meant for games of some thousand positions.

        Args:
            name: a built-in board game.
        """
        self._game = board_game(name)
        layers = self._layers()
        self.states = np.concatenate(layers)
        self.move_values = np.full((len(self.states), self._game.num_actions), -2, np.int8)
        self._index = {row.tobytes(): i for i, row in enumerate(self.states)}
        for layer in reversed(layers):
            self._solve(layer)

    def index(self, states: States) -> NDArray[np.int64]:
        """Returns where [n, W] positions in play stand in `states`."""
        return np.array([self._index[row.tobytes()] for row in np.ascontiguousarray(states)], np.int64)

    def best_moves(self, states: States) -> NDArray[np.bool_]:
        """Returns the moves [n, A] that keep the value of each position."""
        values = self.move_values[self.index(states)]
        best: NDArray[np.bool_] = values == values.max(axis=1, keepdims=True)
        return best

    def _layers(self) -> list[States]:
        """Returns the positions in play after 0, 1, 2, ... plies, each once."""
        layers = [self._game.first_states(1)]
        while True:
            after = self._successors(layers[-1])[0]
            after = np.unique(after[~self._game.outcome(after)[0]], axis=0)
            if not len(after):
                return layers
            layers.append(after)

    def _successors(self, states: States) -> tuple[States, NDArray[np.int64], NDArray[np.int64]]:
        rows, moves = np.nonzero(self._game.legal_actions(states))
        return self._game.play(states[rows], moves), rows, moves

    def _solve(self, states: States) -> None:
        """Fills in one layer from the next."""
        after, rows, moves = self._successors(states)
        ended, result = self._game.outcome(after)
        if not ended.all():
            result[~ended] = -self.move_values[self.index(after[~ended])].max(axis=1)
        self.move_values[self.index(states)[rows], moves] = result


@cache
def minimax_table(name: str) -> MinimaxTable:
    """Returns the solved game, solved once per process.

    Args:
        name: a built-in board game of some thousand positions.

    Returns:
        Its table.
    """
    return MinimaxTable(name)
