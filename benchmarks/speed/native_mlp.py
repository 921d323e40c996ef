"""Times searches with a small MLP world model: the native evaluator against PyTorch, network included.

    python benchmarks/speed/native_mlp.py --json native_mlp.json

The model is that of tic-tac-toe with 64 features everywhere and one dynamics block. A search is everything from the
observations to the result. All variants of a size take turns; the shortest time
of each counts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import mcts
from muzero_wm import envs
from muzero_wm.bench.machine import describe
from muzero_wm.config import ModelConfig
from muzero_wm.inference.native import NativeModel, build_mlp
from muzero_wm.model.world_model import WorldModel

POLICIES = {"puct": mcts.muzero_policy, "gumbel": mcts.gumbel_muzero_policy}


def make_model(width: int, prediction_blocks: int) -> WorldModel:
    """Makes a model whose blocks have moved away from the identity they start as."""
    torch.manual_seed(0)
    config = ModelConfig(torso="mlp", width=width, head_width=width, prediction_blocks=prediction_blocks)
    model = WorldModel(config, envs.spec("tictactoe")).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def recurrent_flops(model: WorldModel) -> int:
    """Counts the floating point operations of one imagined step, matrix products only."""
    networks = itertools.chain(model.dynamics.blocks.parameters(), model.heads.parameters())
    return sum(2 * parameter.numel() for parameter in networks if parameter.ndim == 2)


def search_with_torch(policy: Callable[..., Any], model: WorldModel, observation: NDArray, simulations: int) -> None:
    """Searches with the eager model, latents in one pool of tensors."""
    batch = len(observation)
    rows = torch.arange(batch)
    discount = np.full(batch, -1.0, np.float32)
    with torch.inference_mode():
        pool = torch.empty(simulations + 1, batch, model.latent_shape[0])
        pool[0] = model.represent(torch.from_numpy(observation))
        root = model.predict(pool[0])

        def recurrent_fn(parent: NDArray, action: NDArray, node: int) -> mcts.RecurrentOutput:
            latent = model.step(pool[torch.from_numpy(parent).long(), rows], torch.from_numpy(action).long())
            pool[node] = latent
            out = model.predict(latent)
            reward = model.reward_support.decode(out.reward_logits).numpy()
            value = model.value_support.decode(out.value_logits).numpy()
            return mcts.RecurrentOutput(reward, discount, out.policy_logits.numpy(), value)

        root_output = mcts.RootOutput(root.policy_logits.numpy(), model.value_support.decode(root.value_logits).numpy())
        policy(root_output, recurrent_fn, simulations, rng=0)


def search_natively(
    policy: Callable[..., Any], model: NativeModel, observation: NDArray, simulations: int, threads: int
) -> None:
    """Searches with the native evaluator."""
    prior_logits, value, recurrent_fn = model.start(observation, simulations + 1, -1.0)
    policy(mcts.RootOutput(prior_logits, value), recurrent_fn, simulations, rng=0, num_threads=threads)


def shortest(runs: dict[str, Callable[[], None]], seconds: float) -> dict[str, float]:
    """Lets the runs take turns of a twentieth of a second; returns the shortest time of each, in seconds."""
    best = dict.fromkeys(runs, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or float("inf") in best.values():
        for name, run in runs.items():
            turn = time.perf_counter() + 0.05
            while True:
                begin = time.perf_counter()
                run()
                now = time.perf_counter()
                best[name] = min(best[name], now - begin)
                if now > turn:
                    break
    return best


def time_searches(
    model: WorldModel, roots: int, simulations: int, threads: list[int], seconds: float
) -> list[dict[str, Any]]:
    """Measures whole searches of one size.

    Args:
        model: with an MLP torso.
        roots: searched together.
        simulations: of each.
        threads: numbers of threads of the native searches.
        seconds: to spend on each algorithm.

    Returns:
        For each algorithm and network: policy, network, roots, simulations, threads and simulations_per_second.
    """
    shape = (roots, *model.observation_shape)
    observation = np.random.default_rng(0).integers(0, 2, shape).astype(np.float32)
    native = NativeModel(model)
    results = []
    for name, policy in POLICIES.items():
        runs: dict[str, Callable[[], None]] = {
            f"native-{count}": lambda count=count, policy=policy: search_natively(  # type: ignore[misc]
                policy, native, observation, simulations, count
            )
            for count in threads
        }
        runs["torch-1"] = lambda policy=policy: search_with_torch(policy, model, observation, simulations)  # type: ignore[misc]
        for run, best in shortest(runs, seconds).items():
            network, count = run.split("-")
            results.append(
                {
                    "policy": name,
                    "network": network,
                    "roots": roots,
                    "simulations": simulations,
                    "threads": int(count),
                    "simulations_per_second": roots * simulations / best,
                }
            )
    return results


def time_evaluations(model: WorldModel, batches: list[int], seconds: float) -> list[dict[str, Any]]:
    """Measures recurrent calls alone, for every instruction set; a call from Python costs about a microsecond of it."""
    results = []
    for batch, instruction_set in itertools.product(batches, mcts.ResidualMLP.instruction_sets()):
        latent = np.ones((batch, model.latent_shape[0]), np.float32)
        evaluate = build_mlp(model, instruction_set).recurrent_fn(latent, 2, -1.0).fallback
        assert evaluate is not None
        parents, actions = np.zeros(batch, np.int32), np.arange(batch, dtype=np.int32) % model.num_actions
        calls = max(1, 1024 // batch)

        def run(
            evaluate: mcts.RecurrentFn = evaluate,
            parents: NDArray[np.int32] = parents,
            actions: NDArray[np.int32] = actions,
            calls: int = calls,
        ) -> None:
            for _ in range(calls):
                evaluate(parents, actions, 1)

        best = shortest({"": run}, seconds)[""] / (calls * batch)
        results.append(
            {
                "instruction_set": instruction_set,
                "batch": batch,
                "nanoseconds": 1e9 * best,
                "gflops": 1e-9 * recurrent_flops(model) / best,
            }
        )
    return results


def main() -> None:
    """Reads the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=64, help="features of latent, blocks and heads (default: 64)")
    parser.add_argument("--prediction-blocks", type=int, nargs="+", default=[0, 1], metavar="N")
    parser.add_argument("--roots", type=int, nargs="+", default=[1, 8, 128], metavar="B")
    parser.add_argument("--simulations", type=int, nargs="+", default=[50, 800], metavar="S")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each size and algorithm (default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {"machine": describe(), "width": arguments.width, "searches": [], "evaluations": []}
    for blocks in arguments.prediction_blocks:
        model = make_model(arguments.width, blocks)
        print(f"{arguments.width} wide, {blocks} prediction blocks: {recurrent_flops(model):,} FLOP a simulation")
        for row in time_evaluations(model, arguments.roots, min(arguments.seconds, 0.5)):
            report["evaluations"].append({"prediction_blocks": blocks, **row})
            print(
                f"  {row['instruction_set']:9} batch {row['batch']:4}: {row['nanoseconds']:6.0f} ns a row, "
                f"{row['gflops']:5.1f} GFLOP/s"
            )
        for roots, simulations in itertools.product(arguments.roots, arguments.simulations):
            for row in time_searches(model, roots, simulations, arguments.threads, arguments.seconds):
                report["searches"].append({"prediction_blocks": blocks, **row})
                print(
                    f"  {row['policy']:6} {roots:4} roots {simulations:4} simulations {row['network']:6} "
                    f"{row['threads']} threads: {row['simulations_per_second'] / 1e3:8.0f}k simulations/s",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
