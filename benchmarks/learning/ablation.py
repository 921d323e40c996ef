r"""Compares settings: arms of the same budget, by seed, measured in the same way.

Finished runs are kept below `--run-dir` with their figures and are not made again: the command can be stopped and
started anew. With a budget of updates it does not matter what else the machine does; one of minutes says what a setting
is worth for the same work, and wants the machine for itself. For example:

    python benchmarks/learning/ablation.py tictactoe --updates 700 --arm mean search.stored_value=mean \
        --arm improved search.stored_value=improved
    python benchmarks/learning/ablation.py connect4 --minutes 8 --seeds 0 --games 0 \
        --set acting.process=false inference.workers=1 --arm all replay.window=1 --arm quarter replay.window=0.25

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

POSITIONS = 600


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


def measure(agent: Agent, seed: int, games: int) -> dict[str, float]:
    """Returns the figures of one agent; `games` of Connect Four against mcts:1000."""
    name = agent.spec.name
    if name == "tictactoe":
        report = evaluate(agent, "perfect", games=2, seed=seed)["exhaustive"]
        raw = evaluate(agent, "perfect", games=2, seed=seed)["raw_policy"]["exhaustive"]
        return value_error(agent) | {"lines lost": report["losses"], "lines lost, raw": raw["losses"]}
    if name == "connect4":
        kept = share_kept(agent, 64, count=POSITIONS)
        figures = {"kept": kept["share_kept"], "kept, raw": kept["raw_policy"]}
        if games:
            figures["score"] = evaluate(agent, "mcts:1000", games=games, simulations=64, seed=seed)["score"]
        return value_error(agent) | figures
    report = evaluate(agent, games=64, seed=seed)
    return {"return": report["mean_return"], "return, raw": report["raw_policy"]["mean_return"]}


def run(args: argparse.Namespace, arm: str, settings: list[str], seed: int) -> dict[str, float]:
    """Trains and measures one agent, or reads what was measured."""
    folder: Path = args.run_dir / f"{args.preset}-{arm}-{seed}"
    kept = folder / "figures.json"
    if kept.exists():
        figures: dict[str, float] = json.loads(kept.read_text())
        return figures
    overrides = ["run.tensorboard=false", *args.set, *settings]
    budget = {"max_updates": args.updates, "max_minutes": args.minutes}
    config = load_config(args.preset, seed=seed, overrides=overrides, **budget)
    agent = train(config, folder, resume=(folder / "checkpoints").exists())
    figures = {"updates": agent.updates} | measure(agent, seed, args.games)
    kept.write_text(json.dumps(figures))
    return figures


def main() -> None:
    """Prints a row for each run and each arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--updates", type=int)
    budget.add_argument("--minutes", type=float)
    parser.add_argument("--arm", action="append", nargs="+", required=True, metavar="NAME A.B=C")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--games", type=int, default=100, help="of Connect Four against mcts:1000, 0: none")
    parser.add_argument("--run-dir", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--set", action="extend", nargs="+", default=[], metavar="A.B=C", help="in all arms")
    args = parser.parse_args()
    arms = {name: settings for name, *settings in args.arm}
    rows: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
    for seed in args.seeds:
        for arm, settings in arms.items():
            rows[arm].append(run(args, arm, settings, seed))
    names = list(next(iter(rows.values()))[0])
    amount = f"{args.updates} updates" if args.updates else f"{args.minutes:g} minutes"
    table = Table(title=f"{args.preset}, {amount}", caption=describe())
    for name in ("arm", "seed", *names):
        table.add_column(name, justify="right")
    for arm, figures in rows.items():
        for seed, row in zip(args.seeds, figures, strict=True):
            table.add_row(arm, str(seed), *(f"{row[name]:.4g}" for name in names))
        means = (statistics.fmean(row[name] for row in figures) for name in names)
        table.add_row(arm, "mean", *(f"{mean:.4g}" for mean in means), style="bold", end_section=True)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
