"""What ``muzero-wm bench`` prints: one table for each report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

Report = dict[str, Any]


def show(report: Report) -> None:
    """Prints a report.

    Args:
        report: of one of the benchmarks in `muzero_wm.bench`.
    """
    console = Console(highlight=False)
    console.print(_table(report))
    if report["benchmark"] == "search" and not any("mctx" in row for row in report["rows"]):
        console.print("mctx is not installed, so there is no ratio: pip install 'muzero-wm[mctx]'", markup=False)
    for line in _absent(report.get("absent", {})):
        console.print(line, markup=False, soft_wrap=True)


def _absent(absent: dict[str, dict[str, str]]) -> Iterator[str]:
    """Yields one line for each reason why backends are missing, with the networks that it is true of."""
    networks: dict[str, list[str]] = {}
    for network, reasons in absent.items():
        for backend, reason in reasons.items():
            networks.setdefault(f"{backend} is missing: {reason.partition(': ')[2]}", []).append(network)
    for line, where in networks.items():
        yield line if len(where) == len(absent) else f"{line} ({', '.join(where)})"


def _table(report: Report) -> Table:
    about, settings = report["machine"], report["settings"]
    title = (
        f"{about['processor']}, {about['cores']} cores, load {about['load_average']}; {settings['threads']} threads, "
    )
    title += f"{about['planner']}, seed {settings['seed']}. {_NOTES[report['benchmark']]}"
    header, lines = _LINES[report["benchmark"]](report["rows"])
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=0, pad_edge=False)
    for name in header:
        table.add_column(name, justify="left" if name in _WORDS else "right")
    for line in lines:
        table.add_row(*line)
    return table


def _search_lines(rows: list[Report]) -> tuple[list[str], Iterator[list[str]]]:
    peer = any("mctx" in row for row in rows)
    header = ["policy", "network", "B,A,S", "depth", "ns", "simulations/s"]
    header += ["mctx ns", "times faster"] if peer else []

    def line(row: Report) -> list[str]:
        case = f"{row['roots']},{row['actions']},{row['simulations']}"
        cells = [row["policy"], row["model"], case, f"{row['mean_depth']:.1f}", _ns(row["mcts"]), _rate(row["mcts"])]
        return cells + ([f"{row['mctx']['ns']['minimum']:,.0f}", _pair(row["ratio"], "{:.1f}")] if peer else [])

    return header, (line(row) for row in rows)


def _network_lines(rows: list[Report]) -> tuple[list[str], Iterator[list[str]]]:
    parts = ("network", "tree", "glue", "planner")
    header = ["model", "backend", "B", "S", "simulations/s", "in network", "tree", "glue", "planner"]

    def line(row: Report) -> list[str]:
        share = row["share"]
        shares = ["native"] * 4 if share is None else [f"{share[part]:.1%}" for part in parts]
        cells = [row["network"], row["backend"], str(row["roots"]), str(row["simulations"]), _rate(row["search"])]
        return cells + shares

    return header, (line(row) for row in rows)


def _inference_lines(rows: list[Report]) -> tuple[list[str], Iterator[list[str]]]:
    errors = ("value", "reward", "policy")
    header = ["model", "B", "backend", "evals/s", "ratio", "refresh ms", *errors]

    def line(row: Report) -> list[str]:
        refresh = f"{1000 * row['refresh_seconds']['minimum']:.1f}"
        cells = [row["network"], str(row["batch"]), row["backend"], _rate(row["evaluations"])]
        cells += [f"{row['ratio']['minimum']:.2f}", refresh]
        return cells + [f"{row['error'][name]['max']:.0e}" for name in errors]

    return header, (line(row) for row in rows)


def _atari_lines(rows: list[Report]) -> tuple[list[str], Iterator[list[str]]]:
    header = ["game", "backend", "", "per second", "in a run", "GFLOP", "GFLOP/s", "share of the time"]

    def lines() -> Iterator[list[str]]:
        for row in rows:
            ratio, run = row["updates_per_step"], row["run"]["steps_per_second"]
            flop, speed = row["gflop"], row["gflops"]
            search = flop["root"] + row["simulations"] * flop["recurrent"]
            yield [
                row["game"], row["backend"], "steps",
                f"{row['steps_per_second']:,.0f}", f"{run:,.1f}", f"{search:.3f}",
                "native" if speed["search"] is None else f"{speed['search']:,.1f}", _parts(row["acting"]),
            ]  # fmt: skip
            yield [
                "", row["precision"], "updates", f"{row['updates_per_second']:,.2f}", f"{run * ratio:,.2f}",
                f"{flop['update']:.1f}", f"{speed['update']:,.1f} of {row['peak_gflops']:,.0f}",
                _parts(row["learning"]),
            ]  # fmt: skip

    return header, lines()


def _parts(share: dict[str, float]) -> str:
    ordered = sorted(share.items(), key=lambda item: -item[1])
    return ", ".join(f"{name.replace('_', ' + ')} {part:.0%}" for name, part in ordered if part >= 0.005)


def _learner_lines(rows: list[Report]) -> tuple[list[str], Iterator[list[str]]]:
    header = ["preset", "batch", "precision", "updates/s", "samples/s", "share of the time"]

    def line(row: Report) -> list[str]:
        cells = [row["preset"], str(row["batch"]), row["precision"], _rate(row["updates"], "{:,.1f}")]
        return [*cells, f"{row['samples_per_second']['maximum']:,.0f}", _parts(row["share"])]

    return header, (line(row) for row in rows)


_NOTES = {
    "search": "Nanoseconds per simulation, fastest / median of the repetitions.",
    "search --network": "Fastest repetition; shares of the time.",
    "inference": "Fastest repetition; largest differences from the plain float32 model.",
    "atari": "Acting and learning, each alone; in a run the slower side sets the pace.",
    "learner": "Fastest repetition.",
}
_WORDS = ("policy", "network", "model", "backend", "preset", "precision", "game", "", "share of the time")
_LINES: dict[str, Callable[[list[Report]], tuple[list[str], Iterator[list[str]]]]] = {
    "search": _search_lines,
    "search --network": _network_lines,
    "inference": _inference_lines,
    "atari": _atari_lines,
    "learner": _learner_lines,
}


def _pair(values: dict[str, float], form: str) -> str:
    """Returns the best number and the median."""
    return " / ".join(form.format(value) for value in values.values())


def _ns(timing: Report) -> str:
    return _pair(timing["ns"], "{:,.0f}")


def _rate(timing: Report, form: str = "{:,.0f}") -> str:
    return form.format(timing["per_second"]["maximum"])
