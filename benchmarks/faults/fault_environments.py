"""Trains on environments that go wrong in the middle of a run, and looks at what is said and what is left.

A case passes when the run ends with exit code 2 and one line that names the environment, slot, reset seed and step,
without a traceback; when its checkpoint is intact and is the one that the line names; when the resumed run meets the
same fault with the same words; when it goes on to its end once the fault is switched off; and when no process is left.
Every step of the environment warns: none of that may be seen.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import faulty_worlds

from muzero_wm.basis.errors import UserError
from muzero_wm.basis.seeding import derive_seed, episode_seeds
from muzero_wm.storage.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]
SLOT = 5
STEPS_PER_ROUND = 20
SAYS = {
    "raise": "step raised RuntimeError: the simulator fell over",
    "nan-observation": "observation must be finite",
    "nan-reward": "reward must be finite",
    "shape": r"observation must have shape \(4,\), got \(3,\)",
    "mask": "action mask",
    "leave": "step raised SystemExit: 3",
    "hang": "step takes longer than acting.env_timeout_seconds, 2 s",
    "exit": r"the process of slots? [\d to]+ ended in step: exit code 3",
}
WAYS = {
    "inline": ["acting.process=false"],
    "process": ["acting.process=true"],
    "workers": ["acting.process=true", "acting.env_workers=2"],
}
# What takes its process down cannot be named from inside it: it needs a worker.
CASES = [(fault, way) for fault in SAYS for way in WAYS if fault != "exit" or way == "workers"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this campaign."""
    parser.add_argument("--at", type=int, default=500, help="step in which the fault strikes (default: 500)")
    parser.add_argument("--only", nargs="+", metavar="FAULT/WAY", help="some of the cases, such as hang/workers")
    parser.add_argument("--fast", action="store_true", help="do not resume")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Runs the campaign.

    Args:
        args: seed, at, only, fast.

    Returns:
        Counts by fault, and the failures.
    """
    counts: Counter[str] = Counter()
    failures: list[str] = []
    for fault, way in CASES:
        if args.only and f"{fault}/{way}" not in args.only:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            problems = try_case(Path(scratch) / "run", fault, way, args)
        counts[fault] += 1
        failures += [f"{fault}/{way}: {problem}" for problem in problems]
    return {"campaign": "environments", "cases": sum(counts.values()), "faults": dict(counts), "failures": failures}


def try_case(folder: Path, fault: str, way: str, args: argparse.Namespace) -> list[str]:
    """Trains until the fault strikes; returns what is wrong with what followed."""
    reset_seed = int(episode_seeds(derive_seed(args.seed, "envs"), SLOT, 0)[0])
    name = f"gym:faulty_worlds:World-v0(fault={fault!r}, at={args.at}, in_seed={reset_seed})"
    whole_rounds = (args.at - 1) // STEPS_PER_ROUND
    settings = [
        f"acting.steps_per_round={STEPS_PER_ROUND}", "learning.max_minutes=null",
        "run.checkpoint_every_minutes=0.000001",
        f"learning.max_updates={2 * whole_rounds}", "acting.random_openings=0", "search.discount=0.9",
        "replay.n_step=3", *WAYS[way], *(["acting.env_timeout_seconds=2"] if fault == "hang" else []),
    ]  # fmt: skip
    first = ["debug", "--env", name, "--seed", str(args.seed), "--set", *settings]
    said = []
    problems = []
    for words in [first] if args.fast else [first, ["--resume"]]:
        code, errors, left = train(folder, words)
        place = f"(slot {SLOT}, episode 0, reset seed {reset_seed}, step {args.at}); the run is saved"
        if code != 2 or len(errors) != 1 or name not in errors[0] or place not in errors[0]:
            problems.append(f"exit code {code} and {errors}")
        elif not re.search(SAYS[fault], errors[0]):
            problems.append(f"does not say {SAYS[fault]!r}: {errors[0]}")
        if left:
            problems.append(f"processes are left: {left}")
        try:
            saved = load_checkpoint(folder / "checkpoints")
        except UserError as error:
            return [*problems, str(error)]
        rounds = saved["progress"]["rounds"]
        if not 0 < rounds <= whole_rounds:
            problems.append(f"the checkpoint is of round {rounds}, expected one in [1, {whole_rounds}]")
        if not errors or not errors[0].endswith(f"the run is saved up to update {saved['learner']['updates']}"):
            problems.append(f"the checkpoint is of update {saved['learner']['updates']}")
        said.append([line.partition("; the run is saved")[0] for line in errors])
    if not args.fast:
        if said[0] != said[1]:
            problems.append(f"resumed, it says {said[1]} instead of {said[0]}")
        code, errors, _ = train(folder, ["--resume"], sound=True)
        if code != 0 or errors:
            problems.append(f"without the fault: exit code {code} and {errors}")
    return problems


def train(folder: Path, words: list[str], sound: bool = False) -> tuple[int, list[str], list[int]]:
    """Returns exit code and lines on standard error of a training, and the processes it left behind."""
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": path, **({faulty_worlds.SOUND: "1"} if sound else {})}
    command = [sys.executable, "-m", "muzero_wm", "train", "--run-dir", str(folder), *words]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as program:
        try:
            _, errors = program.communicate(timeout=300)
        finally:
            program.kill()
    return program.returncode, errors.splitlines(), left_of(program.pid)


def left_of(session: int, seconds: float = 5.0) -> list[int]:
    """Returns the processes of a session that are still there after a while."""
    deadline = time.monotonic() + seconds
    while (left := members(session)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def members(session: int) -> list[int]:
    """Returns the living processes of a session, none where /proc does not tell."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue  # it has just ended
        if int(of) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found
