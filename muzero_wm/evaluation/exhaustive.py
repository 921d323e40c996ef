"""A player that always moves alike in the same position, against every sequence of replies there is."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs import board_game


class Choose(Protocol):
    """Is what moves here."""

    def __call__(
        self, observations: NDArray[Any], legal_actions: NDArray[np.bool_], *, states: NDArray[np.int64]
    ) -> NDArray[np.integer[Any]]:
        """Returns one move [n] for each of n positions; states [n, W] are the same positions as rows of the rules."""
        ...


def play_every_reply(env_name: str, choose: Choose) -> dict[str, Any]:
    """Plays a small board game against all replies, from both seats.

    All games that are still going on advance together; a position that several of them share is asked for once.

    Args:
        env_name: a board game small enough to enumerate, tictactoe.
        choose: from observations [n, ...] and legal moves [n, A] to one move each [n]; `states` says the same exactly.

    Returns:
        games, wins, draws, losses (over both seats) and losing_lines, the moves of every game lost.

    Raises:
        EnvError: a chosen move is illegal.
    """
    game = board_game(env_name)
    counts = {"wins": 0, "draws": 0, "losses": 0}
    losing_lines: list[list[int]] = []
    for seat in (0, 1):
        states = game.first_states(1)
        lines = np.empty((1, 0), np.int64)
        while len(states):
            mine = lines.shape[1] % 2 == seat
            if mine:
                unique, place = np.unique(states, axis=0, return_inverse=True)
                observations, legal, _ = game.look(unique)
                moves = np.asarray(choose(observations, legal, states=unique), np.int64)[place.reshape(-1)]
                parents = np.arange(len(states))
            else:
                parents, moves = np.nonzero(game.legal_actions(states))
            states = game.play(states[parents], moves)
            lines = np.column_stack([lines[parents], moves])
            over, result = game.outcome(states)
            result = result if mine else -result
            counts["wins"] += int((over & (result > 0)).sum())
            counts["draws"] += int((over & (result == 0)).sum())
            counts["losses"] += int((over & (result < 0)).sum())
            losing_lines += lines[over & (result < 0)].tolist()
            states, lines = states[~over], lines[~over]
    return {"games": sum(counts.values()), **counts, "losing_lines": losing_lines}
