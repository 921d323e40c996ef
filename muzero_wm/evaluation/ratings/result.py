"""What an arena found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from muzero_wm.evaluation.ratings.bradley_terry import PRIOR


@dataclass(frozen=True)
class Rated:
    """A player and its rating.

    Attributes:
        name: as it can be named again.
        rating: in points (400 are odds of ten to one), the anchor's 0.
        low: lower end of the 95 % interval.
        high: upper end.
        games: that it played.
        score: wins + draws / 2, of a game.
        ahead: how probably it is stronger than the next in the list; None for the last.
        run: its run, None for others.
        updates: that its weights have seen, None for others.
    """

    name: str
    rating: float
    low: float
    high: float
    games: int
    score: float
    ahead: float | None
    run: str | None
    updates: int | None


@dataclass(frozen=True)
class Met:
    """The games between two players, from the view of the first.

    Attributes:
        first: name of the one.
        second: name of the other.
        wins: games that the first has won.
        draws: games without a winner.
        losses: games that the second has won.
        moved_first: points of the first in the games in which it moved first.
        pairs: [5] openings, each played from both seats, that brought the first 0, 1/2, 1, 3/2 and 2 points.
        distinct: how many of them differ in their moves.
        moves: in all games.
        cut: games that reached the limit of moves and count as drawn.
        forfeits: games that were given up: by whom, opening, ply, reason.
    """

    first: str
    second: str
    wins: int
    draws: int
    losses: int
    moved_first: float
    pairs: tuple[int, ...]
    distinct: int
    moves: int
    cut: int
    forfeits: tuple[dict[str, Any], ...]

    @property
    def games(self) -> int:
        """Number of games."""
        return self.wins + self.draws + self.losses

    @property
    def score(self) -> float:
        """Of the first player: (wins + draws / 2) / games."""
        return (self.wins + self.draws / 2) / self.games

    def to_dict(self) -> dict[str, Any]:
        """Returns the games, ready for JSON."""
        return {
            "players": [self.first, self.second],
            "games": self.games,
            "wins": self.wins,
            "draws": self.draws,
            "losses": self.losses,
            "score": self.score,
            "seats": {
                "first": self.moved_first / (self.games / 2),
                "second": 2 * self.score - self.moved_first / (self.games / 2),
            },
            "pentanomial": list(self.pairs),
            "distinct_pairs": self.distinct,
            "moves": self.moves,
            "cut": self.cut,
            "forfeits": list(self.forfeits),
        }


@dataclass(frozen=True)
class SequentialTest:
    """How a sequential test of the two players of a pool stands.

    Attributes:
        first: of the two, whose strength beyond the other's is tested.
        elo0: points of difference by the first hypothesis.
        elo1: by the second.
        ratio: logarithm of the likelihood ratio.
        bounds: at which the test ends.
        accepted: "elo0", "elo1", or None where the games were too few to tell.
    """

    first: str
    elo0: float
    elo1: float
    ratio: float
    bounds: tuple[float, float]
    accepted: str | None

    def to_dict(self) -> dict[str, Any]:
        """Returns the test, ready for JSON."""
        return {
            "player": self.first,
            "elo0": self.elo0,
            "elo1": self.elo1,
            "log_likelihood_ratio": self.ratio,
            "bounds": list(self.bounds),
            "accepted": self.accepted,
        }


@dataclass(frozen=True)
class ArenaResult:
    """What an arena found.

    Attributes:
        env: the environment.
        seed: of openings, players and bootstrap.
        opening_plies: random moves at the beginning of every pair of games.
        anchor: name of the player whose rating is 0.
        players: the strongest first.
        met: every two players that have met.
        until_interval: width at which no interval was to be wider; None where that was not asked for.
        sprt: the sequential test; None where there was none.
        played: moves that were played just now, and not found in a file.
        seconds: that they took.
    """

    env: str
    seed: int
    opening_plies: int
    anchor: str
    players: tuple[Rated, ...]
    met: tuple[Met, ...]
    until_interval: float | None = None
    sprt: SequentialTest | None = None
    played: int = field(default=0, compare=False)
    seconds: float = field(default=0.0, compare=False)

    @property
    def games(self) -> int:
        """Number of games."""
        return sum(each.games for each in self.met)

    def to_dict(self) -> dict[str, Any]:
        """Returns all but the time it took, ready for JSON: the same arena gives the same."""
        report: dict[str, Any] = {
            "env": self.env,
            "seed": self.seed,
            "games": self.games,
            "opening_plies": self.opening_plies,
            "anchor": self.anchor,
            "prior_sd": PRIOR,
            "players": [
                {
                    "player": each.name,
                    "rating": each.rating,
                    "ci95": [each.low, each.high],
                    "games": each.games,
                    "score": each.score,
                    "ahead_of_next": each.ahead,
                    "run": each.run,
                    "updates": each.updates,
                }
                for each in self.players
            ],
            "met": [each.to_dict() for each in self.met],
        }
        if self.until_interval is not None:
            reached = all(each.high - each.low <= self.until_interval for each in self.players)
            report["until_interval"] = {"width": self.until_interval, "reached": reached}
        if self.sprt is not None:
            report["sprt"] = self.sprt.to_dict()
        return report
