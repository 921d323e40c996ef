"""Which backend evaluates the network: measured on this machine, behind a gate of accuracy.

Every candidate has to give the rewards, values and policies of the plain float32 module, unrolled over a few imagined
steps. It is asked twice: with a noisy copy of the weights, because the layers that start at zero would hide mistakes in
a fresh model, and after a refresh with the weights themselves. Among those that pass, the fastest for the batch in use
is taken; one earlier in the order of preference keeps its place unless another is clearly faster, so that the choice,
and with it the numerics, does not flip between runs.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from muzero_wm.inference.backends import Backend, BackendError, make_backend
from muzero_wm.inference.backends.base import Inference
from muzero_wm.model.support import Support
from muzero_wm.model.world_model import WorldModel

REFERENCE = "eager-fp32"
MARGIN = 1.15
_GATE_ROWS, _GATE_STEPS = 24, 3
_ROUNDS, _ROUND_SECONDS = 5, 0.012
_HOPELESS = 2.0  # times as slow as the best: not worth a second look


class Errors(NamedTuple):
    """How far a backend is from the plain float32 module.

    Attributes:
        value: root mean square, in units of half the value support (after its transform).
        reward: the same of the reward.
        policy: mean total variation distance between the policies, in [0, 1].
        turn: mean distance between the probabilities that the same player moves again; 0 where they are not learnt.
    """

    value: float
    reward: float
    policy: float
    turn: float = 0.0


LIMITS = {"fp32": Errors(1e-4, 1e-4, 1e-4, 1e-4), "bf16": Errors(0.05, 0.05, 0.05, 0.05)}
"""The gate by precision.

Rounding alone gives up to 1e-6 in float32. In bf16 it gives 0.001-0.005 on fresh and on noisy weights, and up to 0.017
on a trained Connect Four model with noise on its weights and observations that it never saw.
"""


class Measured(NamedTuple):
    """What is known about one candidate.

    Attributes:
        name: for example "fused-bf16".
        evals_per_second: imagined steps per second in batches of the size in use, on one thread; 0 if not measured.
            One call at a time: a native evaluator is faster within a search. Observations, where nothing is imagined.
        errors: the larger of the gate's two measurements; None if it could not be built.
        passed: it may be used.
        reason: why not; empty when it may.
    """

    name: str
    evals_per_second: float
    errors: Errors | None
    passed: bool
    reason: str


def excited(model: WorldModel) -> WorldModel:
    """Returns a copy of a model with noise on every weight and statistic, so that no part of it is idle."""
    noisy = copy.deepcopy(model).float().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in noisy.parameters():
        scale = 0.1 if parameter.ndim < 2 else 0.5 / math.sqrt(parameter[0].numel())
        parameter.add_((scale * torch.randn(parameter.shape, generator=generator)).to(parameter.device))
    for name, buffer in noisy.named_buffers():
        if name.endswith("running_mean"):
            buffer.add_((0.1 * torch.randn(buffer.shape, generator=generator)).to(buffer.device))
        elif name.endswith("running_var") or name == "observation.scale":
            buffer.mul_((0.5 + torch.rand(buffer.shape, generator=generator)).to(buffer.device))
        elif name == "observation.shift":
            buffer.add_((0.1 * torch.randn(buffer.shape, generator=generator)).to(buffer.device))
    return noisy


def probe_observations(model: WorldModel, rows: int) -> NDArray[np.float32]:
    """Returns observations [rows, ...] for measurements.

    To the model's first layer half of them are of zeros and ones, half normally distributed. Where means are subtracted
    all of them are normal: a new network has no biases and makes nothing at all of an observation that is the mean, so
    that scaling its latent to size 1 would blow up the rounding of whoever folds the subtraction into the layer.
    """
    rng = np.random.default_rng(0)
    shape = (rows, *model.observation_shape)
    binary = rng.integers(0, 2, shape).astype(np.float32)
    normal = slice(1, None, 2) if model.observation.shift is None else slice(None)
    binary[normal] = rng.standard_normal(shape, np.float32)[normal]
    return model.observation.undo(binary)


def unroll(backend: Backend, model: WorldModel, rows: int = _GATE_ROWS, steps: int = _GATE_STEPS) -> list[Inference]:
    """Returns what a backend says about the probe observations and a few imagined steps from there, if it imagines.

    Args:
        backend: evaluates.
        model: says the shapes.
        rows: observations.
        steps: imagined steps from each.

    Returns:
        One copied result per step, the root first.
    """
    worker = backend.worker()
    actions = np.random.default_rng(1).integers(0, model.num_actions, (steps, rows)).astype(np.int32)
    out = worker.initial(probe_observations(model, rows))
    seen = [out]
    latent = out.latent
    for action in actions if model.imagines else ():
        following = torch.empty_like(latent)
        out = worker.recurrent(latent.clone(), action, following)
        seen.append(out.copied(following))
        latent = following
    return seen


def compare(model: WorldModel, reference: list[Inference], candidate: list[Inference]) -> Errors:
    """Returns the errors of one unroll against another; a NaN anywhere is an infinite error."""
    value = _scalar_error(model.value_support, [(a.value, b.value) for a, b in zip(reference, candidate, strict=True)])
    # the reward of a root means nothing
    rewards = [(a.reward, b.reward) for a, b in zip(reference[1:], candidate[1:], strict=True)]
    reward = _scalar_error(model.reward_support, rewards) if rewards else 0.0
    distances = [
        np.abs(_softmax(a.prior_logits) - _softmax(b.prior_logits)).sum(1).mean() / 2.0
        for a, b in zip(reference, candidate, strict=True)
    ]
    # neither does the sign of an edge into a root
    turns = [_turn_error(a.edge_sign, b.edge_sign) for a, b in zip(reference[1:], candidate[1:], strict=True)]
    return Errors(*(_known(error) for error in (value, reward, float(np.mean(distances)), float(np.mean(turns or 0)))))


def choose(
    model: WorldModel, names: list[str], *, batch_size: int, frozen: bool = False
) -> tuple[str, Backend, list[Measured]]:
    """Returns the backend to use.

    Args:
        model: its weights are in the backend that comes back.
        names: full names in the order of preference; the eager module is used when none of them can be.
        batch_size: rows of a usual call.
        frozen: weights hardly ever change.

    Returns:
        The name, the backend, and what was found out about every candidate.
    """
    gate = Gate(model)
    found: dict[str, Measured] = {}
    ready: dict[str, Backend] = {}
    for name in names:
        try:
            backend, found[name] = gate.try_out(name, batch_size=batch_size, frozen=frozen)
        except BackendError as error:
            found[name] = Measured(name, 0.0, None, False, str(error))
            continue
        if found[name].passed:
            ready[name] = backend
    # a backend with sessions of its own runs a whole search without Python: single calls say nothing about it
    best = next((name for name, backend in ready.items() if hasattr(backend, "session") and model.imagines), "")
    fixed = bool(best)
    for name, speed in _speeds(ready, model, batch_size).items():
        found[name] = found[name]._replace(evals_per_second=speed)
        if not best or (not fixed and speed > MARGIN * found[best].evals_per_second):
            best = name
    if not best:
        return REFERENCE, make_backend(REFERENCE, model), list(found.values())
    return best, ready[best], list(found.values())


class Gate:
    """Compares backends with the plain float32 module.

    Args:
        model: the weights in use; a noisy copy of them is `noisy`.
    """

    def __init__(self, model: WorldModel) -> None:
        """Evaluates the reference; see the class for the arguments."""
        self._model, self.noisy = model, excited(model)
        self._expected = [unroll(make_backend(REFERENCE, weights), model) for weights in (self.noisy, model)]

    def try_out(self, name: str, *, batch_size: int, frozen: bool) -> tuple[Backend, Measured]:
        """Builds a backend and measures its errors; see `choose` for the arguments.

        Raises:
            BackendError: it cannot be built, or fails while it computes.
        """
        backend = make_backend(name, self.noisy, batch_size=batch_size, frozen=frozen)
        try:
            return backend, self.measure(name, backend)
        except RuntimeError as error:  # a library that finds out only now what the processor lacks
            kind = name.partition("-")[0]
            raise BackendError(f"{kind}: fails on this machine: {' '.join(str(error).split())[:300]}") from error

    def measure(self, name: str, backend: Backend) -> Measured:
        """Measures the errors of a backend, which ends with the weights in use.

        Args:
            name: its full name.
            backend: with the noisy weights.

        Returns:
            The larger errors of the two sets of weights, without a speed.
        """
        errors = compare(self._model, self._expected[0], unroll(backend, self._model))
        backend.refresh(self._model)
        errors = Errors(*map(max, errors, compare(self._model, self._expected[1], unroll(backend, self._model))))
        reason = _too_far(name, errors)
        return Measured(name, 0.0, errors, not reason, reason)


def _too_far(name: str, errors: Errors) -> str:
    limits = LIMITS[name.rpartition("-")[2]]
    broken = [
        f"{field} error {error:.2g} (limit {limit:g})"
        for field, error, limit in zip(Errors._fields, errors, limits, strict=True)
        if not error <= limit
    ]
    return ", ".join(broken)


def _speeds(backends: dict[str, Backend], model: WorldModel, batch_size: int) -> dict[str, float]:
    """Returns evaluations per second: minima over interleaved rounds, or one call for those that are clearly behind."""
    calls: dict[str, Callable[[], object]] = {}
    best: dict[str, float] = {}
    observation = probe_observations(model, batch_size)
    action = (np.arange(batch_size) % model.num_actions).astype(np.int32)
    for name, backend in backends.items():
        worker = backend.worker()
        latent = worker.initial(observation).latent
        if model.imagines:
            calls[name] = _call(worker.recurrent, latent.clone(), action, torch.empty_like(latent))
        else:
            calls[name] = _call(worker.initial, observation)
        calls[name]()  # allocates, and may compile
        best[name] = _seconds(calls[name], 1)
    bound = _HOPELESS * min(best.values(), default=0.0)
    racing = {name: max(1, int(_ROUND_SECONDS / seconds)) for name, seconds in best.items() if seconds <= bound}
    for _ in range(_ROUNDS):
        for name, repeats in racing.items():
            best[name] = min(best[name], _seconds(calls[name], repeats))
    return {name: batch_size / seconds for name, seconds in best.items()}


def _call(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)


def _seconds(call: Callable[[], object], repeats: int) -> float:
    """Returns the time of one call, in seconds of this process: what else the machine is doing does not count."""
    start = time.process_time()
    for _ in range(repeats):
        call()
    return max(time.process_time() - start, 1e-9) / repeats


def _scalar_error(support: Support, pairs: list[tuple[NDArray, NDArray]]) -> float:
    first, second = (torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*pairs, strict=True))
    first, second = support.squash(first), support.squash(second)
    return float((first - second).square().mean().sqrt()) / (0.5 * (support.high - support.low))


def _turn_error(first: NDArray[np.float32] | None, second: NDArray[np.float32] | None) -> float:
    if first is None or second is None:
        return 0.0 if first is second else math.inf
    return float(np.abs(first - second).mean()) / 2.0


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    weights = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def _known(error: float) -> float:
    return math.inf if math.isnan(error) else error
