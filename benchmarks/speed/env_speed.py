"""Speed of one game written twice: as a Gymnasium environment and as Numba kernels.

    PYTHONPATH=examples python benchmarks/speed/env_speed.py --games 1 64 1024 --json env_speed.json

Both forms of `examples/connect3_*.py` play random legal games in lockstep; only `step` is timed, with all that it hands
over: observations, legal moves, rewards, and the next games. The forms take turns, and medians count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from muzero_wm import envs
from muzero_wm.bench.machine import describe

FORMS = ("connect3_gym:make", "connect3_numba:make")


def steps_per_second(name: str, games: int, seconds: float, seed: int) -> float:
    """Plays random games for a while.

    Args:
        name: of the environment.
        games: n, played in lockstep.
        seconds: spent in `step`.
        seed: of the moves.

    Returns:
        Moves per second, those of all games together.
    """
    rng = np.random.default_rng(seed)
    env = envs.make(name, games, seed)
    step, spent, rounds = env.reset(), 0.0, 0
    while spent < seconds:
        actions = np.where(step.legal_actions, rng.random(step.legal_actions.shape), -1.0).argmax(axis=1)
        start = time.perf_counter()
        step = env.step(actions)
        spent += time.perf_counter() - start
        rounds += 1
    env.close()
    return games * rounds / spent


def main() -> None:
    """Measures every number of games and prints one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, nargs="+", default=[1, 64, 1024], help="in lockstep (default: 1 64 1024)")
    parser.add_argument("--rounds", type=int, default=7, help="in which the forms take turns (default: 7)")
    parser.add_argument("--seconds", type=float, default=0.3, help="in step, for each measurement (default: 0.3)")
    parser.add_argument("--seed", type=int, default=0, help="of the moves (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements there")
    args = parser.parse_args()
    rows = []
    print(f"{'games':>6} {'Gymnasium':>12} {'Numba':>12} {'ratio':>7}   steps/s, medians of {args.rounds}")
    for games in args.games:
        pairs = [
            [steps_per_second(name, games, args.seconds, args.seed + turn) for name in FORMS]
            for turn in range(args.rounds)
        ]
        gym, numba = (statistics.median(speeds) for speeds in zip(*pairs, strict=True))
        ratios = sorted(fast / slow for slow, fast in pairs)
        rows.append({"games": games, "gymnasium": gym, "numba": numba, "ratios": ratios})
        print(f"{games:6d} {gym:12,.0f} {numba:12,.0f} {statistics.median(ratios):7.3g}", flush=True)
    if args.json:
        record = {"machine": describe(), "rounds": args.rounds, "seconds": args.seconds, "seed": args.seed}
        args.json.write_text(json.dumps(record | {"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
