"""What a run has logged of how well it plays, as curves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from muzero_wm.evaluation.plots import Curve

METRICS = "metrics.jsonl"
MEASURES = {
    "evaluation/return": "evaluation return",
    "evaluation/score": "evaluation score",
    "episode/return": "training return",
}
AXES = {"updates": ("updates", 1.0), "steps": ("steps", 1.0), "minutes": ("elapsed", 60.0)}


class Learning(NamedTuple):
    """What the log of a run says.

    Attributes:
        curves: by the name of a measure in `MEASURES`, as far as the run has it.
        last: updates, steps and minutes of the last line; none where there is no line.
        doubts: what was left out, one sentence each.
    """

    curves: dict[str, Curve]
    last: dict[str, float]
    doubts: list[str]


def read_learning(folder: Path) -> Learning:
    """Reads the log of a run.

    Args:
        folder: of the run.

    Returns:
        Its curves. A line that is no JSON object, as the last one of a run that was killed may be, is left out and
        told; so is a folder without a log, and a log without a curve.
    """
    path = folder / METRICS
    if not path.is_file():
        return Learning({}, {}, [f"{folder}: has no {METRICS}, so there is no learning curve"])
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows, broken = [], []
    for number, line in enumerate(lines, 1):
        row = _row(line)
        if row is None:
            broken.append(number)
        else:
            rows.append(row)
    doubts = []
    if broken:
        what = f"line {broken[0]}" if len(broken) == 1 else f"{len(broken)} lines, the first of them {broken[0]},"
        doubts.append(f"{path}: {what} cannot be read and was left out")
    if not rows:
        doubts.append(f"{path}: has no line yet, so there is no learning curve")
        return Learning({}, {}, doubts)
    curves = {}
    for measure, name in MEASURES.items():
        known = [row for row in rows if _is_number(row.get(measure))]
        if known:
            x = {axis: np.array([row[key] / unit for row in known]) for axis, (key, unit) in AXES.items()}
            curves[measure] = Curve(x, np.array([float(row[measure]) for row in known]), name)
    if not curves:
        doubts.append(f"{path}: no evaluation, so there is no learning curve; run.evaluate_every_minutes logs them")
    return Learning(curves, {axis: rows[-1][key] / unit for axis, (key, unit) in AXES.items()}, doubts)


def _row(line: str) -> dict[str, Any] | None:
    """Returns a line of the log, None where it is none."""
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return None
    if not isinstance(row, dict) or not all(_is_number(row.get(key)) for key, _ in AXES.values()):
        return None
    return row


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
