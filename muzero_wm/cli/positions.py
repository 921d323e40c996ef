"""What ``muzero-wm evaluate --positions`` does and prints."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from muzero_wm.basis.errors import UserError
from muzero_wm.cli.reports import progress_bar
from muzero_wm.evaluation.players import SearchingAgent

Report = Mapping[str, Any]
_PLAYERS = {"search": "search", "raw_policy": "raw policy", "random": "random move"}
_GROUPS = 6  # of plies, in the table


def check_options(args: argparse.Namespace) -> None:
    """Refuses what only games have.

    Raises:
        UserError: such an option came with --positions.
    """
    for name in ("opponent", "games", "max_steps"):
        if getattr(args, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} is about games, and --positions plays none: leave out one of the two")


def measure_positions(args: argparse.Namespace, agent: SearchingAgent) -> dict[str, Any]:
    """Measures an agent in solved positions, prints what was found and returns it."""
    from muzero_wm.evaluation.grading import grade

    with progress_bar("positions, solved and then played") as progress:
        report = grade(agent, args.positions, args.simulations, args.seed, progress)
    print_positions(report)
    return report


def print_positions(report: Report) -> None:
    """Prints what `grade` returned."""
    console = Console(highlight=False)
    about = f"{report['env']}, {report['positions']} solved positions, {report['simulations']} simulations"
    console.print(f"{about}, seed {report['seed']}", style="italic", markup=False)
    if report["positions"] < report["asked_for"]:
        console.print(f"There are no more of them: {report['asked_for']} were asked for.")
    console.print()
    console.print(_summary(report))
    _section(console, "Mistakes in all positions, in %", _cells(report))
    console.print(f"Moves played: {_bounds(report['stages'])}.", markup=False)
    console.print(f"Moves until the end: {_bounds(report['difficulties'])}.", markup=False)
    console.print(f"Impossible: {', '.join(report['impossible'])}.", markup=False)
    _section(console, "Outcome kept where some moves keep it and others do not, in %",
             _plies(report))  # fmt: skip
    _section(console, "What positions are worth that the agent gives such a value", _values(report))
    for name, title in (("search", "Searched value"), ("raw_policy", "Raw value")):
        value = report[name]["value"]
        console.print(
            f"{title}: RMSE {value['rmse']:.3f}{_interval(value['rmse_ci95'], ' ({:.3f} to {:.3f})')}, "
            f"bias {value['bias']:+.3f}{_interval(value['bias_ci95'], ' ({:+.3f} to {:+.3f})')}"
        )
    undecided = f"{report['undecided']:.0%}" if report["undecided"] else "none"
    console.print(f"Positions that the solver left undecided: {undecided}.")


def _section(console: Console, heading: str, table: Table) -> None:
    console.print()
    console.print(heading, style="italic", markup=False)
    console.print(table)


def _summary(report: Report) -> Table:
    table = _table("share in % (95 % interval)", "positions", "outcome kept", "best move")
    for name, title in _PLAYERS.items():
        part = report[name]
        table.add_row(title, str(part["positions"]), _cell(part["kept"]), _cell(part["best"]))
    for name, title in _PLAYERS.items():
        part = report[name]
        table.add_row(f"{title}, decisive", str(part["decisive"]), _cell(part["kept_where_decisive"]), "")
    return table


def _cells(report: Report) -> Table:
    table = _table("", "positions", "search", "raw policy", "random")
    for stage, row in report["search"]["by_cell"].items():
        for difficulty, part in row.items():
            if part is not None:
                cells = [report[name]["by_cell"][stage][difficulty]["kept"] for name in _PLAYERS]
                mistakes = [_cell(cell, mistakes=True) for cell in cells]
                mistakes[-1] = mistakes[-1].partition(" ")[0]  # expected shares: known, not estimated
                table.add_row(f"{stage}, {difficulty}", str(part["positions"]), *mistakes)
    return table


def _plies(report: Report) -> Table:
    from muzero_wm.evaluation.intervals import wilson_interval

    table = _table("moves played", "positions", "search", "raw policy", "random")
    rows = {name: report[name]["by_ply"] for name in _PLAYERS}
    last = rows["search"][-1]["ply"]
    width = max(1, -(-(last + 1) // _GROUPS))
    for first in range(0, last + 1, width):
        numbers: list[str] = []
        decisive = 0
        for name in _PLAYERS:
            inside = [row for row in rows[name] if first <= row["ply"] < first + width and row["decisive"]]
            decisive = sum(row["decisive"] for row in inside)
            hits = sum(row["decisive"] * row["kept_where_decisive"]["share"] for row in inside)
            ends = wilson_interval(hits, decisive) if decisive else None
            numbers.append(_cell(ends and {"share": hits / decisive, "ci95": ends}))
        numbers[-1] = numbers[-1].partition(" ")[0]
        table.add_row(f"{first} to {min(last, first + width - 1)}", str(decisive), *numbers)
    return table


def _values(report: Report) -> Table:
    columns = ("predicted", "search", "exact", "95 % interval", "raw", "exact", "95 % interval")
    table = _table(*columns)
    both = zip(report["search"]["value"]["bins"], report["raw_policy"]["value"]["bins"], strict=True)
    for pair in both:
        numbers: list[str] = []
        for part in pair:
            exact = "" if part["exact"] is None else f"{part['exact']:+.2f}"
            numbers += [str(part["positions"]), exact, _interval(part["ci95"], "{:+.2f} to {:+.2f}")]
        table.add_row(f"{pair[0]['low']:+.1f} to {pair[0]['high']:+.1f}", *numbers)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left")
    return table


def _cell(part: Mapping[str, Any] | None, mistakes: bool = False) -> str:
    """Returns a share and its interval in percent, or what is missing from it where mistakes are counted."""
    if part is None:
        return ""
    numbers = [100 * part["share"], *(100 * end for end in part["ci95"])]
    if mistakes:
        numbers = [100 - numbers[0], 100 - numbers[2], 100 - numbers[1]]
    return "{:.1f} ({:.1f} to {:.1f})".format(*numbers)


def _interval(ends: Any, form: str) -> str:
    return "" if ends is None else form.format(*ends)


def _bounds(groups: Mapping[str, list[int]]) -> str:
    return ", ".join(f"{name} {low}-{high}" for name, (low, high) in groups.items())
