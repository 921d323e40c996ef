"""Measures checkpoints of a run in solved positions: mistakes by stage and difficulty, by ply, and errors of values.

All checkpoints are asked about the same positions. What is solved and what is measured is kept below --folder, and not
done again: the command can be stopped and started anew, and further checkpoints, or numbers of simulations, added. For
example:

    python benchmarks/learning/solver_grade.py runs/connect4-1 --positions 6000 --simulations 32 200 --folder grades
    python benchmarks/learning/solver_grade.py runs/quickstart --checkpoints last --positions 4520 --folder grades

Simulations 0 stand for the network alone, which is measured on the way. Shares in percent; brackets are 95 % intervals.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from muzero_wm.agent import load
from muzero_wm.bench.machine import describe
from muzero_wm.evaluation.exact import ExactGame, Solved, exact_game
from muzero_wm.evaluation.grading import grade_solved
from muzero_wm.evaluation.positions import draw_positions

SOLVED_AT_ONCE = 200


def solved_positions(exact: ExactGame, count: int, seed: int, folder: Path) -> Solved:
    """Returns the positions and their scores; those that were solved before are read."""
    path = folder / f"{exact.game.name}-{count}-{seed}.npz"
    states = draw_positions(exact.game, count, seed)
    scores = np.zeros((0, exact.game.num_actions), np.int64)
    if path.exists():
        kept = np.load(path)
        if np.array_equal(kept["states"], states):  # they were drawn in the same way
            scores = kept["scores"]
    while len(scores) < len(states):
        part = exact.solve(states[len(scores) : len(scores) + SOLVED_AT_ONCE])
        scores = np.concatenate([scores, part.scores])
        np.savez(path.with_suffix(".tmp.npz"), states=states, scores=scores)
        os.replace(path.with_suffix(".tmp.npz"), path)
        print(f"{len(scores)} of {len(states)} positions solved", flush=True)
    return Solved(states, scores, exact.game.max_plies)


def checkpoints(run: Path, wanted: list[str]) -> list[int | str]:
    """Returns the numbers of updates that were asked for, or those of all checkpoints."""
    if wanted != ["all"]:
        return [int(word) if word.isdecimal() else word for word in wanted]
    return [int(path.stem.partition("_")[2]) for path in sorted((run / "checkpoints").glob("step_*.json"))]


def measure(args: argparse.Namespace, which: int | str, simulations: int, solved: Solved) -> dict[str, Any]:
    """Measures one checkpoint, or reads what was measured."""
    agent = load(args.run, which)  # type: ignore[arg-type]
    about = f"{args.run.resolve().name}-{agent.updates}-{args.positions}-{args.seed}-{simulations}"
    path = args.folder / f"{about}.json"
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text())
        return kept
    report = {"updates": agent.updates, "env": agent.spec.name, "seed": args.seed, "machine": describe()}
    report |= grade_solved(agent, solved, simulations, args.seed)
    path.with_suffix(".tmp").write_text(json.dumps(report) + "\n")
    path.with_suffix(".tmp").replace(path)
    print(f"{path.name}", flush=True)
    return report


def rows_of(report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Returns the players of a report by the number of their simulations."""
    return [("0", report["raw_policy"]), (str(report["simulations"]), report["search"]), ("random", report["random"])]


def percent(part: dict[str, Any] | None, mistakes: bool = False, interval: bool = True) -> str:
    """Returns a share and its interval, or what is missing from it."""
    if part is None:
        return "-"
    share, low, high = (100 * value for value in (part["share"], *part["ci95"]))
    if mistakes:
        share, low, high = 100 - share, 100 - high, 100 - low
    return f"{share:.1f} [{low:.1f}, {high:.1f}]" if interval else f"{share:.1f}"


def show(reports: list[dict[str, Any]]) -> None:
    """Prints what was measured: one line for each checkpoint and number of simulations, then the plies of the last."""
    console = Console(width=200)
    cells = [(stage, name) for stage, row in reports[0]["search"]["by_cell"].items() for name in row if row[name]]
    table = Table(title=f"{reports[0]['positions']} positions, mistakes by stage and difficulty", caption=describe())
    table.add_column("updates", justify="right")
    table.add_column("simulations", justify="right")
    for name in ("kept", "kept, decisive", "best", *(f"{stage} {name}" for stage, name in cells), "RMSE", "bias"):
        table.add_column(name, justify="right")
    seen: set[tuple[int, str]] = set()
    for report in reports:
        for simulations, part in rows_of(report):
            updates = 0 if simulations == "random" else report["updates"]
            if (updates, simulations) in seen:
                continue
            seen.add((updates, simulations))
            value = part.get("value")
            table.add_row(
                f"{updates:,}" if updates else "",
                simulations,
                *(percent(part[key]) for key in ("kept", "kept_where_decisive", "best")),
                *(
                    percent(part["by_cell"][stage][name]["kept"], mistakes=True, interval=False)
                    for stage, name in cells
                ),
                *((f"{value['rmse']:.3f}", f"{value['bias']:+.3f}") if value else ("", "")),
            )
    console.print(table)
    sizes = (f"{stage} {name} {reports[0]['search']['by_cell'][stage][name]['positions']}" for stage, name in cells)
    console.print(f"Positions: {', '.join(sizes)}.")
    last = reports[-1]
    plies = Table(title=f"Outcome kept in decisive positions, {last['updates']:,} updates, by moves played")
    names = [name for name, _ in rows_of(last)]
    for name in ("moves played", "positions", *(f"{name} simulations" if name != "random" else name for name in names)):
        plies.add_column(name, justify="right")
    for i, row in enumerate(last["search"]["by_ply"]):
        shares = [percent(part["by_ply"][i]["kept_where_decisive"]) for _, part in rows_of(last)]
        plies.add_row(str(row["ply"]), str(row["decisive"]), *shares)
    console.print(plies)


def main() -> None:
    """Solves, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoints", nargs="+", default=["all"], help="updates, last, best (default: all)")
    parser.add_argument("--positions", type=int, default=6000)
    parser.add_argument("--simulations", type=int, nargs="+", default=[32])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="where positions and reports are kept")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    exact = exact_game(load(args.run).spec.name)
    solved = solved_positions(exact, args.positions, args.seed, args.folder)
    show(
        [
            measure(args, which, simulations, solved)
            for which in checkpoints(args.run, args.checkpoints)
            for simulations in args.simulations
        ]
    )


if __name__ == "__main__":
    main()
