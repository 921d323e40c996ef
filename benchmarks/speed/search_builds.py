"""Times the tree search of several builds of the planner, and of mctx, in turn.

    python benchmarks/speed/search_builds.py before=../old after=. clang=../clang --rounds 5 --json builds.json

Each build is a folder with a built `mcts/`. Every round runs each in a process of its own, so that a busy moment of the
machine meets all of them; `baseline` among the names of --sets repeats the last build with that instruction set. Where
mctx can be imported it runs the same cases, on one thread like ours. The network is free: see `muzero_wm.bench.search`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, sys, time
folder, seconds, models, cases = sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4])
sys.path.insert(0, folder)
import numpy as np
import mcts
assert mcts.__file__.startswith(folder), mcts.__file__
def measure(run, count):
    run()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times) / count * 1e9
def free(model, roots, actions):
    rng = np.random.default_rng(0)
    variants = 8 if model == "random" else 1
    logits = rng.normal(size=(variants, roots, actions)).astype(np.float32)
    values = rng.uniform(-1, 1, size=(variants, roots)).astype(np.float32)
    zeros, ones = np.zeros(roots, np.float32), np.ones(roots, np.float32)
    return [mcts.RecurrentOutput(zeros, ones, logits[i], values[i]) for i in range(variants)]
policies = {"puct": mcts.muzero_policy, "gumbel": mcts.gumbel_muzero_policy}
found = {}
for model in models:
    for policy, search in policies.items():
        for roots, actions, simulations in cases:
            outputs = free(model, roots, actions)
            root = mcts.RootOutput(outputs[0].prior_logits, outputs[0].value)
            if len(sys.argv) > 5:
                from muzero_wm.bench.peer import mctx_search
                run = mctx_search(policy, outputs, simulations, 0)
            else:
                network = lambda parent, action, node: outputs[node % len(outputs)]
                run = lambda: search(root, network, simulations, rng=0)
            found[f"{policy} {model} {roots},{actions},{simulations}"] = measure(run, roots * simulations)
print(json.dumps(found))
"""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}


def main() -> None:
    """Runs the rounds and prints a table of nanoseconds per simulation."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("builds", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--sets", nargs="*", default=[], help="instruction sets to repeat the last build with")
    parser.add_argument("--cases", nargs="+", default=["256,18,50", "64,82,200", "16,362,400", "1,9,50"])
    parser.add_argument("--models", nargs="+", default=["random"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each case in each round")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    builds = {name: (str(Path(folder).resolve()), {}) for name, folder in (b.split("=", 1) for b in arguments.builds)}
    last = list(builds.values())[-1][0]
    builds |= {name: (last, {"MCTS_INSTRUCTION_SET": name}) for name in arguments.sets}
    cases = [[int(number) for number in case.split(",")] for case in arguments.cases]
    settings = [str(arguments.seconds), json.dumps(arguments.models), json.dumps(cases)]
    runs = {name: ([folder, *settings], extra) for name, (folder, extra) in builds.items()}
    if importlib.util.find_spec("mctx"):
        runs["mctx"] = ([last, *settings, "mctx"], {})
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for _ in range(arguments.rounds):
        for name, (words, extra) in runs.items():
            command = [sys.executable, "-c", PROGRAM, *words]
            done = subprocess.run(
                command, env=os.environ | ONE_THREAD | extra, capture_output=True, text=True, check=True
            )
            rounds[name].append(json.loads(done.stdout))
    table = {
        case: {name: statistics.median(found[case] for found in rounds[name]) for name in runs}
        for case in rounds[next(iter(runs))][0]
    }
    for case, times in table.items():
        print(case.ljust(28), "  ".join(f"{name} {time:,.0f} ns" for name, time in times.items()))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"nanoseconds": table, "rounds": rounds}, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
