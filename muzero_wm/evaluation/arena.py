"""Matches between two players of a two-player game, over both seats."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from muzero_wm import envs
from muzero_wm.errors import UserError
from muzero_wm.evaluation.intervals import wilson_interval
from muzero_wm.evaluation.players import Player

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Tally:
    """Results of some games, from the view of the player under test."""

    wins: int
    draws: int
    losses: int

    @property
    def games(self) -> int:
        """Number of games."""
        return self.wins + self.draws + self.losses

    @property
    def score(self) -> float:
        """(wins + draws / 2) / games, 0 without games."""
        return (self.wins + self.draws / 2) / self.games if self.games else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Returns the counts and the score, ready for JSON."""
        return {"games": self.games, "wins": self.wins, "draws": self.draws, "losses": self.losses, "score": self.score}


@dataclass(frozen=True)
class MatchResult:
    """Results of a match, from the view of the player under test.

    Attributes:
        first: games in which the player moved first.
        second: games in which the opponent moved first.
    """

    first: Tally
    second: Tally

    @property
    def total(self) -> Tally:
        """Both seats together."""
        a, b = self.first, self.second
        return Tally(a.wins + b.wins, a.draws + b.draws, a.losses + b.losses)

    def to_dict(self) -> dict[str, Any]:
        """Returns counts, score, its 95 % Wilson interval and both seats, ready for JSON."""
        total = self.total
        low, high = wilson_interval(total.wins + total.draws / 2, total.games)
        seats = {"first": self.first.to_dict(), "second": self.second.to_dict()}
        return {**total.to_dict(), "ci95": [low, high], "seats": seats}


def play_match(
    env_name: str,
    player: Player,
    opponent: Player,
    games: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> MatchResult:
    """Plays games side by side, the player moving first in half of them (in one more when the number is odd).

    Args:
        env_name: a two-player environment.
        player: the player under test.
        opponent: the other one.
        games: number of games, >= 1; each is one slot of one batch.
        seed: seed of the environment.
        progress: called as progress(finished, games) after every move of the batch.

    Returns:
        The results from the player's view: a game is won where the rewards of all its moves, the opponent's with
        their signs turned, add up to more than nothing.

    Raises:
        UserError: the environment is not for two players, or there is no game to play.
    """
    if games < 1:
        raise UserError(f"games must be at least 1, got {games}")
    with closing(envs.make(env_name, games, seed)) as env:
        if env.spec.num_players != 2:
            raise UserError(f"a match needs a two-player environment, {env_name} has {env.spec.num_players} player")
        step = env.reset()
        seat = (np.arange(games) >= (games + 1) // 2).astype(np.int8)
        result = np.zeros(games)  # what the player has won so far and the opponent has lost
        playing = np.ones(games, np.bool_)
        while playing.any():
            mine = step.to_play == seat
            actions = step.legal_actions.argmax(axis=1)  # slots whose game is over idle along in a new one
            for mover, turn in ((player, mine), (opponent, ~mine)):
                rows = np.flatnonzero(playing & turn)
                if rows.size:
                    actions[rows] = mover.actions(env, step, rows)
            step = env.step(actions)
            result += playing * np.where(mine, step.reward, -step.reward)
            playing &= ~(step.terminated | step.truncated)
            if progress is not None:
                progress(int(games - playing.sum()), games)
    return MatchResult(_tally(result[seat == 0]), _tally(result[seat == 1]))


def _tally(result: np.ndarray[Any, np.dtype[np.float64]]) -> Tally:
    result = result.round(6)  # partial rewards of 0.1 add up to nothing only almost
    return Tally(int((result > 0).sum()), int((result == 0).sum()), int((result < 0).sum()))
