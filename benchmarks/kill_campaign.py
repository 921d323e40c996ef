"""Kills one run with SIGKILL at random moments, resumes it each time, and compares its end with the run never killed.

Kills come while libraries load, while a checkpoint is read or written, and while the run trains. For example:
    python benchmarks/kill_campaign.py --kills 50 --json kills.json
    python benchmarks/kill_campaign.py --kills 3 --set acting.process=false learning.max_updates=60
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import describe

from muzero_wm.run.checkpoint import latest, load_checkpoint

ROOT = Path(__file__).parents[1]
SETTINGS = [
    "acting.process=true",
    "replay.priority_exponent=0.6",
    "replay.reanalyze_fraction=0.1",
    "run.checkpoint_every_minutes=0.02",
    "run.log_every_seconds=0.5",
]


def command(folder: Path, args: argparse.Namespace) -> list[str]:
    """Returns how the run is started, or gone on with where it has a checkpoint."""
    base = [sys.executable, "-m", "muzero_wm", "train", "--run-dir", str(folder)]
    if latest(folder / "checkpoints") is not None:
        return [*base, "--resume"]
    shutil.rmtree(folder, ignore_errors=True)  # killed before it had begun
    return [*base, args.preset, "--max-updates", str(args.updates), "--set", *SETTINGS, *args.set]


def start(folder: Path, args: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Starts the run in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command(folder, args), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT
    )


def finish(run: subprocess.Popen[bytes], checkpoints: Path) -> float:
    """Waits for a run that is left alone; returns the seconds until its first checkpoint."""
    begin, first = time.monotonic(), 0.0
    while run.poll() is None:
        if not first and latest(checkpoints) is not None:
            first = time.monotonic() - begin
        time.sleep(0.05)
    if run.returncode != 0:
        raise SystemExit(f"the run failed with code {run.returncode}:\n{run.communicate()[1].decode()}")
    return first


def fingerprint(folder: Path) -> str:
    """Returns a digest of everything a run ends with except its times: weights, teacher, optimiser, replay, actor."""
    state = load_checkpoint(folder / "checkpoints")
    del state["progress"]["elapsed"]
    digest = hashlib.sha256()

    def add(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key in sorted(value, key=str):
                add(value[key], f"{path}/{key}")
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                add(item, f"{path}/{index}")
        else:
            content = value.contiguous().numpy().tobytes() if hasattr(value, "numpy") else repr(value).encode()
            digest.update(path.encode() + content)

    add(state, "")
    return digest.hexdigest()


def campaign(folder: Path, args: argparse.Namespace, starting: float) -> dict[str, Any]:
    """Kills and resumes until the number is reached, then lets the run end; returns the counts."""
    moments = random.Random(args.seed)
    counts: dict[str, Any] = {
        "kills": 0,
        "before the first checkpoint": 0,
        "while a checkpoint was written": 0,
        "with progress": 0,
    }
    checkpoints = folder / "checkpoints"
    before = None
    while counts["kills"] < args.kills:
        run = start(folder, args)
        # one kill in four waits for a checkpoint that is being written; the others come at any moment
        until = time.monotonic() + moments.uniform(0.0, starting + args.longest)
        aims_at_write = moments.random() < 0.25
        while run.poll() is None and time.monotonic() < until:
            if aims_at_write and any(checkpoints.glob("*.tmp")):
                break
            time.sleep(0.0005 if aims_at_write else 0.01)
        writing = any(checkpoints.glob("*.tmp"))
        if run.poll() is not None:
            raise SystemExit(
                f"the run ended by itself with code {run.returncode} after {counts['kills']} kills; give it more "
                f"--updates\n{run.stderr.read().decode() if run.stderr else ''}"
            )
        run.kill()
        run.wait()
        counts["kills"] += 1
        counts["while a checkpoint was written"] += writing
        now = latest(checkpoints)
        counts["before the first checkpoint"] += now is None
        counts["with progress"] += now != before
        before = now
        print(f"kill {counts['kills']}: newest checkpoint {now}", flush=True)
    finish(start(folder, args), checkpoints)
    return counts


def main() -> None:
    """Runs the run never killed, then the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--preset", default="debug")
    parser.add_argument("--updates", type=int, default=4000, help="budget; must outlast the kills")
    parser.add_argument("--longest", type=float, default=4.0, help="seconds of training before a kill, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--set", action="extend", nargs="+", default=[], metavar="A.B=C")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        whole, killed = Path(scratch) / "whole", Path(scratch) / "killed"
        start_time = time.monotonic()
        starting = finish(start(whole, args), whole / "checkpoints")
        whole_seconds = time.monotonic() - start_time
        counts = campaign(killed, args, starting)
        same = fingerprint(whole) == fingerprint(killed)
        lines = [len((folder / "metrics.jsonl").read_text().splitlines()) for folder in (whole, killed)]
    report = {
        **counts,
        "same end": same,
        "updates": args.updates,
        "seconds never killed": round(whole_seconds, 1),
        "seconds in all": round(time.monotonic() - start_time, 1),
        "lines of metrics": lines,
        "machine": describe(),
    }
    print(json.dumps(report, indent=1))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))
    if not same:
        raise SystemExit("the run that was killed ended differently")


if __name__ == "__main__":
    main()
