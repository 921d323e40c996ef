"""Curves as a picture, by matplotlib, which is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import UserError
from muzero_wm.storage.files import why_no_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
_NEEDS = "pip install 'muzero-wm[plots]'"

Numbers = NDArray[np.float64]


class PlotError(UserError):
    """Says why there is no picture."""


@dataclass(frozen=True)
class Curve:
    """A number that was measured again and again.

    Attributes:
        x: [n] by the name of an axis, for example updates and minutes; each is a column of panels.
        y: [n], what was measured.
        name: of y; each is a row of panels.
        low: [n], the lower ends of its intervals.
        high: [n], the upper ones.
        label: in the legend; curves of one label have one colour. The key of the curve where empty.
    """

    x: Mapping[str, Numbers]
    y: Numbers
    name: str
    low: Numbers | None = None
    high: Numbers | None = None
    label: str = ""


def check_plot(path: Path) -> None:
    """Checks that a picture can be drawn and written, before the work that fills it.

    Raises:
        PlotError: its format is unknown, its folder is not there or takes no files, or matplotlib is missing.
    """
    if reason := why_no_file(path, FORMATS):
        raise PlotError(f"--plot {path}: {reason}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise PlotError(f"--plot {path}: a picture needs {error.name}: {_NEEDS}") from None


def save_curves(path: Path, curves: Mapping[str, Curve]) -> None:
    """Draws curves and writes the picture, whole or not at all.

    Args:
        path: the file, .png, .svg or .pdf.
        curves: by name, at least one.

    Raises:
        PlotError: there is no curve, matplotlib is missing, or the file cannot be written.
    """
    check_plot(path)
    if not curves:
        raise PlotError(f"--plot {path}: there is nothing to draw")
    from matplotlib.figure import Figure  # without pyplot: no window, no state of the process

    rows = list(dict.fromkeys(curve.name for curve in curves.values()))
    columns = list(dict.fromkeys(axis for curve in curves.values() for axis in curve.x))
    labels = list(dict.fromkeys(curve.label or key for key, curve in curves.items()))
    figure = Figure(figsize=(4.2 * len(columns), 2.8 * len(rows) + 0.4), layout="constrained")
    panels = figure.subplots(len(rows), len(columns), squeeze=False, sharex="col", sharey="row")
    lines = {}
    for key, curve in curves.items():
        label = curve.label or key
        colour = f"C{labels.index(label) % 10}"
        for axis, x in curve.x.items():
            panel = panels[rows.index(curve.name), columns.index(axis)]
            mark = "o" if len(x) < 3 else None  # a line through one point cannot be seen
            (lines[label],) = panel.plot(x, curve.y, color=colour, linewidth=1.2, marker=mark)
            if curve.low is not None and curve.high is not None:
                draw_intervals(panel, x, curve.low, curve.high, colour)
    for i, name in enumerate(rows):
        panels[i, 0].set_ylabel(name, fontsize=8)
        for j, axis in enumerate(columns):
            panels[i, j].grid(alpha=0.3)
            panels[i, j].set_xlabel(axis, fontsize=8)
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=min(4, len(labels)), fontsize=8)
    write_picture(path, figure)


def draw_intervals(axes: Axes, x: Numbers, low: Numbers, high: Numbers, colour: Any) -> None:
    """Draws the intervals of a curve: a band, or a bar where one point alone would make a band of no width."""
    if len(x) > 1:
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    else:
        axes.vlines(x, low, high, color=colour, alpha=0.4)


def write_picture(path: Path, figure: Figure) -> None:
    """Writes a figure, whole or not at all.

    Args:
        path: the file, .png, .svg or .pdf.
        figure: what is drawn.

    Raises:
        PlotError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        figure.savefig(temporary, dpi=110)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise PlotError(f"--plot {path}: cannot be written: {error.strerror or error}") from None
