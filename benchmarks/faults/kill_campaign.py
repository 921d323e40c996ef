"""Kills one run with SIGKILL at random moments, resumes it each time, and compares its end with the run never killed.

Kills come while libraries load, while a checkpoint is read or written, and while the run trains. For example:
    python benchmarks/faults/kill_campaign.py --kills 50 --json kills.json
    python benchmarks/faults/kill_campaign.py --kills 3 --set acting.process=false learning.max_updates=60
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

import numpy as np

from muzero_wm.bench.machine import describe
from muzero_wm.replay.packs import contents
from muzero_wm.storage.checkpoint import latest, load_checkpoint

ROOT = Path(__file__).parents[2]
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
    """Starts the run in a process of its own; what it says goes to a file beside its folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with said(folder).open("wb") as out:
        return subprocess.Popen(
            command(folder, args), env=environment, stdout=out, stderr=subprocess.STDOUT, cwd=folder.parent
        )


def said(folder: Path) -> Path:
    """Returns the file with what the run says."""
    return folder.with_suffix(".out")


def wait_for_training(run: subprocess.Popen[bytes], folder: Path) -> None:
    """Returns when rounds are being played, or when the run has ended."""
    metrics, before = folder / "metrics.jsonl", None
    while run.poll() is None:
        if b"inference:" in said(folder).read_bytes():  # from here on lines are only added
            size = metrics.stat().st_size
            before = size if before is None else before
            if size > before:
                return
        time.sleep(0.005)


def finish(run: subprocess.Popen[bytes], folder: Path) -> float:
    """Waits for a run that is left alone; returns the seconds until it trained."""
    begin = time.monotonic()
    wait_for_training(run, folder)
    starting = time.monotonic() - begin
    if run.wait() != 0:
        raise SystemExit(f"the run failed with code {run.returncode}:\n{said(folder).read_text()}")
    return starting


def fingerprint(folder: Path) -> str:
    """Returns a digest of everything a run ends with except its times: weights, teacher, optimiser, replay, actor."""
    state = load_checkpoint(folder / "checkpoints")
    del state["progress"]["elapsed"]
    state["replay"] = contents(state["replay"])
    digest = hashlib.sha256()

    def add(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key in sorted(value, key=str):
                add(value[key], f"{path}/{key}")
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                add(item, f"{path}/{index}")
        else:
            content = np.ascontiguousarray(value).tobytes() if hasattr(value, "shape") else repr(value).encode()
            digest.update(path.encode() + content)

    add(state, "")
    return digest.hexdigest()


def campaign(folder: Path, args: argparse.Namespace, starting: float) -> dict[str, int]:
    """Kills and resumes until the number is reached, then lets the run end; returns the counts.

    A quarter of the kills comes while the run starts, a quarter while a checkpoint is being written, the others at any
    moment of the training.
    """
    moments = random.Random(args.seed)
    counts = dict.fromkeys(("kills", "while starting", "while a checkpoint was written", "after new checkpoints"), 0)
    checkpoints = folder / "checkpoints"
    before = None
    while counts["kills"] < args.kills:
        kind = moments.choice(("start", "write", "any", "any"))
        wait = moments.uniform(0.0, starting if kind == "start" else args.longest)
        run = start(folder, args)
        if kind != "start":
            wait_for_training(run, folder)
        until = time.monotonic() + (10.0 * args.longest if kind == "write" else wait)
        while run.poll() is None and time.monotonic() < until:
            if kind == "write" and any(checkpoints.glob("*tmp*")):
                break
            time.sleep(0.0005 if kind == "write" else 0.005)
        writing = any(checkpoints.glob("*tmp*"))
        if run.poll() is not None:
            raise SystemExit(
                f"the run ended by itself with code {run.returncode} after {counts['kills']} kills; did it have "
                f"enough --updates?\n{said(folder).read_text()}"
            )
        run.kill()
        run.wait()
        now = latest(checkpoints)
        counts["kills"] += 1
        counts["while starting"] += kind == "start"
        counts["while a checkpoint was written"] += writing
        counts["after new checkpoints"] += now != before
        before = now
        print(f"kill {counts['kills']}: newest checkpoint {now}", flush=True)
    finish(start(folder, args), folder)
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
        starting = finish(start(whole, args), whole)
        whole_seconds = time.monotonic() - start_time
        counts = campaign(killed, args, starting)
        same = fingerprint(whole) == fingerprint(killed)
    report = {
        **counts,
        "same end": same,
        "updates": args.updates,
        "seconds never killed": round(whole_seconds, 1),
        "seconds in all": round(time.monotonic() - start_time, 1),
        "machine": describe(),
    }
    print(json.dumps(report, indent=1))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))
    if not same:
        raise SystemExit("the run that was killed ended differently")


if __name__ == "__main__":
    main()
