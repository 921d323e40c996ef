"""Everybody in a pool meets everybody, and all are rated."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from muzero_wm.basis.errors import UserError
from muzero_wm.basis.seeding import derive_seed
from muzero_wm.evaluation.arena import plies_for
from muzero_wm.evaluation.games import Games, Progress, play_games
from muzero_wm.evaluation.limits import step_limit
from muzero_wm.evaluation.players import Player, release
from muzero_wm.evaluation.ratings.bradley_terry import Pairs, Ratings, most_telling, rate
from muzero_wm.evaluation.ratings.kept import Block, KeptGames, Task, keep_games
from muzero_wm.evaluation.ratings.pool import Pool, gather
from muzero_wm.evaluation.ratings.result import ArenaResult, Met, Rated, SequentialTest
from muzero_wm.evaluation.ratings.sprt import LOWER, MOST_ELO, UPPER, decision, log_likelihood_ratio

GAMES, MOST_GAMES = 100, 1000
"""Games of every two players by default; where they stop by themselves, the most."""

BLOCK = 50
"""Pairs of games that are played side by side."""

SMALL_BLOCK = 10
"""The same where every block may be the last, or where a program plays, which may take its time."""

_SEEDS = 2**31  # what every environment and opponent takes


def arena(
    players: Sequence[str],
    *,
    games: int | None = None,
    seed: int = 0,
    env: str | None = None,
    simulations: int | None = None,
    anchor: str | None = None,
    until_interval: float | None = None,
    sprt: tuple[float, float] | None = None,
    keep: str | Path | None = None,
    opening_plies: int | None = None,
    max_steps: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> ArenaResult:
    """Lets players meet and rates them.

    Games come in pairs that begin with the same random moves, once from either seat. Every two players have openings
    of their own, and what two players play does not depend on who else is there.

    Args:
        players: at least two: runs ("runs/a", "runs/a@2000", "runs/a@best", "runs/a@all", with ":64" behind it for 64
            simulations, ":0" for the network alone), "random", "perfect", "mcts:N", registered opponents, and
            programs ("gtp:COMMAND", "uci:COMMAND").
        games: of every two players, an even number; 100 when None. With `until_interval` or `sprt` the most there may
            be, 1000 when None.
        seed: of openings, players and bootstrap.
        env: the environment, where no run names one.
        simulations: of the runs that name no number of their own; as they were trained when None.
        anchor: the player whose rating is 0; "random" when None, or the first where it is not there.
        until_interval: stop as soon as no interval is wider than so many points. Who meets next is whose games shorten
            the widest interval most.
        sprt: (elo0, elo1): of two players, stop as soon as it is clear whether the first is stronger by elo0 points or
            by elo1; wrong in 5 % of the cases.
        keep: a file that finished games are kept in, and found in by a later arena.
        opening_plies: random moves at the beginning of each pair; None for as many as give the pairs openings of their
            own, or 100 pairs where there are fewer.
        max_steps: moves after which a game is drawn; None for the environment's own limit, or 5000 where it states
            none.
        device: where the networks of runs compute: "auto", "cpu", "cuda" or "cuda:N".
        progress: called as progress(finished, most games there may be) after every move of a batch.

    Returns:
        Ratings with intervals, and who beat whom.

    Raises:
        UserError: a word stands for nobody, the players do not play the same environment of two players, an argument is
            impossible, or `keep` cannot be used.
    """
    adaptive = until_interval is not None or sprt is not None
    games = (MOST_GAMES if adaptive else GAMES) if games is None else games
    _check(games, seed, until_interval, sprt, opening_plies)
    pool = gather(players, env, simulations, device)
    names = [each.name for each in pool.entrants]
    if sprt is not None and len(names) != 2:
        raise UserError(f"sprt tests two players, got {len(names)}: {', '.join(names)}")
    limit = step_limit(pool.spec, max_steps)
    if opening_plies is not None and opening_plies >= limit:
        raise UserError(f"opening_plies must leave moves to play: a game ends after {limit}, got {opening_plies}")
    anchored = _anchor(pool, players, anchor)
    # alike for 100 games and for 200, so that those which were kept can be gone on with
    plies = plies_for(pool.spec.name, max(games, 2 * GAMES)) if opening_plies is None else opening_plies
    first = names.index(pool.words[players[0]][0])
    with keep_games(None if keep is None else Path(keep)) as kept:
        tables = _Tables(pool, kept, seed, plies, max_steps, games // 2, progress)
        test = None
        if sprt is not None:
            test = _test(tables, first, *sprt)
        elif until_interval is not None:
            _shorten(tables, anchored, until_interval)
        else:
            while missing := tables.unfinished():
                for pair in missing:
                    tables.play(pair, tables.block(pair))
        ratings = tables.rate(anchored)
    return ArenaResult(
        pool.spec.name,
        seed,
        plies,
        names[anchored],
        _rated(pool, tables, ratings),
        tuple(tables.met(pair) for pair in tables.everybody if tables.pairs(pair)),
        until_interval,
        test,
        tables.moves,
        tables.seconds,
    )


class _Tables:
    """Who has played whom, and how to play more."""

    def __init__(
        self,
        pool: Pool,
        kept: KeptGames,
        seed: int,
        plies: int,
        max_steps: int | None,
        most: int,
        progress: Progress | None,
    ) -> None:
        self._pool, self._kept, self._seed, self._plies, self._max_steps = pool, kept, seed, plies, max_steps
        self._most, self._progress = most, progress
        self.everybody = list(itertools.combinations(range(len(pool.entrants)), 2))
        self._blocks: dict[tuple[int, int], list[Block]] = defaultdict(list)
        self.moves, self.seconds = 0, 0.0

    def pairs(self, pair: tuple[int, int]) -> int:
        """Returns how many pairs of games two players have played."""
        return sum(len(block.points) for block in self._blocks[pair])

    def unfinished(self) -> list[tuple[int, int]]:
        """Returns the players that may meet again."""
        return [pair for pair in self.everybody if self.pairs(pair) < self._most]

    def block(self, pair: tuple[int, int]) -> int:
        """Returns how many pairs of games two players play side by side."""
        slow = any(self._pool.entrants[number].is_program for number in pair)
        return SMALL_BLOCK if slow else BLOCK

    def play(self, pair: tuple[int, int], pairs: int) -> None:
        """Plays so many more pairs of games, as far as there may be more; or finds them among those kept."""
        start = self.pairs(pair)
        one, other = (self._pool.entrants[number] for number in pair)
        pairs = min(pairs, self._most - start)
        task = Task(
            self._pool.spec.name, self._seed, self._plies, self._max_steps,
            one.name, one.print, other.name, other.print, start, pairs,
        )  # fmt: skip
        block = self._kept.find(task)
        if block is None:
            began = time.monotonic()
            block = self._played(pair, task)
            self.moves += block.moves
            self.seconds += time.monotonic() - began
            self._kept.add(task, block)
        self._blocks[pair].append(block)
        self._tell(0)

    def results(self, pair: tuple[int, int]) -> Pairs:
        """Returns the results of two players, from the view of the first."""
        counts = [0] * 5
        for block in self._blocks[pair]:
            for points in block.points:
                counts[round(2 * sum(points))] += 1
        return Pairs(tuple(counts), len({digest for block in self._blocks[pair] for digest in block.digests}))

    def met(self, pair: tuple[int, int]) -> Met:
        """Returns the games of two players."""
        blocks, results = self._blocks[pair], self.results(pair)
        points = [point for block in blocks for both in block.points for point in both]
        return Met(
            self._pool.entrants[pair[0]].name,
            self._pool.entrants[pair[1]].name,
            points.count(1.0),
            points.count(0.5),
            points.count(0.0),
            sum(points[::2]),
            results.counts,
            results.distinct,
            sum(block.moves for block in blocks),
            sum(block.cut for block in blocks),
            tuple(forfeit for block in blocks for forfeit in block.forfeits),
        )

    def rate(self, anchor: int) -> Ratings:
        """Returns the ratings by all games so far."""
        results = {pair: self.results(pair) for pair in self.everybody if self.pairs(pair)}
        return rate(results, len(self._pool.entrants), anchor, self._seed)

    def _played(self, pair: tuple[int, int], task: Task) -> Block:
        players: list[Player] = []
        try:
            for seat, number in zip(("first", "second"), pair, strict=True):
                seed = self._derived(f"{seat}/{task.first}/{task.second}/{task.start}")
                players.append(self._pool.entrants[number].seat(seed))
            games = play_games(
                task.env,
                players[0],
                players[1],
                np.tile(np.arange(task.pairs), 2),
                np.repeat(np.array([0, 1], np.int8), task.pairs),
                self._derived(f"games/{task.first}/{task.second}/{task.start}"),
                lambda done, _: self._tell(done),
                opening_plies=task.opening_plies,
                max_steps=task.max_steps,
            )
        finally:
            for player in players:
                release(player)
        return _block(games, task)

    def _derived(self, purpose: str) -> int:
        return derive_seed(self._seed, f"arena/{purpose}") % _SEEDS

    def _tell(self, more: int) -> None:
        if self._progress is not None:
            done = sum(2 * self.pairs(pair) for pair in self.everybody)
            self._progress(done + more, 2 * self._most * len(self.everybody))


def _block(games: Games, task: Task) -> Block:
    points = (np.sign(games.result).reshape(2, task.pairs).T + 1.0) / 2.0
    digests = [
        hashlib.blake2b(games.digests[i] + games.digests[task.pairs + i], digest_size=8).hexdigest()
        for i in range(task.pairs)
    ]
    forfeits = [
        {
            "by": task.second if each.by_opponent else task.first,
            "opening": task.start + each.forfeit.row % task.pairs,
            "ply": each.forfeit.ply,
            "reason": each.forfeit.reason,
        }
        for each in games.forfeits
    ]
    return Block(points.tolist(), digests, games.moves, int(games.cut.sum()), forfeits)


def _shorten(tables: _Tables, anchor: int, width: float) -> None:
    """Plays until no interval is wider than so many points, or nobody may meet again."""
    for pair in tables.everybody:
        tables.play(pair, SMALL_BLOCK)
    while True:
        ratings, candidates = tables.rate(anchor), tables.unfinished()
        if ratings.width.max() <= width or not candidates:
            return
        tables.play(most_telling(ratings, anchor, candidates), SMALL_BLOCK)


def _test(tables: _Tables, first: int, elo0: float, elo1: float) -> SequentialTest:
    """Plays two players until it is clear which hypothesis holds, or they may not meet again."""
    [pair] = tables.everybody
    accepted, ratio = None, 0.0
    while accepted is None and tables.unfinished():
        tables.play(pair, SMALL_BLOCK)
        results = tables.results(pair)
        counts = results.counts if first == pair[0] else results.counts[::-1]
        ratio = log_likelihood_ratio(Pairs(counts, results.distinct), elo0, elo1)
        accepted = decision(ratio)
    met = tables.met(pair)
    name = met.first if first == pair[0] else met.second
    return SequentialTest(name, elo0, elo1, ratio, (LOWER, UPPER), accepted)


def _rated(pool: Pool, tables: _Tables, ratings: Ratings) -> tuple[Rated, ...]:
    """Returns the players, the strongest first."""
    order = sorted(range(len(pool.entrants)), key=lambda i: (-ratings.rating[i], i))
    points: dict[int, float] = defaultdict(float)
    games: dict[int, int] = defaultdict(int)
    for i, j in tables.everybody:
        if tables.pairs((i, j)):
            met = tables.met((i, j))
            points[i] += met.score * met.games
            points[j] += (1.0 - met.score) * met.games
            games[i] += met.games
            games[j] += met.games
    after = [*order[1:], None]
    return tuple(
        Rated(
            pool.entrants[i].name,
            float(ratings.rating[i]),
            float(ratings.low[i]),
            float(ratings.high[i]),
            games[i],
            points[i] / games[i],
            None if other is None else float(ratings.ahead[i, other]),
            pool.entrants[i].run,
            pool.entrants[i].updates,
        )
        for i, other in zip(order, after, strict=True)
    )


def _anchor(pool: Pool, players: Sequence[str], anchor: str | None) -> int:
    names = [each.name for each in pool.entrants]
    if anchor is None:
        return names.index("random") if "random" in names else names.index(pool.words[players[0]][0])
    meant = pool.words.get(anchor, (anchor,))
    if len(meant) != 1 or meant[0] not in names:
        raise UserError(f"anchor {anchor!r}: expected one of the players: {', '.join(names)}")
    return names.index(meant[0])


def _check(
    games: int,
    seed: int,
    until_interval: float | None,
    sprt: tuple[float, float] | None,
    opening_plies: int | None,
) -> None:
    if games < 2 or games % 2:
        raise UserError(f"games must be an even number, every opening is played from both seats; got {games}")
    if seed < 0:
        raise UserError(f"seed must be at least 0, got {seed}")
    if until_interval is not None and sprt is not None:
        raise UserError("until_interval and sprt: expected one of them, got both")
    if until_interval is not None and not 0.0 < until_interval < math.inf:
        raise UserError(f"until_interval must be a number of points above 0, got {until_interval}")
    if sprt is not None and not -math.inf < sprt[0] < sprt[1] < math.inf:
        raise UserError(f"sprt must be two numbers of points, the smaller one first, got {sprt[0]:g} and {sprt[1]:g}")
    if sprt is not None and not all(abs(elo) <= MOST_ELO for elo in sprt):
        raise UserError(f"sprt must be from -{MOST_ELO} to {MOST_ELO} points, got {sprt[0]:g} and {sprt[1]:g}")
    if opening_plies is not None and opening_plies < 0:
        raise UserError(f"opening_plies must be at least 0, got {opening_plies}")
