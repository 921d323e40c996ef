"""The network alone, in every way it can run: evaluations a second, errors against float32, the cost of new weights."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from muzero_wm.bench.machine import machine
from muzero_wm.bench.models import NETWORKS, Network, make_network, observations
from muzero_wm.bench.timing import interleave
from muzero_wm.inference.backends import names_for
from muzero_wm.inference.inference import AccuracyWarning, BackendError, InferenceModel
from muzero_wm.model.world_model import WorldModel

BATCH_SIZES = (1, 16, 128, 256)
REFERENCE = "eager-fp32"


class Answer(NamedTuple):
    """Holds what a network said about one imagined step, float32."""

    reward: NDArray[np.float32]  # [B]
    prior_logits: NDArray[np.float32]  # [B, A]
    value: NDArray[np.float32]  # [B]


def bench_inference(
    batch_sizes: Sequence[int] = BATCH_SIZES,
    networks: Sequence[str] = tuple(NETWORKS),
    *,
    seconds: float = 1.0,
    threads: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Times the recurrent call of every backend, all backends of a batch size in turn.

    Args:
        batch_sizes: of the calls.
        networks: names of `muzero_wm.bench.models.NETWORKS`.
        seconds: for each measurement.
        threads: of the network.
        seed: of weights and observations.
        progress: called with (done, total).

    Returns:
        A report; `ratio` in a row says how many times faster than the plain float32 model it is, `error` holds the
        largest and the mean difference from it. `absent` says for each network which backends are missing, and why.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        plan = [(name, size) for name in networks for size in batch_sizes]
        rows: list[dict[str, Any]] = []
        absent: dict[str, dict[str, str]] = {}
        for done, (name, size) in enumerate(plan):
            progress(done, len(plan))
            network = make_network(name, seed)
            backends, absent[name] = candidates(network.model, size)
            rows += [{"network": name} | row for row in _rows(network, backends, size, seconds, seed)]
        progress(len(plan), len(plan))
    finally:
        torch.set_num_threads(before)
    settings = {"seconds": seconds, "threads": threads, "seed": seed}
    return {"benchmark": "inference", "machine": machine(), "settings": settings, "rows": rows, "absent": absent}


def _rows(
    network: Network, backends: dict[str, InferenceModel], batch_size: int, seconds: float, seed: int
) -> list[dict[str, Any]]:
    observed = observations(network, batch_size, seed)
    action = np.random.default_rng(seed).integers(0, network.spec.num_actions, batch_size).astype(np.int32)
    calls = {name: _recurrent_call(backend, observed, action) for name, backend in backends.items()}
    expected = calls[REFERENCE]()
    errors = {name: _errors(call(), expected) for name, call in calls.items()}
    timings = interleave(calls, seconds)
    refreshes = interleave({name: _refresh(backend, network.model) for name, backend in backends.items()}, seconds / 5)
    return [
        {
            "backend": name,
            "batch": batch_size,
            "evaluations": timings[name].per(batch_size),
            "ratio": {
                "minimum": timings[REFERENCE].minimum / timings[name].minimum,
                "median": timings[REFERENCE].median / timings[name].median,
            },
            "error": errors[name],
            "refresh_seconds": {"minimum": refreshes[name].minimum, "median": refreshes[name].median},
        }
        for name in backends
    ]


def candidates(model: WorldModel, batch_size: int) -> tuple[dict[str, InferenceModel], dict[str, str]]:
    """Makes an inference model of every kind that runs on this machine.

    Args:
        model: the weights.
        batch_size: what they are to be tuned for.

    Returns:
        Inference models by the name of their backend, the float32 reference first; and why the others are missing.
    """
    found, absent = {}, {}
    for name in dict.fromkeys([REFERENCE, *names_for("auto")]):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AccuracyWarning)  # the errors stand in the report
                found[name] = InferenceModel(model, backend=name, batch_size=batch_size)
        except BackendError as error:
            absent[name] = str(error)
    return found, absent


def _recurrent_call(backend: InferenceModel, observed: NDArray, action: NDArray[np.int32]) -> Callable[[], Answer]:
    """Returns a function that imagines one step from each observation, in the way a search would ask for it."""
    prior_logits, _, recurrent_fn = backend.session().start(observed, 2, 1.0)
    parents = np.zeros_like(action)
    if hasattr(recurrent_fn, "address"):
        return _native_call(recurrent_fn, parents, action, prior_logits.shape)

    def step() -> Answer:
        reward, _, logits, value = recurrent_fn(parents, action, 1)
        return Answer(reward, logits, value)

    return step


def _native_call(
    recurrent_fn: Any, parents: NDArray[np.int32], action: NDArray[np.int32], shape: tuple[int, int]
) -> Callable[[], Answer]:
    """Calls a network in native code by its C interface, see `mcts/_native.h`."""
    batch = shape[0]
    kinds = [ctypes.c_void_p] * 3 + [ctypes.c_int32] * 4 + [ctypes.c_void_p] * 4
    evaluate = ctypes.CFUNCTYPE(ctypes.c_int, *kinds)(recurrent_fn.address)
    reward, discount, value = (np.zeros(batch, np.float32) for _ in range(3))
    logits = np.zeros(shape, np.float32)
    outputs = [array.ctypes.data_as(ctypes.c_void_p) for array in (reward, discount, logits, value)]
    inputs = [*(array.ctypes.data_as(ctypes.c_void_p) for array in (parents, action)), 1, batch, 0, batch]

    def call() -> Answer:
        if evaluate(recurrent_fn.context, *inputs, *outputs):  # a reference to what owns the latents stays here
            raise RuntimeError("the native network reported an error")
        return Answer(reward, logits, value)

    return call


def _refresh(backend: InferenceModel, model: WorldModel) -> Callable[[], None]:
    return lambda: backend.refresh(model)


def _errors(found: Answer, expected: Answer) -> dict[str, dict[str, float]]:
    """Returns the largest and the mean difference: of values and rewards, and the total variation of the policies."""
    differences = {
        "value": np.abs(found.value - expected.value),
        "reward": np.abs(found.reward - expected.reward),
        "policy": np.abs(_softmax(found.prior_logits) - _softmax(expected.prior_logits)).sum(axis=1) / 2,
    }
    return {name: {"max": float(off.max()), "mean": float(off.mean())} for name, off in differences.items()}


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    weights = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
