"""Trains Atari games with several seeds and measures them beside random play, by the protocol of the 100k benchmark.

Every game and seed has a run folder below --folder; one that is there already is resumed up to the budget, so a long
campaign may be stopped and started again, and a larger budget goes on from a smaller one. Each leaves evaluation.json.

For example:
    python benchmarks/learning/atari.py Boxing Asterix --seeds 0 1 --max-minutes 60 --folder runs/atari
    python benchmarks/learning/atari.py Pong --preset atari100k --seeds 0 1 2 --folder runs/100k
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from muzero_wm.bench.machine import describe
from muzero_wm.config.presets import load_config
from muzero_wm.evaluation import evaluate
from muzero_wm.evaluation.aggregate import aggregate
from muzero_wm.evaluation.episodes import play_episodes
from muzero_wm.evaluation.opponents import RandomPlayer
from muzero_wm.training import train


def measure(args: argparse.Namespace, game: str, seed: int) -> dict[str, Any]:
    """Trains one game with one seed, or goes on with it; returns its figures and leaves them in its folder."""
    folder = args.folder / f"{game}-{seed}"
    config = load_config(
        args.preset,
        env=f"ale:{game}",
        seed=seed,
        overrides=args.set,
        max_minutes=args.max_minutes,
        max_updates=args.max_updates,
        max_steps=args.max_steps,
    )
    agent = train(config, folder, resume=(folder / "checkpoints").is_dir())
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    report = evaluate(agent, games=args.episodes, seed=seed)
    report |= {name: last[name] for name in ("updates", "steps", "elapsed")}
    chance = play_episodes(config.env, RandomPlayer(seed), args.episodes, seed).summary()
    report["random_play"] = {name: chance[name] for name in ("mean_return", "ci95")}
    report["machine"] = describe()
    (folder / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def main() -> None:
    """Runs one after the other, so that each has the machine to itself, and prints what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("games", nargs="+", metavar="GAME")
    parser.add_argument("--preset", help="default: as train would take here")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--episodes", type=int, default=30, help="of each evaluation, and of random play")
    parser.add_argument("--max-minutes", type=float)
    parser.add_argument("--max-updates", type=int)
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--set", action="extend", nargs="+", default=[], metavar="A.B=C")
    parser.add_argument("--folder", type=Path, required=True, help="where the runs are kept")
    args = parser.parse_args()
    columns = ("game", "seed", "updates", "steps", "minutes", "score", "95 %", "random", "95 %", "human-normalised")
    table = Table(*columns, caption=describe())
    scores: dict[str, list[float]] = {}
    for game in args.games:
        for seed in args.seeds:
            row = measure(args, game, seed)
            scale, chance = row.get("human_normalised"), row["random_play"]
            if scale is not None:
                scores.setdefault(game, []).append(scale["score"])
            table.add_row(
                game, str(seed), f"{row['updates']:,}", f"{row['steps']:,}", f"{row['elapsed'] / 60:.0f}",
                f"{row['mean_return']:.1f}", _interval(row["ci95"]),
                f"{chance['mean_return']:.1f}", _interval(chance["ci95"]),
                "" if scale is None else f"{scale['score']:.3f}",
            )  # fmt: skip
    Console(width=160).print(table)
    if scores:
        print(json.dumps(aggregate(scores)))


def _interval(ends: list[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.1f} to {ends[1]:.1f}"


if __name__ == "__main__":
    main()
