"""What ``muzero-wm compare`` prints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from muzero_wm.cli.lines import tell

_SAMPLES = {
    "run": "A run is one sample: intervals say what other seeds may bring.",
    "episode": "An episode is one sample, since not every group has two runs: intervals say what other "
    "episodes of these very runs may bring, and nothing of other seeds.",
}


def print_runs(report: Mapping[str, Any]) -> None:
    """Prints one row for each run: how far it is trained, and what it has logged and reached."""
    console = Console(highlight=False)
    table = _table("run", "updates", "steps", "minutes", "training", "evaluated", "mean now")
    shared = os.path.commonpath([Path(row["run"]).absolute().parent for row in report["runs"]])
    for row in report["runs"]:
        last, curves = row["trained"], row["curves"]
        logged = [(measure, measure.partition("/")[2]) for measure in curves if measure.startswith("evaluation/")]
        evaluated = _number(curves[logged[0][0]][logged[0][1]][-1]) if logged else ""
        training = _number(curves["episode/return"]["return"][-1]) if "episode/return" in curves else ""
        table.add_row(
            os.path.relpath(row["run"], shared),
            f"{row['updates']:,}",
            f"{last['steps']:,.0f}" if last else "",
            f"{last['minutes']:.1f}" if last else "",
            training,
            evaluated,
            _number(row["mean"]) if "mean" in row else "",
        )
    console.print(table)


def print_comparison(report: Mapping[str, Any]) -> None:
    """Prints what `compare` returned, one table for each environment."""
    console = Console(highlight=False)
    for env, part in report["environments"].items():
        opponent = report["opponents"].get(env)
        what = f"points against {opponent}" if opponent else "return"
        console.print()
        heading = f"{env}: {what}, {report['episodes']} episodes a run, seed {report['seed']} (95 % intervals)"
        console.print(heading, style="italic", markup=False)
        _print_part(console, part)
    if report["normalised"] is not None:
        console.print()
        heading = "All games, on a scale on which random play is 0 and a person 1 (the median is that of the games)"
        console.print(heading, style="italic", markup=False)
        _print_part(console, report["normalised"])


def _print_part(console: Console, part: Mapping[str, Any]) -> None:
    table = _table("", "runs", "mean", "median", "IQM")
    for name, group in part["groups"].items():
        runs = group["runs"] if isinstance(group["runs"], int) else sum(group["runs"].values())
        table.add_row(name, str(runs), *(_estimate(group[key]) for key in ("mean", "median", "iqm")))
    console.print(table)
    for pair in part["improvement"]:
        chance = _estimate({"score": pair["probability"], "ci95": pair["ci95"]}, "{:.2f}")
        console.print(f"{pair['of']} is better than {pair['over']} with probability {chance}.", markup=False)
    tell(_SAMPLES[part["sample"]])


def _estimate(found: Mapping[str, Any], form: str = "{:.4g}") -> str:
    text = form.format(found["score"])
    if found["ci95"] is None:
        return text
    low, high = (form.format(end) for end in found["ci95"])
    return f"{text} ({low} to {high})"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", overflow="fold")
    return table
