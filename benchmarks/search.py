"""Times the tree search alone: the network is free, it returns arrays made beforehand.

    python benchmarks/search.py --json search.json
    python benchmarks/search.py --model constant --only 64,82,200

Two free networks. `random` gives independent values, so that PUCT follows the best so far into long chains; `constant`
gives every node the same value, so that the prior decides and trees are wide. Learnt networks lie between. The mean
depth of a simulation is printed beside the times because it explains them. If mctx can be imported, it runs the same
cases on one thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import mcts

CASES = ((1, 9, 50), (8, 18, 50), (256, 18, 50), (256, 7, 100), (64, 82, 200), (16, 362, 400))
POLICIES = {"puct": mcts.muzero_policy, "gumbel": mcts.gumbel_muzero_policy}
VARIANTS = 8


def make_outputs(model: str, num_roots: int, num_actions: int, seed: int) -> list[mcts.RecurrentOutput]:
    """Makes the answers the free network gives in turn."""
    rng = np.random.default_rng(seed)
    variants = VARIANTS if model == "random" else 1
    logits = rng.normal(size=(variants, num_roots, num_actions)).astype(np.float32)
    values = rng.uniform(-1, 1, size=(variants, num_roots)).astype(np.float32)
    zeros, ones = np.zeros(num_roots, np.float32), np.ones(num_roots, np.float32)
    return [mcts.RecurrentOutput(zeros, ones, logits[i], values[i]) for i in range(variants)]


def mean_depth(tree: mcts.Tree) -> float:
    """Returns the mean number of edges from the root to the node a simulation evaluates."""
    depth = np.zeros(tree.parents.shape, np.int64)
    rows = np.arange(tree.num_roots)
    for node in range(1, tree.num_nodes):
        depth[:, node] = depth[rows, tree.parents[:, node]] + 1
    return float(depth[:, 1:].mean())


def best_time(run: Callable[[], Any], min_seconds: float) -> float:
    """Returns the shortest of at least three runs that together take a while, in seconds."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < min_seconds:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def time_ours(
    policy: str, model: str, case: tuple[int, int, int], seed: int, min_seconds: float, threads: int
) -> dict[str, Any]:
    """Times one case with this package, everything between the arguments and the result included."""
    num_roots, num_actions, num_simulations = case
    outputs = make_outputs(model, num_roots, num_actions, seed)
    root = mcts.RootOutput(outputs[0].prior_logits, outputs[0].value)

    def recurrent_fn(parent_index: np.ndarray, action: np.ndarray, node_index: int) -> mcts.RecurrentOutput:
        return outputs[node_index % len(outputs)]

    def run() -> mcts.SearchResult:
        return POLICIES[policy](root, recurrent_fn, num_simulations, rng=seed, num_threads=threads)

    depth = mean_depth(run().tree)
    seconds = best_time(run, min_seconds)
    return report("mcts", policy, model, case, seconds) | {"mean_depth": round(depth, 2)}


def time_mctx(policy: str, model: str, case: tuple[int, int, int], seed: int, min_seconds: float) -> dict[str, Any]:
    """Times the same case with mctx, compilation left out."""
    import jax
    import jax.numpy as jnp
    import mctx

    num_roots, num_actions, num_simulations = case
    outputs = make_outputs(model, num_roots, num_actions, seed)
    logits = jnp.stack([jnp.asarray(output.prior_logits) for output in outputs])
    values = jnp.stack([jnp.asarray(output.value) for output in outputs])

    def recurrent_fn(params: Any, key: Any, action: Any, embedding: Any) -> Any:
        which = embedding[:, 0] % len(outputs)
        rows = jnp.arange(num_roots)
        output = mctx.RecurrentFnOutput(
            reward=jnp.zeros(num_roots),
            discount=jnp.ones(num_roots),
            prior_logits=logits[which, rows],
            value=values[which, rows],
        )
        return output, embedding + action[:, None] + 1

    search = {"puct": mctx.muzero_policy, "gumbel": mctx.gumbel_muzero_policy}[policy]

    @jax.jit
    def run_jitted(key: Any) -> Any:
        root = mctx.RootFnOutput(
            prior_logits=logits[0], value=values[0], embedding=jnp.zeros((num_roots, 1), jnp.int32)
        )
        return search((), key, root, recurrent_fn, num_simulations).action_weights

    key = jax.random.PRNGKey(seed)
    run_jitted(key).block_until_ready()
    seconds = best_time(lambda: run_jitted(key).block_until_ready(), min_seconds)
    return report("mctx", policy, model, case, seconds)


def report(library: str, policy: str, model: str, case: tuple[int, int, int], seconds: float) -> dict[str, Any]:
    """Puts a measurement into a record."""
    num_roots, num_actions, num_simulations = case
    simulations = num_roots * num_simulations
    return {
        "library": library,
        "policy": policy,
        "model": model,
        "num_roots": num_roots,
        "num_actions": num_actions,
        "num_simulations": num_simulations,
        "simulations_per_second": round(simulations / seconds),
        "ns_per_simulation": round(seconds / simulations * 1e9, 1),
    }


def has_mctx() -> bool:
    """Tells whether mctx can be imported."""
    try:
        import mctx  # noqa: F401
    except ImportError:
        return False
    return True


def parse_case(text: str) -> tuple[int, int, int]:
    """Reads `roots,actions,simulations`."""
    num_roots, num_actions, num_simulations = (int(part) for part in text.split(","))
    return num_roots, num_actions, num_simulations


def main() -> None:
    """Runs the cases and prints one line each."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n", 1)[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", choices=("random", "constant", "both"), default="both", help="the free network")
    parser.add_argument("--only", type=parse_case, metavar="B,A,S", help="one case instead of all")
    parser.add_argument("--seconds", type=float, default=1.0, help="time spent on each measurement at least")
    parser.add_argument("--threads", type=int, default=1, help="threads of the search")
    parser.add_argument("--seed", type=int, default=0, help="seed of the numbers and of the noise")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements there")
    arguments = parser.parse_args()
    cases = [arguments.only] if arguments.only else CASES
    models = ("random", "constant") if arguments.model == "both" else (arguments.model,)
    with_mctx = has_mctx()
    rows = []
    print(f"{'policy':7} {'model':9} {'B,A,S':>12} {'depth':>6} {'sims/s':>12} {'ns/sim':>8}")
    for model in models:
        for policy in POLICIES:
            for case in cases:
                row = time_ours(policy, model, case, arguments.seed, arguments.seconds, arguments.threads)
                rows.append(row)
                name = ",".join(map(str, case))
                line = f"{policy:7} {model:9} {name:>12} {row['mean_depth']:6.1f} "
                line += f"{row['simulations_per_second']:12,} {row['ns_per_simulation']:8.0f}"
                if with_mctx:
                    peer = time_mctx(policy, model, case, arguments.seed, arguments.seconds)
                    rows.append(peer)
                    factor = peer["ns_per_simulation"] / row["ns_per_simulation"]
                    line += f"   mctx {peer['simulations_per_second']:10,}/s: {factor:.0f} times"
                print(line, flush=True)
    if arguments.json:
        record = {"machine": platform.processor() or platform.machine(), "python": platform.python_version()}
        arguments.json.write_text(json.dumps(record | {"numpy": np.__version__, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
