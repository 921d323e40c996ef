"""Ratings of a Connect Four run: its checkpoints among other players, and what search adds to its network.

For example:
    python benchmarks/learning/arena.py runs/c4 --checkpoints 500 2000 8000 --seeds 0 1 --folder runs/arena

Two arenas for each seed. In the first three checkpoints meet random play, rollout searches and perfect play; in the
second the network of the last one alone meets itself with more and more simulations. Finished games are kept in the
folder, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from muzero_wm.bench.machine import describe
from muzero_wm.cli.reports import progress_bar
from muzero_wm.cli.standings import print_arena
from muzero_wm.evaluation.ratings.arena import arena
from muzero_wm.evaluation.ratings.picture import save_ratings
from muzero_wm.evaluation.ratings.result import ArenaResult

OTHERS = ["random", "mcts:100", "mcts:1000", "mcts:10000", "perfect"]
SIMULATIONS = (0, 4, 16, 64, 256)


def play(name: str, players: list[str], anchor: str, args: argparse.Namespace, seed: int) -> ArenaResult:
    """Plays what is missing of one arena, prints it and writes it."""
    path = args.folder / f"{name}-{seed}.json"
    with progress_bar("games", "moves side by side") as progress:
        result = arena(
            players,
            games=args.games,
            seed=seed,
            env="connect4",
            simulations=args.simulations,
            anchor=anchor,
            keep=path.with_suffix(".games.jsonl"),
            progress=progress,
        )
    print_arena(result)
    path.write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
    if args.plot:
        save_ratings(path.with_suffix(".svg"), result)
    return result


def rows(results: list[ArenaResult]) -> list[dict[str, Any]]:
    """Returns one row for each player: its rating and interval by each seed."""
    found: dict[str, dict[str, Any]] = {}
    for result in results:
        for each in result.players:
            row = found.setdefault(each.name, {"player": each.name})
            row[f"seed {result.seed}"] = f"{each.rating:.0f} ({each.low:.0f} to {each.high:.0f})"
    return list(found.values())


def main() -> None:
    """Plays both arenas with every seed, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a Connect Four run")
    parser.add_argument(
        "--checkpoints", type=int, nargs="+", required=True, metavar="N", help="updates; the last is the best"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], metavar="N")
    parser.add_argument("--games", type=int, default=100, metavar="N", help="of every two players")
    parser.add_argument("--simulations", type=int, default=64, metavar="S", help="of the checkpoints among others")
    parser.add_argument("--others", nargs="*", default=OTHERS, metavar="PLAYER")
    parser.add_argument("--folder", type=Path, required=True, help="what is played is kept here")
    parser.add_argument("--plot", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    *_, last = args.checkpoints
    pools = {
        "others": ([*args.others, *(f"{args.run}/@{n}" for n in args.checkpoints)], "mcts:1000"),
        "search": ([f"{args.run}/@{last}:{n}" for n in SIMULATIONS], f"{args.run}/@{last}:0"),
    }
    report: dict[str, Any] = {"machine": describe(), "command": vars(args)}
    for name, (players, anchor) in pools.items():
        anchor = anchor if anchor in players else players[0]
        report[name] = rows([play(name, players, anchor, args, seed) for seed in args.seeds])
        table = Table(title=f"{name}, {anchor} at 0", caption=describe())
        for column in report[name][0]:
            table.add_column(column)
        for row in report[name]:
            table.add_row(*row.values())
        Console(width=120).print(table)
    if args.json:
        args.json.write_text(json.dumps(report, default=str, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
