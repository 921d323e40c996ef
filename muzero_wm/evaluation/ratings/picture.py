"""Ratings over training as a picture: a curve for each run, a line for everybody else (matplotlib, extra `plots`)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from muzero_wm.evaluation.plots import check_plot, draw_intervals, write_picture
from muzero_wm.evaluation.ratings.result import ArenaResult, Rated


def save_ratings(path: Path, result: ArenaResult) -> None:
    """Draws ratings over the updates that the weights have seen, with their intervals.

    Args:
        path: the picture, .png, .svg or .pdf.
        result: of an arena.

    Raises:
        PlotError: matplotlib is missing, or it cannot be written.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, points in _curves(result).items():
        points = sorted(points, key=lambda each: each.updates or 0)
        updates = [each.updates or 0 for each in points]
        [line] = axes.plot(updates, [each.rating for each in points], marker="o", markersize=3, label=name)
        low, high = [each.low for each in points], [each.high for each in points]
        draw_intervals(axes, np.array(updates), np.array(low), np.array(high), line.get_color())
    for each in result.players:
        if each.updates is None:
            axes.axhline(each.rating, color="0.6", linewidth=0.8, linestyle="--")
            axes.annotate(each.name, (1.0, each.rating), xycoords=("axes fraction", "data"), fontsize=8, va="center")
    axes.set_xlabel("updates")
    axes.set_ylabel(f"rating, {result.anchor} at 0")
    axes.set_title(f"{result.env}, {result.games} games", fontsize=10)
    axes.grid(alpha=0.3)
    if _curves(result):
        axes.legend(fontsize=8)
    write_picture(path, figure)


def _curves(result: ArenaResult) -> dict[str, list[Rated]]:
    """Returns the points of every run, of each number of simulations by itself."""
    curves: dict[str, list[Rated]] = defaultdict(list)
    for each in result.players:
        if each.run is not None:
            curves[f"{each.run}, {each.name.rpartition(':')[2]} simulations"].append(each)
    return curves
