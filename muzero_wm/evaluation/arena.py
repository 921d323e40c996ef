"""Matches between two players of a two-player game, over both seats."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.basis.seeding import pick, stream_keys
from muzero_wm.evaluation.games import GaveUp, Progress, play_games
from muzero_wm.evaluation.intervals import wilson_interval
from muzero_wm.evaluation.players import Player

MOST_OPENING_PLIES = 8


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
        distinct: how many of the games differ in their moves; players that always answer alike repeat theirs.
        cut: games that reached the limit of moves; they count as drawn.
        opening_plies: random moves at the beginning of every game.
        forfeits: games that somebody gave up; they count as lost for who did.
    """

    first: Tally
    second: Tally
    distinct: int
    cut: int = 0
    opening_plies: int = 0
    forfeits: tuple[GaveUp, ...] = ()

    @property
    def total(self) -> Tally:
        """Both seats together."""
        a, b = self.first, self.second
        return Tally(a.wins + b.wins, a.draws + b.draws, a.losses + b.losses)

    @property
    def given_up(self) -> str:
        """Who gave games up, how many and mostly why, in a few words; "" where nobody did."""
        said = []
        for by_opponent, who in ((False, "player"), (True, "opponent")):
            reasons = Counter(each.forfeit.reason for each in self.forfeits if each.by_opponent == by_opponent)
            for reason, _ in reasons.most_common(1):
                said.append(f"games given up by the {who}: {reasons.total()} (mostly: {reason})")
        return ", ".join(said)

    def to_dict(self) -> dict[str, Any]:
        """Returns counts, score, its 95 % Wilson interval and both seats, ready for JSON.

        A game that was played before says nothing new, so the interval is that of as many games as are distinct.
        """
        total = self.total
        low, high = wilson_interval(total.score * self.distinct, self.distinct)
        return {
            **total.to_dict(),
            "ci95": [low, high],
            "distinct_games": self.distinct,
            "opening_plies": self.opening_plies,
            "cut": self.cut,
            "forfeits": [each.to_dict() for each in self.forfeits],
            "seats": {"first": self.first.to_dict(), "second": self.second.to_dict()},
        }


def play_match(
    env_name: str,
    player: Player,
    opponent: Player,
    games: int,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    opening_plies: int = 0,
    max_steps: int | None = None,
) -> MatchResult:
    """Plays games side by side, the player moving first in half of them (in one more when the number is odd).

    With openings the games come in pairs that begin with the same random moves, once from either seat, so that a
    beginning which decides the game favours nobody.

    Args:
        env_name: a two-player environment.
        player: the player under test.
        opponent: the other one.
        games: number of games, >= 1; each is one slot of one batch.
        seed: seed of the environment and of the openings.
        progress: called as progress(finished, games) after every move of the batch.
        opening_plies: random legal moves at the beginning of every game, see `plies_for`.
        max_steps: moves after which a game is drawn; None for the environment's own limit, or 5000 where it states
            none.

    Returns:
        The results from the player's view: a game is won where the rewards of all its moves, the opponent's with
        their signs turned, add up to more than nothing, or where the opponent gave it up.

    Raises:
        UserError: the environment is not for two players, or there is no game to play.
    """
    if games < 1:
        raise UserError(f"games must be at least 1, got {games}")
    half = (games + 1) // 2
    number = np.arange(games)
    played = play_games(
        env_name,
        player,
        opponent,
        number % half,
        (number >= half).astype(np.int8),
        seed,
        progress,
        opening_plies=opening_plies,
        max_steps=max_steps,
    )
    first, second = (_tally(played.result[played.seat == seat]) for seat in (0, 1))
    distinct = len(set(played.digests))
    return MatchResult(first, second, distinct, int(played.cut.sum()), opening_plies, played.forfeits)


def plies_for(env_name: str, games: int) -> int:
    """Returns how many random moves give the pairs of a match openings of their own.

    Args:
        env_name: a two-player environment.
        games: of the match.

    Returns:
        The fewest plies with at least four times as many sequences of moves as there are pairs, by the numbers of legal
        moves along one random game; at most `MOST_OPENING_PLIES`.
    """
    with closing(envs.make(env_name, 1)) as env:
        step = env.reset()
        sequences = 1
        for plies in range(MOST_OPENING_PLIES):
            if sequences >= 4 * ((games + 1) // 2):
                return plies
            sequences *= int(step.legal_actions[0].sum())
            step = env.step(pick(step.legal_actions, stream_keys(0, "evaluation/plies", 0, plies)))
            if step.terminated[0] or step.truncated[0]:
                return plies
    return MOST_OPENING_PLIES


def _tally(result: NDArray[np.float64]) -> Tally:
    return Tally(int((result > 0).sum()), int((result == 0).sum()), int((result < 0).sum()))
