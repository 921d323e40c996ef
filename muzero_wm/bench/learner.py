"""Updates a second of the learner on made-up games, and where an update's time goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from muzero_wm import envs
from muzero_wm.bench.machine import machine
from muzero_wm.bench.timing import Stopwatch, interleave
from muzero_wm.config import Config
from muzero_wm.config.presets import load_config
from muzero_wm.envs.base import EnvSpec
from muzero_wm.learning import batches, steps
from muzero_wm.learning.learner import Learner
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.trajectory import Trajectories

PRESETS = ("connect4", "tictactoe")
UPDATES = 4  # in a round, the unit that is timed


def bench_learner(
    presets: Sequence[str] = PRESETS,
    overrides: Sequence[str] = (),
    *,
    seconds: float = 5.0,
    threads: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Times updates with the settings of some presets.

    Args:
        presets: their names.
        overrides: settings "a.b=value" over each preset.
        seconds: for each preset.
        threads: of torch.
        seed: of the weights, the games and the samples.
        progress: called with (done, total).

    Returns:
        A report; the shares of each row are parts of an update's time and sum to 1.
    """
    configs = {name: load_config(name, seed=seed, overrides=overrides) for name in presets}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = []
        for done, (name, config) in enumerate(configs.items()):
            progress(done, len(configs))
            rows.append({"preset": name} | _row(config, seconds))
        progress(len(configs), len(configs))
    finally:
        torch.set_num_threads(before)
    settings = {"seconds": seconds, "threads": threads, "seed": seed, "overrides": list(overrides)}
    return {"benchmark": "learner", "machine": machine(), "settings": settings, "rows": rows}


def _row(config: Config, seconds: float) -> dict[str, Any]:
    spec = envs.spec(config.env)
    learner, buffer = Learner(config, spec), ReplayBuffer(spec, config.replay, config.search.discount)
    buffer.extend(made_up_games(spec, 10 * config.learning.batch_size, config.seed))
    rounds = iter(range(10**9))
    stopwatch = Stopwatch()
    run = stopwatch.timed(lambda: learner.run_round(buffer, next(rounds), UPDATES, 0.0), "whole")
    run()  # the first round compiles; it is not counted
    with watched_updates(stopwatch, learner, buffer):
        stopwatch.seconds = dict.fromkeys(stopwatch.seconds, 0.0)
        timing = interleave({"update": run}, seconds)["update"]
    batch = config.learning.batch_size
    whole = stopwatch.seconds.pop("whole")
    share = {name: spent / whole for name, spent in stopwatch.seconds.items()}
    return {
        "batch": batch,
        "unroll_steps": config.replay.unroll_steps,
        "precision": str(learner.dtype).removeprefix("torch."),
        "updates": timing.per(UPDATES),
        "samples_per_second": {"maximum": UPDATES * batch / timing.minimum, "median": UPDATES * batch / timing.median},
        "share": share | {"forward_backward": 1.0 - sum(share.values())},
    }


def watched_updates(stopwatch: Stopwatch, learner: Learner, buffer: ReplayBuffer) -> AbstractContextManager[None]:
    """Times the parts of updates; no clock is put on the loss forward and backward, and on clipping its gradient.

    Args:
        stopwatch: what adds them up: "sample", "bootstrap", "reanalyze", "optimizer" and "ema".
        learner: who makes them.
        buffer: what they are made from.
    """
    return stopwatch.watching(
        (buffer, "sample_slots", "sample"),
        (buffer, "batch", "sample"),
        (buffer, "update_priorities", "sample"),
        (batches, "apply_symmetries", "sample"),
        (learner, "_fresh_bootstraps", "bootstrap"),
        (learner, "_reanalyze", "reanalyze"),
        (learner.optimizer, "step", "optimizer"),
        (steps, "update_teacher", "ema"),
    )


def made_up_games(spec: EnvSpec, num_steps: int, seed: int) -> Trajectories:
    """Makes games of random numbers in the shapes of an environment.

    Args:
        spec: the shapes.
        num_steps: at least so many steps in all.
        seed: of the numbers.

    Returns:
        Whole games; those of two players alternate and end with a win.
    """
    rng = np.random.default_rng(seed)
    longest = min(spec.max_episode_steps or 200, 200)
    lengths = rng.integers((longest + 1) // 2, longest + 1, size=2 * num_steps // longest + 1)
    slots = int(lengths.sum()) + len(lengths)
    last = np.cumsum(lengths + 1) - 1
    position = np.arange(slots) - np.repeat(last - lengths, lengths + 1)
    policy = rng.dirichlet(np.ones(spec.num_actions), slots).astype(np.float32)
    action = rng.integers(0, spec.num_actions, slots).astype(np.int32)
    reward = np.zeros(slots, np.float32)
    policy[last], action[last], reward[last - 1] = 0.0, -1, 1.0
    return Trajectories(
        lengths=lengths,
        terminated=np.ones(len(lengths), np.bool_),
        observation=rng.integers(0, 2, (slots, *spec.frame_shape)).astype(spec.observation_dtype),
        legal_actions=np.ones((slots, spec.num_actions), np.bool_),
        to_play=(position % spec.num_players).astype(np.int8),
        action=action,
        reward=reward,
        policy=policy,
        value=rng.uniform(-1, 1, slots).astype(np.float32),
    )
