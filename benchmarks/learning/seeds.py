"""Trains one preset, or what follows from one environment, with several seeds and evaluates each run.

For example:
    python benchmarks/learning/seeds.py quickstart --seeds 0 1 2 3 4 --opponent perfect --simulations 25
    python benchmarks/learning/seeds.py connect4 --seeds 0 --opponent mcts:1000 --simulations 64
    python benchmarks/learning/seeds.py --env gym:LunarLander-v3 --max-minutes 40 --run-dir runs/lunar
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from muzero_wm.bench.machine import describe
from muzero_wm.config.presets import load_config
from muzero_wm.evaluation import evaluate
from muzero_wm.training import train


def run(args: argparse.Namespace, seed: int, folder: Path) -> dict[str, Any]:
    """Trains and evaluates one seed; returns a flat row of figures."""
    config = load_config(args.preset, env=args.env, seed=seed, overrides=args.set, max_minutes=args.max_minutes)
    agent = train(config, folder)
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    report = evaluate(agent, args.opponent, games=args.games, simulations=args.simulations, seed=seed)
    row = {
        "seed": seed,
        "seconds": round(last["elapsed"], 1),
        "updates": last["updates"],
        "steps": last["steps"],
        "games/min": round(60 * last["games"] / last["elapsed"]),
        "updates/s": round(last["updates"] / last["elapsed"], 1),
    }
    for name, part in (("search", report), ("raw", report["raw_policy"])):
        if "score" in part:
            row[f"{name} w/d/l"] = f"{part['wins']}/{part['draws']}/{part['losses']}"
            row[f"{name} score"] = part["score"]
        else:
            row[f"{name} return"] = part["mean_return"]
        if "exhaustive" in part:
            row[f"{name} exhaustive losses"] = f"{part['exhaustive']['losses']} of {part['exhaustive']['games']}"
    return row


def main() -> None:
    """Runs the seeds one after the other, so that each has the machine to itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?")
    parser.add_argument("--env", help="instead of a preset, or in place of its environment")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--opponent")
    parser.add_argument("--games", type=int, default=100)
    parser.add_argument("--simulations", type=int)
    parser.add_argument("--max-minutes", type=float)
    parser.add_argument("--set", action="extend", nargs="+", default=[], metavar="A.B=C")
    parser.add_argument("--run-dir", type=Path, help="keep the runs below this folder")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        base = args.run_dir or Path(scratch)
        rows = [run(args, seed, base / f"seed-{seed}") for seed in args.seeds]
    table = Table(title=" against ".join(filter(None, (args.env or args.preset, args.opponent))), caption=describe())
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=160).print(table)
    if args.json:
        args.json.write_text(json.dumps({"machine": describe(), "command": vars(args), "rows": rows}, default=str))


if __name__ == "__main__":
    main()
