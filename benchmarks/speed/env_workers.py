"""Times environments stepped in this process and in workers, in turn, and keeps the best round of each.

For example:
    python benchmarks/speed/env_workers.py gym:CartPole-v1 gym:LunarLander-v3 --workers 0 1 2
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from muzero_wm import envs
from muzero_wm.bench.machine import describe


def steps_per_second(env: envs.BatchedEnv, seconds: float) -> float:
    """Returns how many steps of single environments are made in a second, with random actions."""
    step, rng, made = env.reset(), np.random.default_rng(0), 0
    begin = time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < seconds:
        action = np.argmax(rng.random(step.legal_actions.shape) * step.legal_actions, axis=1)
        step = env.step(action)
        made += env.num_envs
    return made / elapsed


def main() -> None:
    """Prints one line for each environment and number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    best: dict[str, float] = {}
    for name in args.names:
        made = {workers: envs.make(name, args.num_envs, workers=workers) for workers in args.workers}
        for _ in range(args.rounds):
            for workers, env in made.items():
                key = f"{name}, {args.num_envs} slots, {workers} workers"
                best[key] = max(best.get(key, 0.0), steps_per_second(env, args.seconds))
        for env in made.values():
            env.close()
    for key, value in best.items():
        print(f"{key}: {value:,.0f} steps/s")
    if args.json:
        args.json.write_text(json.dumps({"steps_per_second": best, "machine": describe()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
