"""The parts of `benchmarks/gpu.py` about the agent: the planner with a real network, updates, and a short training."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_search import milliseconds
from muzero_wm import envs
from muzero_wm.bench.learner import made_up_games
from muzero_wm.bench.models import make_network, observations
from muzero_wm.config.presets import load_config
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.learning.learner import Learner
from muzero_wm.planning.planner import Planner
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.training import train

ROUND = 16  # updates


def planner(device: torch.device, seconds: float) -> Iterator[dict[str, Any]]:
    """Times searches of Connect Four's preset, trees and network here and there."""
    network = make_network("connect4", 0)
    on_gpu = device.type == "cuda"
    rows = ((256, 32), (1536, 16)) if on_gpu else ((2, 4),)
    for count, simulations in rows:
        roots, legal = observations(network, count, 0), np.ones((count, network.spec.num_actions), bool)

        def made(model: torch.nn.Module, backend: str, tree: str, threads: int = 1) -> Callable[[], Any]:
            inference = InferenceModel(model, backend=backend, precision="auto")  # type: ignore[arg-type]
            config = network.config.search.model_copy(update={"tree": tree})
            searching = Planner(inference, network.spec, config, workers=threads)
            return lambda: searching.search(roots, legal, 0, num_simulations=simulations, explore=True, tree=False)  # noqa: B023

        threads = torch.get_num_threads()
        there = make_network("connect4", 0).model.to(device)
        runs = {"trees on the device": made(there, "torch", "device")}
        runs["trees on the host, network on the device"] = made(there, "torch", "host")
        runs[f"all on the CPU, {threads} threads"] = made(network.model, "auto", "host", threads)
        found = milliseconds(runs, seconds)
        yield (
            {"case": f"connect4, {count} roots x {simulations} simulations"}
            | found
            | {"positions per second": count / found["trees on the device"] * 1000}
        )


def learner(device: torch.device, seconds: float) -> Iterator[dict[str, Any]]:
    """Times updates of Connect Four's preset, here and there."""
    for batch in (256, 1024) if device.type == "cuda" else (16,):
        runs = {}
        for place in dict.fromkeys((device, torch.device("cpu"))):
            config = load_config("connect4", overrides=[f"learning.batch_size={batch}"])
            spec = envs.spec(config.env)
            buffer = ReplayBuffer(spec, config.replay, config.search.discount)
            buffer.extend(made_up_games(spec, 10 * batch, 0))
            made, count = Learner(config, spec, device=place), iter(range(10**9))
            runs[str(place)] = lambda made=made, buffer=buffer, count=count: made.run_round(  # type: ignore[misc]
                buffer, next(count), ROUND if made.device.type == "cuda" else 1, 0.0
            )
        found = milliseconds(runs, seconds)
        yield {"case": f"connect4, batch {batch}, unrolled {config.replay.unroll_steps} steps"} | {
            f"ms an update, {name}": took / (ROUND if name.startswith("cuda") else 1) for name, took in found.items()
        }


def training(device: torch.device, seconds: float) -> Iterator[dict[str, Any]]:
    """Trains Connect Four's preset, here and there, for ten times the seconds of the other parts."""
    for place in dict.fromkeys((device.type, "cpu")):
        overrides = [f"run.device={place}", "run.tensorboard=false"]
        if device.type != "cuda":
            overrides += ["acting.num_envs=8", "learning.batch_size=16", "replay.min_steps=200"]
        config = load_config("connect4", overrides=overrides, max_minutes=max(10 * seconds, 10.0) / 60)
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            agent = train(config, Path(folder) / "run")
            took = time.perf_counter() - begin
        yield {"case": f"connect4, {place}", "updates": agent.updates, "seconds": took}
