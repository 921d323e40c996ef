"""Fills a ring with pictures that are shown in stacks: bytes in memory and on the disk, and the time of a batch.

    python benchmarks/speed/frames.py synthetic breakout pong ms_pacman --json frames.json

Games need ale-py; random moves are played, each held for four emulated frames. What is played is repeated until there
are enough steps: farther apart than anything that compression could use. The ring that stores whole stacks beside it
holds the same steps and draws the same samples, in turn with the other.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muzero_wm.bench.machine import describe
from muzero_wm.config import ReplayConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.trajectory import Trajectories
from muzero_wm.storage.checkpoint import load_checkpoint, save_checkpoint

ACTIONS, SKIP, LONGEST = 18, 4, 1000


def main() -> None:
    """Prints one row for each source of frames."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", help="synthetic, or names of Atari games such as ms_pacman")
    parser.add_argument("--steps", type=int, default=100_000, help="in the ring (default: 100000)")
    parser.add_argument("--played", type=int, default=20_000, help="distinct frames of a game (default: 20000)")
    parser.add_argument("--frames", type=int, default=4, help="in a stack (default: 4)")
    parser.add_argument("--size", type=int, default=96, help="height and width of a frame (default: 96)")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--unroll", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=15, help="batches of each ring (default: 15)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    rows = []
    print(f"{'source':12} {'ring':>9} {'stacks':>9} {'batch':>9} {'of stacks':>9} {'on disk':>9} {'ratio':>6} "
          f"{'save':>7} {'load':>7}")  # fmt: skip
    for source in args.sources:
        row = measure(source, args)
        rows.append(row)
        print(f"{source:12} {row['mib']:5.0f} MiB {row['mib_of_stacks']:5.0f} MiB {row['batch_ms']:6.1f} ms "
              f"{row['batch_ms_of_stacks']:6.1f} ms {row['mib_on_disk']:5.0f} MiB {row['ratio']:6.1f} "
              f"{row['save_seconds']:5.1f} s {row['load_seconds']:5.1f} s", flush=True)  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "machine": describe()}, indent=2) + "\n")


def measure(source: str, args: argparse.Namespace) -> dict[str, Any]:
    """Returns the figures of one source of frames."""
    episodes = list(synthetic(args.played, args.size) if source == "synthetic" else game(source, args))
    config = ReplayConfig(max_mib=2**16, max_steps=args.steps, unroll_steps=args.unroll, n_step=5, terminal_fraction=0)
    rings = {}
    for frames in (args.frames, 1):
        shape = (args.frames, args.size, args.size)
        rings[frames] = ReplayBuffer(EnvSpec(source, shape, np.dtype(np.uint8), ACTIONS, 1, frames=frames), config, 1.0)
        fill(rings[frames], episodes, args.frames if frames == 1 else 1)
    once, whole = rings[args.frames], rings[1]
    times: dict[int, list[float]] = {id(ring): [] for ring in (once, whole)}
    rng = np.random.default_rng(0)
    for _ in range(args.rounds):
        slots = once.sample_slots(args.batch, rng).slot
        batches = []
        for ring in (once, whole):
            begin = time.perf_counter()
            batches.append(ring.batch(slots, 0.5, np.random.default_rng(0)))
            times[id(ring)].append(time.perf_counter() - begin)
        if not np.array_equal(batches[0].observation, batches[1].observation):
            raise SystemExit(f"{source}: the stacks differ")
    bytes_whole = whole.nbytes
    del whole, rings[1]
    with tempfile.TemporaryDirectory() as name:
        begin = time.perf_counter()
        save_checkpoint(Path(name), {"replay": once.state_dict()}, step=1, keep=1)
        saved = time.perf_counter() - begin
        on_disk = sum(path.stat().st_size for path in Path(name).iterdir())
        stored = sum(array.nbytes for array in once.ring.values())
        begin = time.perf_counter()
        once.load_state_dict(load_checkpoint(Path(name))["replay"])
        loaded = time.perf_counter() - begin
    batch, batch_whole = (float(np.median(row)) for row in times.values())
    return {
        "source": source,
        "steps": once.num_steps,
        "mib": once.nbytes / 2**20,
        "mib_of_stacks": bytes_whole / 2**20,
        "batch_ms": 1e3 * batch,
        "batch_ms_of_stacks": 1e3 * batch_whole,
        "mib_on_disk": on_disk / 2**20,
        "ratio": stored / on_disk,
        "save_seconds": saved,
        "load_seconds": loaded,
    }


def fill(ring: ReplayBuffer, episodes: list[NDArray[np.uint8]], stack: int) -> None:
    """Stores episodes [T + 1, size, size] over and over, in stacks of `stack` frames, until the ring is full."""
    rng, index = np.random.default_rng(1), 0
    while ring.total_steps + ring.total_episodes < ring.capacity:
        seen = episodes[index % len(episodes)]
        slots, index = len(seen), index + 1
        before = np.arange(slots)[:, None] + np.arange(1 - stack, 1)
        policy = rng.dirichlet(np.ones(ACTIONS), slots).astype(np.float32)
        policy[-1] = 0.0
        ring.extend(
            Trajectories(
                lengths=np.array([slots - 1]),
                terminated=np.array([True]),
                observation=seen[np.maximum(before, 0)],
                legal_actions=np.ones((slots, ACTIONS), np.bool_),
                to_play=np.zeros(slots, np.int8),
                action=np.append(rng.integers(0, ACTIONS, slots - 1), -1).astype(np.int32),
                reward=np.zeros(slots, np.float32),
                policy=policy,
                value=rng.normal(size=slots).astype(np.float32),
            )
        )


def synthetic(count: int, size: int) -> Iterator[NDArray[np.uint8]]:
    """Yields episodes of a still background, textured as no game's is, with three squares that move."""
    rng = np.random.default_rng(0)
    for _ in range(0, count, LONGEST):
        ground = rng.integers(0, 256, (size, size)).astype(np.uint8)
        place, speed = rng.uniform(0, size - 8, (3, 2)), rng.uniform(-3, 3, (3, 2))
        seen = np.repeat(ground[None], LONGEST, 0)
        for t, shown in enumerate(seen):
            for y, x in ((place + t * speed) % (size - 8)).astype(int):
                shown[y : y + 8, x : x + 8] = 200
        yield seen


def game(name: str, args: argparse.Namespace) -> Iterator[NDArray[np.uint8]]:
    """Yields episodes of an Atari game played at random, grey and of the wanted size."""
    import ale_py

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale, rng, made = ale_py.ALEInterface(), np.random.default_rng(0), 0
    ale.setInt("random_seed", 0)
    ale.loadROM(ale_py.roms.get_rom_path(name))
    actions = ale.getMinimalActionSet()
    while made < args.played:
        ale.reset_game()
        screens = [ale.getScreenGrayscale()]
        while not ale.game_over() and len(screens) < LONGEST:
            action = rng.choice(len(actions))
            for _ in range(SKIP - 1):
                ale.act(actions[action])
            before = ale.getScreenGrayscale()
            ale.act(actions[action])
            screens.append(np.maximum(before, ale.getScreenGrayscale()))
        pictures = torch.from_numpy(np.stack(screens))[:, None].float()
        small = torch.nn.functional.interpolate(pictures, (args.size, args.size), mode="area")
        made += len(screens)
        yield small[:, 0].round().to(torch.uint8).numpy()


if __name__ == "__main__":
    main()
