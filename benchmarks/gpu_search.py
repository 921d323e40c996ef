"""The parts of `benchmarks/gpu.py` about the search alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

import mcts
from benchmarks import gpu_networks
from mcts.device import DeviceSearch, RecurrentTensors
from muzero_wm.bench.timing import interleave
from tests.mcts.device.worlds import HashWorld, both

POLICIES = {"puct": mcts.muzero_policy, "gumbel": mcts.gumbel_muzero_policy}


class Case(NamedTuple):
    """Holds the sizes of a search."""

    policy: str
    num_roots: int
    num_simulations: int
    num_actions: int

    def __str__(self) -> str:
        return f"{self.policy}, {self.num_roots} roots x {self.num_simulations} simulations, {self.num_actions} actions"


CASES = (
    Case("puct", 256, 50, 18),
    Case("gumbel", 256, 50, 18),
    Case("gumbel", 1536, 16, 18),
    Case("gumbel", 64, 200, 362),
)
SMALL = (Case("puct", 2, 4, 3), Case("gumbel", 2, 4, 3))


def agreement(device: torch.device, seconds: float) -> Iterator[dict[str, Any]]:
    """Counts roots whose visits differ between host and device."""
    for case in _cases(device):
        for name, world in (("one player", {}), ("two players", {"discount": -1.0}), ("ties", {"grid": 1})):
            made = HashWorld(case.num_actions, **world)
            host, found = both(POLICIES[case.policy], made, case.num_roots, case.num_simulations, device=device)
            differ = int((host.visit_counts != found.visit_counts).any(1).sum())
            yield {"case": str(case), "world": name, "roots that differ": differ, "of": case.num_roots}


def tree(device: torch.device, seconds: float) -> Iterator[dict[str, Any]]:
    """Times searches with a network that answers at once."""
    for case in _cases(device):
        generator = torch.Generator().manual_seed(0)
        logits = 2 * torch.randn((8, case.num_roots, case.num_actions), generator=generator).to(device)
        values = (torch.rand((8, case.num_roots), generator=generator) * 2 - 1).to(device)
        ones, zeros = torch.ones(case.num_roots, device=device), torch.zeros(case.num_roots, device=device)
        latents = torch.zeros(case.num_roots, 1, device=device)
        made = DeviceSearch(POLICIES[case.policy], case.num_simulations, _answering(zeros, ones, logits, values))
        runs = {"one graph": _searching(made, latents, logits[0], values[0])}
        answers = [
            mcts.RecurrentOutput(*(x.cpu().numpy() for x in (zeros, ones, logits[i], values[i]))) for i in range(8)
        ]
        root = mcts.RootOutput(answers[0].prior_logits, answers[0].value)
        host = mcts.Search(POLICIES[case.policy], case.num_simulations)
        runs["native core, one thread"] = lambda: host(root, lambda p, a, i: answers[i % 8], rng=0)  # noqa: B023
        yield {"case": str(case)} | milliseconds(runs, seconds)


def search(device: torch.device, seconds: float) -> Iterator[dict[str, Any]]:
    """Times searches with a network of Atari's size."""
    for case in _cases(device):
        network = gpu_networks.torch_network(case.num_actions, device)
        latents, logits, values = _roots(case, device)
        runs = {}
        graph = DeviceSearch(POLICIES[case.policy], case.num_simulations, network)
        runs["one graph"] = _searching(graph, latents, logits, values)
        if device.type == "cuda":
            compiled = torch.compile(network, dynamic=False)
            fused = DeviceSearch(POLICIES[case.policy], case.num_simulations, compiled)
            runs["one graph, torch.compile"] = _searching(fused, latents, logits, values)
        launches = DeviceSearch(POLICIES[case.policy], case.num_simulations, network, graph=False)
        runs["launch by launch"] = _searching(launches, latents, logits, values)
        runs["trees on the host"] = _host_search(case, network, latents, logits, values)
        reason = None
        try:
            runs["mctx"] = gpu_networks.mctx_search(case.policy, case.num_actions, case.num_roots, case.num_simulations)
            runs["mctx"]()
        except Exception as error:  # whatever a JAX that does not fit this machine raises
            runs.pop("mctx", None)
            reason = f"{type(error).__name__}: {error}"[:200]
        row: dict[str, Any] = {"case": str(case)} | milliseconds(runs, seconds)
        row["graph"] = graph.reason or "one graph"
        row["GFLOP"] = gpu_networks.operations(case.num_actions) * case.num_roots * case.num_simulations / 1e9
        row["TFLOP/s"] = row["GFLOP"] / row["one graph"]
        if reason:
            row["no mctx"] = reason
        yield row


def profile(device: torch.device, seconds: float) -> Iterator[dict[str, Any]]:
    """Adds up the time of every kind of kernel in one search."""
    activity = torch.profiler.ProfilerActivity.CUDA if device.type == "cuda" else torch.profiler.ProfilerActivity.CPU
    for case in _cases(device):
        latents, logits, values = _roots(case, device)
        made = DeviceSearch(
            POLICIES[case.policy], case.num_simulations, gpu_networks.torch_network(case.num_actions, device)
        )
        run = _searching(made, latents, logits, values)
        run()
        with torch.profiler.profile(activities=[activity]) as found:
            run()
        kernels = sorted(found.key_averages(), key=lambda entry: -entry.self_device_time_total)[:12]
        yield {"case": str(case)} | {
            entry.key[:60]: f"{entry.self_device_time_total / 1000:.3f} ms, {entry.count} times" for entry in kernels
        }


def _answering(zeros: torch.Tensor, ones: torch.Tensor, logits: torch.Tensor, values: torch.Tensor) -> Any:
    """Returns a network that gives one of eight answers in turn."""
    turn = itertools.cycle(range(len(logits)))

    def network(latents: torch.Tensor, actions: torch.Tensor) -> RecurrentTensors:
        i = next(turn)
        return RecurrentTensors(latents, zeros, ones, logits[i], values[i])

    return network


def _cases(device: torch.device) -> tuple[Case, ...]:
    return CASES if device.type == "cuda" else SMALL


def _roots(case: Case, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    side = gpu_networks.SIDE, gpu_networks.SIDE, gpu_networks.CHANNELS
    latents = torch.rand((case.num_roots, *side), generator=torch.Generator().manual_seed(0)).to(device, dtype)
    return (
        latents,
        torch.zeros(case.num_roots, case.num_actions, device=device),
        torch.zeros(case.num_roots, device=device),
    )


def _searching(made: DeviceSearch, *root: torch.Tensor) -> Callable[[], Any]:
    return lambda: made(*root, rng=0, check=False).action.cpu()


def _host_search(
    case: Case, network: Any, latents: torch.Tensor, logits: torch.Tensor, values: torch.Tensor
) -> Callable[[], Any]:
    """Returns a search of the native core that asks the network on the device, call by call."""
    pool = latents.new_empty((case.num_simulations + 1, *latents.shape))
    rows = torch.arange(case.num_roots, device=latents.device)
    root = mcts.RootOutput(logits.cpu().numpy(), values.cpu().numpy())
    made = mcts.Search(POLICIES[case.policy], case.num_simulations)

    @torch.no_grad()
    def recurrent_fn(parent_index: Any, action: Any, node_index: int) -> mcts.RecurrentOutput:
        asked = torch.from_numpy(np.stack([parent_index, action]).astype(np.int64)).to(latents.device)
        output = network(pool[asked[0], rows], asked[1])
        pool[node_index] = output.latents
        scalars = torch.cat([output.prior_logits, output.reward[:, None], output.value[:, None]], 1).cpu().numpy()
        ones = np.full(case.num_roots, 0.997, np.float32)
        return mcts.RecurrentOutput(scalars[:, -2].copy(), ones, scalars[:, :-2].copy(), scalars[:, -1].copy())

    def run() -> Any:
        pool[0] = latents
        return made(root, recurrent_fn, rng=0)

    return run


def milliseconds(runs: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Returns the median of what each takes, timed in turn."""
    return {name: timing.median * 1000 for name, timing in interleave(runs, seconds).items()}
