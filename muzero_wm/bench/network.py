"""A complete planner search with a real network, and what share of its time the planner takes for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch

import mcts
from muzero_wm.bench.machine import machine
from muzero_wm.bench.models import NETWORKS, Network, make_network, observations
from muzero_wm.bench.timing import Stopwatch, interleave
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.planning.planner import Planner
from muzero_wm.planning.shards import SHARD_ROOTS, shard_size

ROOTS = (1, 16, 128)
_POLICIES = ("muzero_policy", "gumbel_muzero_policy")


def bench_network(
    roots: Sequence[int] = ROOTS,
    networks: Sequence[str] = tuple(NETWORKS),
    *,
    seconds: float = 1.0,
    threads: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Times searches with the settings of each network's preset.

    Args:
        roots: batch sizes.
        networks: names of `muzero_wm.bench.models.NETWORKS`.
        seconds: for each measurement.
        threads: workers that share the shards of a search; the network computes with one thread in each.
        seed: of weights, observations and noise.
        progress: called with (done, total).

    Returns:
        A report; the shares of each row are parts of the whole time with one worker and sum to 1.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        plan = [(name, count) for name in networks for count in roots]
        rows = []
        for done, (name, count) in enumerate(plan):
            progress(done, len(plan))
            rows.append({"network": name} | _row(make_network(name, seed), count, threads, seconds, seed))
        progress(len(plan), len(plan))
    finally:
        torch.set_num_threads(before)
    settings = {"seconds": seconds, "threads": threads, "seed": seed}
    return {"benchmark": "search --network", "machine": machine(), "settings": settings, "rows": rows}


def _row(network: Network, num_roots: int, threads: int, seconds: float, seed: int) -> dict[str, Any]:
    config, spec, model = network
    inference = InferenceModel(model, batch_size=shard_size(num_roots, SHARD_ROOTS))
    stopwatch = Stopwatch()
    plain = Planner(inference, spec, config.search, workers=threads)
    watched = Planner(cast(InferenceModel, Watched(inference, stopwatch)), spec, config.search)
    roots = observations(network, num_roots, seed)
    legal = np.ones((num_roots, spec.num_actions), np.bool_)
    timing = interleave({"search": lambda: plain.search(roots, legal, seed, explore=True)}, seconds)["search"]
    whole = stopwatch.timed(lambda: watched.search(roots, legal, seed, explore=True), "whole")
    with watched_policies(stopwatch):
        while stopwatch.seconds["whole"] < seconds or not stopwatch.seconds["whole"]:
            whole()
    return {
        "roots": num_roots,
        "actions": spec.num_actions,
        "simulations": config.search.num_simulations,
        "backend": inference.backend,
        "search": timing.per(num_roots * config.search.num_simulations),
        "share": _shares(stopwatch.seconds),
    }


def _shares(spent: dict[str, float]) -> dict[str, float] | None:
    """Splits the time of a search: inside the network, inside the tree, and what joins them.

    None where tree and network run together in native code and no clock fits between them.
    """
    if "answer" not in spent:
        return None
    network = (spent["initial"] + spent["recurrent"]) / spent["whole"]
    tree = (spent["policy"] - spent["answer"]) / spent["whole"]
    return {"network": network, "tree": tree, "glue": 1.0 - network - tree, "planner": 1.0 - network}


class Watched:
    """Stands in for an inference model and times its calls, also those of its sessions.

    Args:
        inference: the model.
        stopwatch: its sections "initial" and "recurrent" are the network's.
    """

    def __init__(self, inference: Any, stopwatch: Stopwatch) -> None:
        """Puts the clock on the calls that are not those of a session."""
        self._inference = inference
        self.initial = stopwatch.timed(inference.initial, "initial")
        self.recurrent = stopwatch.timed(inference.recurrent, "recurrent")
        self._stopwatch = stopwatch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inference, name)

    def session(self) -> Any:
        """Returns a session with a clock."""
        session = self._inference.session()
        start = self._stopwatch.timed(session.start, "initial")

        def started(*args: Any, **kwargs: Any) -> Any:
            *root, recurrent_fn = start(*args, **kwargs)
            return *root, _timed(recurrent_fn, self._stopwatch, "recurrent")

        session.start = started
        return session


@contextmanager
def watched_policies(stopwatch: Stopwatch) -> Iterator[None]:
    """Times the policies of the planner ("policy"), and inside them the answers of the network ("answer").

    Args:
        stopwatch: what adds them up.
    """
    before = {name: getattr(mcts, name) for name in _POLICIES}

    def watched(policy: Callable[..., Any]) -> Callable[..., Any]:
        timed = stopwatch.timed(policy, "policy")
        return lambda root, recurrent_fn, *args, **kwargs: timed(
            root, _timed(recurrent_fn, stopwatch, "answer"), *args, **kwargs
        )

    for name, policy in before.items():
        setattr(mcts, name, watched(policy))
    try:
        yield
    finally:
        for name, policy in before.items():
            setattr(mcts, name, policy)


def _timed(recurrent_fn: Any, stopwatch: Stopwatch, section: str) -> Any:
    """Times a network written in Python; one in native code goes to the search as it is."""
    return recurrent_fn if hasattr(recurrent_fn, "address") else stopwatch.timed(recurrent_fn, section)
