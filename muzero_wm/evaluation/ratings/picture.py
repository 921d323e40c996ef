"""Ratings over training as a picture: a curve for each run, a line for everybody else (matplotlib, extra `plots`)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from muzero_wm.basis.errors import UserError
from muzero_wm.evaluation.ratings.result import ArenaResult, Rated
from muzero_wm.storage.files import why_not_writable

FORMATS = (".png", ".svg")


def check_picture(path: Path) -> None:
    """Checks that a picture can be written, before anything is played.

    Raises:
        UserError: it is of no format that is known, its folder is not there, or matplotlib is missing.
    """
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--plot {path}: expected a file that ends with {' or '.join(FORMATS)}")
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"--plot {path}: expected a file in a folder that is there")
    if reason := why_not_writable(path.parent):
        raise UserError(f"--plot {path}: the folder {path.parent} cannot be written to: {reason}")
    try:
        import matplotlib

        assert matplotlib.__version__
    except ImportError:
        raise UserError(f"--plot {path}: a plot needs matplotlib: pip install 'muzero-wm[plots]'") from None


def save_ratings(path: Path, result: ArenaResult) -> None:
    """Draws ratings over the updates that the weights have seen, with their intervals.

    Args:
        path: the picture, .png or .svg.
        result: of an arena.

    Raises:
        UserError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, points in _curves(result).items():
        points = sorted(points, key=lambda each: each.updates or 0)
        updates = [each.updates or 0 for each in points]
        [line] = axes.plot(updates, [each.rating for each in points], marker="o", markersize=3, label=name)
        low, high = [each.low for each in points], [each.high for each in points]
        axes.fill_between(updates, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
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
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=150)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"--plot {path}: cannot be written: {error.strerror}") from None


def _curves(result: ArenaResult) -> dict[str, list[Rated]]:
    """Returns the points of every run, of each number of simulations by itself."""
    curves: dict[str, list[Rated]] = defaultdict(list)
    for each in result.players:
        if each.run is not None:
            curves[f"{each.run}, {each.name.rpartition(':')[2]} simulations"].append(each)
    return curves
