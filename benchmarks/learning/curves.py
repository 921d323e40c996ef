"""Returns over time of finished runs, as a table and as a picture: what training looked like, failures too.

For example:
    python benchmarks/learning/curves.py runs/lunar/seed-* --picture docs/lunar.png
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

PARTS = 8


def read_curve(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns minutes and mean returns of the last hundred episodes of the quieter half, from the metrics of a run."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "episode/return" in row]
    return (
        np.array([row["elapsed"] / 60.0 for row in rows]),
        np.array([row["episode/return"] for row in rows]),
    )


def parts(minutes: NDArray[np.float64], returns: NDArray[np.float64]) -> list[str]:
    """Returns the mean return in each of `PARTS` equal parts of the time."""
    edges = np.linspace(0.0, float(minutes[-1]) + 1e-9, PARTS + 1)
    means = []
    for low, high in pairwise(edges):
        inside = returns[(minutes >= low) & (minutes < high)]
        means.append(f"{inside.mean():.4g}" if len(inside) else "-")
    return means


def environment(folder: Path) -> str:
    """Returns the name of the environment of a run."""
    return str(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["env"])


def draw(curves: dict[Path, tuple[NDArray[np.float64], NDArray[np.float64]]], path: Path) -> None:
    """Draws the curves, one panel for each environment, runs of the same one together."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels: dict[str, list[Path]] = {}
    for folder in curves:
        panels.setdefault(environment(folder), []).append(folder)
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4 * columns, 2.7 * rows), layout="constrained", squeeze=False
    )
    for axis, (name, folders) in zip(axes.flat, panels.items(), strict=False):
        for folder in folders:
            axis.plot(*curves[folder], linewidth=1.2)
        axis.set_title(name, fontsize=9)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    figure.supxlabel("minutes", fontsize=9)
    figure.supylabel("mean return of recent episodes", fontsize=9)
    figure.savefig(path, dpi=90)


def main() -> None:
    """Prints one row for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    curves = {folder: read_curve(folder) for folder in args.runs}
    table = Table(title=f"mean return of recent episodes in {PARTS} equal parts of the time")
    for name in ("run", "minutes", *(str(i + 1) for i in range(PARTS))):
        table.add_column(name, justify="right")
    for name, (minutes, returns) in curves.items():
        table.add_row(str(name), f"{minutes[-1]:.1f}", *parts(minutes, returns))
    Console(width=140).print(table)
    if args.picture is not None:
        draw(curves, args.picture)


if __name__ == "__main__":
    main()
