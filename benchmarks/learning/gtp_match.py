"""Plays GNU Go against a random engine on 9x9, refereed by us, and compares our results with GNU Go's.

Both are programs at the end of a pipe; every game is begun from either seat. When a game is over, GNU Go is asked for
`final_score`: a dispute is a game whose winner it sees differently. Games are kept in --out as they finish, in batches
of ten, and the same command goes on where it was stopped. GNU Go must be installed. For example:

    python benchmarks/learning/gtp_match.py --games 100 --out runs/gtp_match.jsonl
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.bench.machine import describe
from muzero_wm.envs import BatchedEnv, Step
from muzero_wm.evaluation import Player, play_match
from muzero_wm.evaluation.engines import engine_player
from muzero_wm.evaluation.engines.notation import notation_of
from muzero_wm.evaluation.engines.position import first_position, score
from muzero_wm.evaluation.engines.record import moves_so_far
from muzero_wm.evaluation.intervals import wilson_interval
from muzero_wm.evaluation.players import GIVEN_UP

ENV = "openspiel:go(board_size=9, max_game_length=500)"
BATCH = 10


class Recorded:
    """Passes moves on and writes them down, so that whole games are known."""

    def __init__(self, player: Player, games: dict[int, list[int]]) -> None:
        self._player, self._games = player, games
        self.forfeits = getattr(player, "forfeits", [])

    def actions(self, env: BatchedEnv, step: Step, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns a move for each of the games `rows`."""
        chosen = self._player.actions(env, step, rows)
        for row, action in zip(rows.tolist(), chosen.tolist(), strict=True):
            self._games[row] = moves_so_far(env, row) + ([] if action == GIVEN_UP else [action])
        return chosen


def play_batch(number: int, level: int) -> list[dict[str, Any]]:
    """Plays ten games and returns what came of each."""
    spec = envs.spec(ENV)
    gnugo = engine_player(f"gtp:gnugo --level {level}", spec, ENV, number)
    random_engine = Path(__file__).with_name("random_gtp.py")
    other = engine_player(f"gtp:{shlex.join([sys.executable, str(random_engine)])}", spec, ENV, number)
    games: dict[int, list[int]] = {}
    found = play_match(ENV, Recorded(gnugo, games), Recorded(other, games), BATCH, number, opening_plies=2)
    other.close()
    given_up = {each.forfeit.row: each for each in found.forfeits}
    judge = next(engine for engine in gnugo._engines if engine is not None)
    notation = notation_of(ENV)
    rows = []
    for row, moves in sorted(games.items()):
        position = first_position(ENV)
        for action in moves:
            position.play(action)
        seat = int(row >= BATCH // 2)
        result = position.result if seat == 0 else -position.result
        if row in given_up:
            result = 1.0 if given_up[row].by_opponent else -1.0
        rows.append(
            {
                "batch": number,
                "seat": seat,
                "plies": len(moves),
                "result": result,
                "ours": score(position, notation, notation.komi or 0.0),
                "gnugo": judge.final_score(moves),
                "forfeit": given_up[row].to_dict() if row in given_up else None,
            }
        )
    gnugo.close()
    return rows


def disputed(game: dict[str, Any]) -> bool:
    """Returns whether GNU Go sees another winner."""
    return game["forfeit"] is None and bool(np.sign(score_of(game["gnugo"])) != np.sign(game["ours"]))


def main() -> None:
    """Plays what is missing and prints the score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=100, help="rounded up to batches of ten")
    parser.add_argument("--level", type=int, default=1, help="of GNU Go")
    parser.add_argument("--out", type=Path, default=Path("runs/gtp_match.jsonl"))
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    lines = args.out.read_text().splitlines() if args.out.exists() else []
    games = [json.loads(line) for line in lines]
    batches = -(-args.games // BATCH)
    for number in sorted({*range(batches)} - {game["batch"] for game in games}):
        played = play_batch(number, args.level)
        games += played
        with args.out.open("a") as file:
            file.write("".join(json.dumps(game) + "\n" for game in played))
        print(f"{len(games)} games", file=sys.stderr, flush=True)
    games = [game for game in games if game["batch"] < batches]
    won = sum(game["result"] > 0 for game in games)
    drawn = sum(game["result"] == 0 for game in games)
    low, high = wilson_interval(won + drawn / 2, len(games))
    print(f"{describe()}; GNU Go --level {args.level} against random moves, 9x9")
    print(f"{len(games)} games: {won} won, {drawn} drawn ({low:.1%} to {high:.1%})")
    for seat, name in enumerate(("black", "white")):
        as_it = [game for game in games if game["seat"] == seat]
        print(f"  as {name}: {sum(game['result'] > 0 for game in as_it)} of {len(as_it)}")
    print(
        f"plies: {np.mean([game['plies'] for game in games]):.0f} on average, {max(g['plies'] for g in games)} at most"
    )
    print(f"disputed results: {sum(map(disputed, games))}; given up: {sum(g['forfeit'] is not None for g in games)}")
    same = sum(game["ours"] == score_of(game["gnugo"]) for game in games)
    print(f"the same score to the point: {same}")


def score_of(said: str) -> float:
    """Returns "B+3.5" as 3.5, "W+3.5" as -3.5."""
    return 0.0 if said == "0" else float(said[2:]) * (1 if said[0] == "B" else -1)


if __name__ == "__main__":
    main()
