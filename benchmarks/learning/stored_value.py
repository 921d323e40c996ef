"""Compares what is stored as the value of a searched position: `search.stored_value`, by variant and seed.

Every run has the same number of updates, so it does not matter what else the machine does. Finished runs are kept below
`--run-dir` with their figures and are not made again: the command can be stopped and started anew. For example:

    python benchmarks/learning/stored_value.py tictactoe --updates 700 --seeds 0 1 2
    python benchmarks/learning/stored_value.py connect4 --updates 1000 --seeds 0 1 2
    python benchmarks/learning/stored_value.py cartpole --updates 1500 --set replay.bootstrap=search

Boards of known values tell the error of the network's value (root mean square and mean; true are -1, 0, 1), the share
of moves that keep the outcome, with search and without, and games; one player tells returns.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from muzero_wm.agent import Agent
from muzero_wm.bench.machine import describe
from muzero_wm.config.presets import load_config
from muzero_wm.envs import board_game
from muzero_wm.evaluation import evaluate
from muzero_wm.evaluation.connect4_solver import connect_four_solver
from muzero_wm.evaluation.minimax import minimax_table
from muzero_wm.evaluation.solved import share_kept, solved_positions
from muzero_wm.training import train

VARIANTS = ("mean", "improved")
POSITIONS, GAMES = 600, 100


def value_error(agent: Agent) -> dict[str, float]:
    """Returns the error of the raw values over positions whose value is known."""
    name = agent.spec.name
    if name == "tictactoe":
        table = minimax_table(name)
        states, true = table.states, table.move_values.max(1)
    else:
        states = solved_positions(POSITIONS).states
        true = np.sign(connect_four_solver().move_scores(states).max(1))
    observations, legal, _ = board_game(name).look(states)
    parts = [slice(begin, begin + 256) for begin in range(0, len(states), 256)]
    error = np.concatenate([agent.policy(observations[part], legal[part])[1] for part in parts]) - true
    return {"value rmse": float(np.sqrt(np.mean(error**2))), "value bias": float(error.mean())}


def measure(agent: Agent, seed: int) -> dict[str, float]:
    """Returns the figures of one agent."""
    name = agent.spec.name
    if name == "tictactoe":
        report = evaluate(agent, "perfect", games=2, seed=seed)["exhaustive"]
        raw = evaluate(agent, "perfect", games=2, seed=seed)["raw_policy"]["exhaustive"]
        return value_error(agent) | {"lines lost": report["losses"], "lines lost, raw": raw["losses"]}
    if name == "connect4":
        kept = share_kept(agent, 64, count=POSITIONS)
        won = evaluate(agent, "mcts:1000", games=GAMES, simulations=64, seed=seed)
        figures = {"kept": kept["share_kept"], "kept, raw": kept["raw_policy"], "score": won["score"]}
        return value_error(agent) | figures
    report = evaluate(agent, games=64, seed=seed)
    return {"return": report["mean_return"], "return, raw": report["raw_policy"]["mean_return"]}


def run(args: argparse.Namespace, variant: str, seed: int) -> dict[str, float]:
    """Trains and measures one agent, or reads what was measured."""
    folder: Path = args.run_dir / f"{args.preset}-{variant}-{seed}"
    kept = folder / "figures.json"
    if kept.exists():
        figures: dict[str, float] = json.loads(kept.read_text())
        return figures
    overrides = [f"search.stored_value={variant}", "run.tensorboard=false", *args.set]
    config = load_config(args.preset, seed=seed, overrides=overrides, max_updates=args.updates)
    agent = train(config, folder, resume=(folder / "checkpoints").exists())
    figures = measure(agent, seed)
    kept.write_text(json.dumps(figures))
    return figures


def main() -> None:
    """Prints a row for each run and each variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--updates", type=int, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--run-dir", type=Path, default=Path("runs/stored_value"))
    parser.add_argument("--set", action="extend", nargs="+", default=[], metavar="A.B=C")
    args = parser.parse_args()
    rows: dict[str, list[dict[str, Any]]] = {variant: [] for variant in args.variants}
    for seed in args.seeds:
        for variant in args.variants:
            rows[variant].append(run(args, variant, seed))
    names = list(rows[args.variants[0]][0])
    table = Table(title=f"{args.preset}, {args.updates} updates", caption=describe())
    for name in ("stored", "seed", *names):
        table.add_column(name, justify="right")
    for variant, figures in rows.items():
        for seed, row in zip(args.seeds, figures, strict=True):
            table.add_row(variant, str(seed), *(f"{row[name]:.3f}" for name in names))
        means = (statistics.fmean(row[name] for row in figures) for name in names)
        table.add_row(variant, "mean", *(f"{mean:.3f}" for mean in means), style="bold", end_section=True)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
