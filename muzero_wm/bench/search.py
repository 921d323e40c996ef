"""The tree search alone: the network is free, it returns arrays made beforehand.

Two free networks. `random` gives independent values, so that PUCT follows the best so far into long chains; `constant`
gives every node the same value, so that the prior decides and trees are wide. Learnt networks lie between. The mean
depth of a simulation stands beside the times because it explains them. Where mctx can be imported it runs the same
cases on one thread, in turn with ours.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import mcts
from muzero_wm.bench.machine import machine
from muzero_wm.bench.timing import interleave

Case = tuple[int, int, int]
CASES: tuple[Case, ...] = ((1, 9, 50), (8, 18, 50), (256, 18, 50), (256, 7, 100), (64, 82, 200), (16, 362, 400))
MODELS = ("random", "constant")
POLICIES: dict[str, Callable[..., mcts.SearchResult]] = {
    "puct": mcts.muzero_policy,
    "gumbel": mcts.gumbel_muzero_policy,
}
VARIANTS = 8


def bench_search(
    cases: Sequence[Case] = CASES,
    models: Sequence[str] = MODELS,
    *,
    seconds: float = 1.0,
    threads: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Times every case with every policy and free network.

    Args:
        cases: (roots, actions, simulations).
        models: of "random" and "constant".
        seconds: for each measurement.
        threads: of our search.
        seed: of the numbers and of the noise.
        progress: called with (done, total).

    Returns:
        A report; each row holds `mcts`, and with mctx also `mctx` and `ratio`, how many times longer mctx takes.
    """
    with_mctx = importlib.util.find_spec("mctx") is not None
    plan = [(model, policy, case) for model in models for policy in POLICIES for case in cases]
    rows = []
    for done, (model, policy, case) in enumerate(plan):
        progress(done, len(plan))
        rows.append(_row(policy, model, case, seconds, threads, seed, with_mctx))
    progress(len(plan), len(plan))
    settings = {"seconds": seconds, "threads": threads, "seed": seed}
    return {"benchmark": "search", "machine": machine(), "settings": settings, "rows": rows}


def _row(
    policy: str, model: str, case: Case, seconds: float, threads: int, seed: int, with_mctx: bool
) -> dict[str, Any]:
    num_roots, num_actions, num_simulations = case
    outputs = free_network(model, num_roots, num_actions, seed)
    root = mcts.RootOutput(outputs[0].prior_logits, outputs[0].value)

    def recurrent_fn(parent_index: Any, action: Any, node_index: int) -> mcts.RecurrentOutput:
        return outputs[node_index % len(outputs)]

    def ours() -> mcts.SearchResult:
        return POLICIES[policy](root, recurrent_fn, num_simulations, rng=seed, num_threads=threads)

    runs: dict[str, Callable[[], Any]] = {"mcts": ours}
    if with_mctx:
        from muzero_wm.bench.peer import mctx_search

        runs["mctx"] = mctx_search(policy, outputs, num_simulations, seed)
    timings = interleave(runs, seconds)
    row: dict[str, Any] = {
        "policy": policy,
        "model": model,
        "roots": num_roots,
        "actions": num_actions,
        "simulations": num_simulations,
        "mean_depth": mean_depth(ours().tree),
    }
    row |= {name: timing.per(num_roots * num_simulations) for name, timing in timings.items()}
    if with_mctx:
        ours_took, mctx_took = timings["mcts"], timings["mctx"]
        row["ratio"] = {
            "minimum": mctx_took.minimum / ours_took.minimum,
            "median": mctx_took.median / ours_took.median,
        }
    return row


def free_network(model: str, num_roots: int, num_actions: int, seed: int) -> list[mcts.RecurrentOutput]:
    """Makes the answers that a free network gives in turn.

    Args:
        model: "random" or "constant".
        num_roots: B.
        num_actions: A.
        seed: of the numbers.

    Returns:
        One answer with a constant network, several different ones otherwise.
    """
    rng = np.random.default_rng(seed)
    variants = VARIANTS if model == "random" else 1
    logits = rng.normal(size=(variants, num_roots, num_actions)).astype(np.float32)
    values = rng.uniform(-1, 1, size=(variants, num_roots)).astype(np.float32)
    zeros, ones = np.zeros(num_roots, np.float32), np.ones(num_roots, np.float32)
    return [mcts.RecurrentOutput(zeros, ones, logits[i], values[i]) for i in range(variants)]


def mean_depth(tree: mcts.Tree) -> float:
    """Returns the mean number of edges from the root to the node that a simulation evaluates."""
    depth = np.zeros(tree.parents.shape, np.int64)
    rows = np.arange(tree.num_roots)
    for node in range(1, tree.num_nodes):
        depth[:, node] = depth[rows, tree.parents[:, node]] + 1
    return float(depth[:, 1:].mean())
