"""What the network for images costs: operations, evaluations by every backend, and where an update's time goes.

For example:
    python benchmarks/speed/images.py --shapes 4x48x48 4x96x96 --widths 32 64
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from muzero_wm.bench.learner import made_up_games
from muzero_wm.bench.machine import describe
from muzero_wm.bench.timing import Stopwatch, interleave
from muzero_wm.config import Config
from muzero_wm.envs.base import EnvSpec
from muzero_wm.inference.backends import BackendError, make_backend
from muzero_wm.learning.learner import Learner
from muzero_wm.model.world_model import WorldModel
from muzero_wm.replay.buffer import ReplayBuffer

BACKENDS = ("eager-fp32", "torch-fp32", "fused-fp32", "onnxruntime-fp32", "openvino-fp32")
UPDATES = 2  # in a round, the unit that is timed


def settings(width: int, batch: int) -> Config:
    """Returns a configuration of about what follows from an image."""
    bins = {"low": -9.0, "high": 9.0, "num_bins": 61, "transform": "symlog"}
    return Config.model_validate(
        {
            "model": {
                "torso": "pixels", "width": width, "prediction_blocks": 0, "projection_width": 64,
                "value_support": bins, "reward_support": bins,
            },
            "replay": {"max_steps": 2000, "unroll_steps": 5, "n_step": 5, "bootstrap": "teacher", "max_mib": 2000.0},
            "learning": {"batch_size": batch, "max_updates": 1},
            "inference": {"backend": "fused"},
        }
    )  # fmt: skip


def operations(model: WorldModel) -> dict[str, float]:
    """Returns floating point operations, in millions, of the root and of an imagined step with its predictions."""
    with torch.no_grad(), FlopCounterMode(display=False) as root:
        latent = model.represent(torch.zeros(1, *model.observation_shape, dtype=torch.uint8))
    with torch.no_grad(), FlopCounterMode(display=False) as step:
        model.predict(model.step(latent, torch.zeros(1, dtype=torch.int64)))
    return {"root": root.get_total_flops() / 1e6, "step": step.get_total_flops() / 1e6}


def evaluations(model: WorldModel, rows: int, seconds: float) -> dict[str, dict[str, float]]:
    """Returns milliseconds a row, of roots and of imagined steps, by backend; those that are not there are left out."""
    observation = np.random.default_rng(0).integers(0, 256, (rows, *model.observation_shape)).astype(np.uint8)
    action = (np.arange(rows) % model.num_actions).astype(np.int32)
    roots: dict[str, Any] = {}
    steps: dict[str, Any] = {}
    for name in BACKENDS:
        try:
            worker = make_backend(name, model, batch_size=rows).worker()
        except BackendError:
            continue
        latent = worker.initial(observation).latent
        following = torch.empty_like(latent)
        roots[name] = lambda worker=worker: worker.initial(observation)
        steps[name] = lambda worker=worker, latent=latent, following=following: worker.recurrent(
            latent, action, following
        )
    found = {"root": interleave(roots, seconds), "step": interleave(steps, seconds)}
    return {name: {kind: 1e3 * timings[name].minimum / rows for kind, timings in found.items()} for name in roots}


def update(config: Config, spec: EnvSpec, seconds: float) -> dict[str, float]:
    """Returns milliseconds of an update, and of its parts, in the fastest round."""
    learner, buffer = Learner(config, spec), ReplayBuffer(spec, config.replay, config.search.discount)
    buffer.extend(made_up_games(spec, 1000, 0))
    rounds = itertools.count()
    watch = Stopwatch()
    run = watch.timed(lambda: learner.run_round(buffer, next(rounds), UPDATES, 0.0), "all")
    run()
    with watch.watching(
        (buffer, "batch", "sample"),
        (learner, "_fresh_bootstraps", "bootstraps"),
        (learner.model, "represent", "roots"),
        (learner.teacher, "represent", "teacher"),
        (learner.model, "step", "imagined"),
        (learner.model, "predict", "heads"),
        (learner._stepper, "gradient", "backward"),
    ):
        rounds_made: list[dict[str, float]] = []
        while sum(each["all"] for each in rounds_made) < seconds:
            watch.seconds = dict.fromkeys(watch.seconds, 0.0)
            run()
            rounds_made.append(watch.seconds)
    fastest = min(rounds_made, key=lambda each: each["all"])
    return {name: 1e3 * spent / UPDATES for name, spent in fastest.items()}


def main() -> None:
    """Prints a block for each shape and width."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["4x48x48", "4x96x96"])
    parser.add_argument("--widths", type=int, nargs="+", default=[32])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    report: list[dict[str, Any]] = []
    for shape, width in itertools.product(args.shapes, args.widths):
        sides = tuple(map(int, shape.split("x")))
        spec = EnvSpec(f"image {shape}", sides, np.dtype(np.uint8), 6, 1, observation_bounds=(0.0, 255.0))
        config = settings(width, args.batch)
        model = WorldModel(config.model, spec).eval()
        found: dict[str, Any] = {"shape": shape, "width": width, "million_operations": operations(model)}
        print(shape, "width", width, {name: round(count, 1) for name, count in found["million_operations"].items()})
        for rows in args.rows:
            found[f"rows {rows}"] = evaluations(model, rows, args.seconds)
            for name, times in found[f"rows {rows}"].items():
                print(f"  {rows} rows, {name}: root {times['root']:.3g} ms, step {times['step']:.3g} ms a row")
        found["update"] = update(config, spec, 4 * args.seconds)
        print("  update, ms:", {name: round(spent) for name, spent in found["update"].items()}, flush=True)
        report.append(found)
    if args.json:
        args.json.write_text(json.dumps({"images": report, "machine": describe()}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
