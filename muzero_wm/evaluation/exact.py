"""Exact knowledge of solved games, on one scale for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.envs.boards.board import BoardGame, States
from muzero_wm.envs.boards.kernels import PLIES
from muzero_wm.evaluation.connect4_solver import FULL_COLUMN, connect_four_solver
from muzero_wm.evaluation.minimax import ILLEGAL_MOVE, minimax_table

Progress = Callable[[int, int], None]
_AT_ONCE = 16


class ExactGame(NamedTuple):
    """A board game in which the score of every move is known.

    Attributes:
        game: its rules.
        score: from [n, W] rows in play to [n, A] scores on the scale of `Solved.scores`.
    """

    game: BoardGame
    score: Callable[[States], NDArray[np.int64]]

    def solve(self, states: States, progress: Progress | None = None) -> Solved:
        """Solves positions.

        Args:
            states: [n, W] rows in play, n >= 1.
            progress: called as progress(solved, n).

        Returns:
            What every move is worth there.
        """
        scores = []
        for start in range(0, len(states), _AT_ONCE):
            scores.append(self.score(states[start : start + _AT_ONCE]))
            if progress is not None:
                progress(min(start + _AT_ONCE, len(states)), len(states))
        return Solved(states, np.concatenate(scores), self.game.max_plies)


class Solved(NamedTuple):
    """Positions in play and what their moves are worth with best play.

    Attributes:
        states: [n, W] rows.
        scores: [n, A] for every move 1 + max_plies minus the ply at which the game ends, positive where the player to
            move wins and negative where it loses; 0 for a draw, `ILLEGAL_MOVE` for an illegal move. The higher, the
            sooner the win or the later the loss.
        max_plies: length of the longest game.
    """

    states: States
    scores: NDArray[np.int64]
    max_plies: int

    @property
    def legal(self) -> NDArray[np.bool_]:
        """[n, A], the legal moves."""
        return self.scores != ILLEGAL_MOVE

    @property
    def plies(self) -> NDArray[np.int64]:
        """[n], the moves played so far."""
        return self.states[:, PLIES]

    @property
    def outcome(self) -> NDArray[np.int64]:
        """[n] 1 / 0 / -1: the player to move wins, draws, loses."""
        return np.sign(self.scores.max(axis=1))

    @property
    def left(self) -> NDArray[np.int64]:
        """[n], the moves until the end: the soonest win, the latest loss, a full board where it is drawn."""
        best = self.scores.max(axis=1)
        end = np.where(best == 0, self.max_plies, 1 + self.max_plies - np.abs(best))
        return end - self.plies

    @property
    def keeps(self) -> NDArray[np.bool_]:
        """[n, A], the moves after which the outcome is still the same."""
        return self.legal & (np.sign(self.scores) == self.outcome[:, None])

    @property
    def best(self) -> NDArray[np.bool_]:
        """[n, A], the moves of the highest score: soonest win, latest loss."""
        found: NDArray[np.bool_] = self.scores == self.scores.max(axis=1, keepdims=True)
        return found


def exact_game(name: str) -> ExactGame:
    """Returns the exact knowledge of a game.

    Args:
        name: of the environment: connect4, or a built-in board that is small enough to be solved whole.

    Returns:
        Its rules and its scores.

    Raises:
        UserError: it is not solved, or bitbully is not installed.
    """
    if name == "connect4":
        return ExactGame(envs.board_game(name), _connect4_scores())
    if not envs.is_built_in(name):
        raise UserError(f"{name} is not solved: exact scores are known of connect4 and tictactoe")
    table = minimax_table(name)
    return ExactGame(envs.board_game(name), lambda states: table.move_scores[table.index(states)].astype(np.int64))


def _connect4_scores() -> Callable[[States], NDArray[np.int64]]:
    """Returns the solver with its scores, which count the winner's stones, turned into plies."""
    solver = connect_four_solver()

    def score(states: States) -> NDArray[np.int64]:
        stones = solver.move_scores(states)
        # whoever moved first has laid a stone more when a game ends by their own hand
        winner_is_first = (states[:, PLIES, None] % 2 == 0) == (stones > 0)
        plies = 2 * np.abs(stones) - ~winner_is_first
        return np.where(stones == FULL_COLUMN, ILLEGAL_MOVE, np.sign(stones) * np.where(stones == 0, 0, plies))

    return score
