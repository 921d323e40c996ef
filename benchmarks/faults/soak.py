"""Trains one preset for a while and watches what it costs: speed, memory, threads, files, and the run folder.

For example:
    python benchmarks/faults/soak.py connect4 --minutes 20 --json soak.json --picture docs/soak.png
The verdict compares straight lines through everything after the warm-up: a run is flat when over the time watched it
grows by less than the limits below.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from muzero_wm.bench.machine import describe

ROOT = Path(__file__).parents[2]
# Largest change after the warm-up, in per cent of the mean; speeds may rise but not fall.
LIMITS = {"steps per second": -10.0, "updates per second": -10.0, "learner MiB": 5.0, "actor MiB": 5.0}
ENDING = 10.0  # seconds at the end that are not watched: the processes go one after the other
COUNTS = ("learner threads", "learner files", "actor threads", "actor files")


def look(pid: int, name: str) -> dict[str, float]:
    """Returns memory, threads and open files of a process; nothing when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return {
            f"{name} MiB": int(fields["VmRSS"].split()[0]) / 1024,
            f"{name} threads": int(fields["Threads"]),
            f"{name} files": len(os.listdir(f"/proc/{pid}/fd")),
        }
    except (OSError, KeyError):
        return {}


def actor_of(pid: int) -> int | None:
    """Returns the acting process: the child that uses most memory."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    sizes = {int(child): look(int(child), "c").get("c MiB", 0.0) for child in children}
    return max(sizes, key=lambda child: sizes[child], default=None)


def folder_sizes(folder: Path) -> dict[str, float]:
    """Returns the size of each kind of file in a run folder, in MiB."""
    kinds = {"metrics MiB": "metrics.jsonl", "tensorboard MiB": "events.*", "checkpoints MiB": "checkpoints/**/*"}
    sizes = {}
    for name, pattern in kinds.items():
        total = 0
        for path in folder.glob(pattern):
            try:
                total += path.stat().st_size
            except OSError:
                continue  # a checkpoint that was just replaced
        sizes[name] = total / 2**20
    return sizes


def watch(folder: Path, args: argparse.Namespace) -> list[dict[str, float]]:
    """Trains in a process of its own; returns one row of figures per interval."""
    command = [sys.executable, "-m", "muzero_wm", "train", args.preset, "--run-dir", str(folder)]
    command += [
        "--max-minutes",
        str(args.minutes),
        "--seed",
        str(args.seed),
        *(["--set", *args.set] if args.set else []),
    ]
    rows: list[dict[str, float]] = []
    run = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    try:
        begin = time.monotonic()
        while run.poll() is None:
            time.sleep(args.every)
            actor = actor_of(run.pid)
            row = {"seconds": time.monotonic() - begin, **look(run.pid, "learner"), **folder_sizes(folder)}
            row |= look(actor, "actor") if actor is not None else {}
            rows.append(row)
    finally:
        if run.poll() is None:
            run.send_signal(signal.SIGINT)
            run.wait()
    if run.returncode != 0:
        raise SystemExit(f"the run ended with code {run.returncode}")
    return [row for row in rows if row["seconds"] < rows[-1]["seconds"] - ENDING]


def speeds(folder: Path, every: float) -> list[dict[str, float]]:
    """Returns steps and updates per second over stretches of the run, from its own metrics."""
    rows, last = [], {"elapsed": 0.0, "steps": 0, "updates": 0}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        now = json.loads(line)
        seconds = now["elapsed"] - last["elapsed"]
        if seconds >= every:
            row = {f"{name} per second": (now[name] - last[name]) / seconds for name in ("steps", "updates")}
            rows.append({"seconds": now["elapsed"], "replay steps": now["replay/steps"], **row})
            last = now
    return rows


def judge(rows: list[dict[str, float]], names: list[str], warm_up: float) -> dict[str, dict[str, Any]]:
    """Returns mean, change over the time watched in per cent, and verdict of each figure after the warm-up."""
    verdicts = {}
    for name in names:
        points = np.array([(row["seconds"], row[name]) for row in rows if row["seconds"] > warm_up and name in row])
        if len(points) < 4:
            continue
        seconds, values = points.T
        mean = float(values.mean())
        change = float(np.polyfit(seconds, values, 1)[0] * (seconds[-1] - seconds[0]) / mean * 100) if mean else 0.0
        verdict: dict[str, Any] = {"mean": round(mean, 3), "change %": round(change, 2)}
        if name in LIMITS:
            limit = LIMITS[name]
            verdict["flat"] = change > limit if limit < 0 else change < limit
        elif name in COUNTS:
            half = len(values) // 2
            verdict["flat"] = bool(values[half:].max() <= values[:half].max())
        verdicts[name] = verdict
    return verdicts


def draw(rows: list[dict[str, float]], pace: list[dict[str, float]], path: Path, title: str) -> None:
    """Draws speed, memory, counts and sizes over time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = [
        (pace, ["steps per second"], "positions per second"),
        (pace, ["updates per second"], "updates per second"),
        (rows, ["learner MiB", "actor MiB"], "resident memory, MiB"),
        (rows, list(COUNTS), "threads and open files"),
        (pace, ["replay steps"], "positions in the replay"),
        (rows, ["metrics MiB", "tensorboard MiB", "checkpoints MiB"], "run folder, MiB"),
    ]
    figure, axes = plt.subplots(3, 2, figsize=(10, 9), sharex=True)
    for axis, (source, names, label) in zip(axes.flat, panels, strict=True):
        for name in names:
            points = [(row["seconds"] / 60, row[name]) for row in source if name in row]
            if points:
                axis.plot(*zip(*points, strict=True), label=name, linewidth=1)
        axis.set_ylim(bottom=0)
        axis.set_title(label, fontsize=10)
        if len(names) > 1:
            axis.legend(fontsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("minutes")
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Watches one run and says whether its cost is flat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="connect4")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--warm-up", type=float, help="minutes left out of the verdict (default: a third)")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="extend", nargs="+", default=[], metavar="A.B=C")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        rows = watch(folder, args)
        pace = speeds(folder, max(10.0, args.every))
    warm_up = 60.0 * (args.minutes / 3.0 if args.warm_up is None else args.warm_up)
    verdicts = judge(rows, ["learner MiB", "actor MiB", *COUNTS, "metrics MiB", "tensorboard MiB"], warm_up)
    verdicts |= judge(pace, ["steps per second", "updates per second"], warm_up)
    flat = all(verdict.get("flat", True) for verdict in verdicts.values())
    report = {"preset": args.preset, "minutes": args.minutes, "machine": describe(), "flat": flat, "verdicts": verdicts}
    print(json.dumps(report, indent=1))
    if args.json:
        args.json.write_text(json.dumps({**report, "rows": rows, "speeds": pace}, indent=1))
    if args.picture:
        draw(rows, pace, args.picture, f"{args.preset}, {args.minutes:g} minutes")


if __name__ == "__main__":
    main()
