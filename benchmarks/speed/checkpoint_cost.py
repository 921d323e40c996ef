"""What checkpoints cost: seconds, bytes and compression, at the default interval, while the game is really played.

    python benchmarks/speed/checkpoint_cost.py connect4 tictactoe --json cost.json

Plays and learns with a preset for some time, then measures what whole intervals bring: as many steps as were really
played per second, in a ring that fills up accordingly. Its episodes are those played, in other orders and with slightly
other policies and values, since exact copies would compress too well.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from muzero_wm import envs
from muzero_wm.bench.machine import describe
from muzero_wm.config.presets import load_config
from muzero_wm.learning.learner import Learner
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.trajectory import Trajectories
from muzero_wm.run.progress import Progress
from muzero_wm.storage.checkpoint import load_checkpoint, save_checkpoint
from muzero_wm.training import train


def main() -> None:
    """Prints one row for each preset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="+")
    parser.add_argument("--seconds", type=float, default=90.0, help="how long to play and learn (default: 90)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    rows = [measure(preset, args.seconds) for preset in args.presets]
    for row in rows:
        print(json.dumps(row))
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "machine": describe()}, indent=2) + "\n")


def measure(preset: str, seconds: float) -> dict[str, Any]:
    """Returns what the checkpoints of a preset cost."""
    config = load_config(preset, max_minutes=seconds / 60, overrides=["run.tensorboard=false"])
    with tempfile.TemporaryDirectory() as name:
        steps: list[tuple[float, int]] = []

        def note(learner: Learner, progress: Progress) -> None:
            if learner.updates:
                steps.append((progress.elapsed, progress.steps))

        train(config, Path(name) / "run", on_round=note)
        played = load_checkpoint(Path(name) / "run/checkpoints")
        config = load_config(preset)
        spec = envs.spec(config.env)
        learner = Learner(config, spec)
        learner.load_state_dict(played["learner"])
        source = ReplayBuffer(spec, config.replay, config.search.discount)
        source.load_state_dict(played["replay"])
        if len(steps) < 2:
            raise SystemExit(f"{preset}: no update within {seconds:g} seconds; give it more by --seconds")
        (first_time, first), (last_time, last) = steps[0], steps[-1]
        rate = (last - first) / (last_time - first_time)
        interval = 60.0 * config.run.checkpoint_every_minutes
        buffer = ReplayBuffer(spec, config.replay, config.search.discount)
        rng = np.random.default_rng(0)
        saves = []
        for step in range(4):  # the ring fills up; each save holds one more interval
            fill(buffer, source, int(rate * interval), rng)
            begin = time.perf_counter()
            payload = {"learner": learner.state_dict(), "replay": buffer.state_dict(), "env": spec.to_dict()}
            save_checkpoint(Path(name) / "cost", payload, step=step, keep=config.run.keep_checkpoints)
            saves.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        copy = ReplayBuffer(spec, config.replay, config.search.discount)
        copy.load_state_dict(load_checkpoint(Path(name) / "cost")["replay"])
        restore = time.perf_counter() - begin
        begin = time.perf_counter()
        payload = {"learner": learner.state_dict(), "replay": buffer.state_dict(), "env": spec.to_dict()}
        save_checkpoint(Path(name) / "cost", payload, step=9, keep=1)
        nothing_new = time.perf_counter() - begin
        buffer._packs.forget(buffer._used)
        begin = time.perf_counter()
        payload = {"learner": learner.state_dict(), "replay": buffer.state_dict(), "env": spec.to_dict()}
        save_checkpoint(Path(name) / "cost", payload, step=10, keep=1)
        everything_new = time.perf_counter() - begin
        sizes = {path.name.partition("-")[0]: 0 for path in (Path(name) / "cost").glob("*.mzw")}
        for path in (Path(name) / "cost").glob("*.mzw"):
            sizes[path.name.partition("-")[0]] += path.stat().st_size
    used = len(payload["replay"]["priority"])
    raw = sum(array[:used].nbytes for array in buffer.ring.values())
    return {
        "preset": preset,
        "steps_per_second": round(rate),
        "interval_seconds": interval,
        "slots_in_ring": used,
        "seconds_per_save": [round(second, 3) for second in saves],
        "share_of_run_time": round(max(saves) / interval, 5),
        "seconds_nothing_new": round(nothing_new, 3),
        "seconds_everything_new": round(everything_new, 3),
        "seconds_to_restore": round(restore, 3),
        "mib_replay_in_memory": round(raw / 2**20, 1),
        "mib_replay_on_disk": round(sizes["episodes"] / 2**20, 1),
        "compression": round(raw / sizes["episodes"], 1),
        "mib_state": round(sizes["state"] / 2**20, 2),
    }


def fill(buffer: ReplayBuffer, source: ReplayBuffer, steps: int, rng: np.random.Generator) -> None:
    """Stores whole episodes of another ring, in random order, until there are so many steps."""
    starts = np.cumsum([0, *source._segments])[:-1]
    lengths = np.array(source._segments)
    order = source._order()
    stored = 0
    while stored < steps:
        chosen = rng.permutation(len(starts))[: max(1, min(len(starts), (steps - stored) // 8))]
        slots = order[np.concatenate([np.arange(starts[i], starts[i] + lengths[i]) for i in chosen])]
        pack = {name: source.ring[name][slots] for name in
                ("observation", "legal_actions", "to_play", "action", "reward", "policy", "value")}  # fmt: skip
        # other searches give other numbers: repeated ones would compress too well
        pack["policy"] = pack["policy"] * (1 + 1e-3 * rng.random(pack["policy"].shape, np.float32))
        pack["value"] = pack["value"] + 1e-3 * rng.random(pack["value"].shape, np.float32)
        ends = np.cumsum(lengths[chosen]) - 1
        terminated = source.ring["terminated"][slots][ends]
        buffer.extend(Trajectories(lengths=lengths[chosen] - 1, terminated=terminated, **pack))
        stored += int((lengths[chosen] - 1).sum())


if __name__ == "__main__":
    main()
