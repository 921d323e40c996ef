"""Where the time of training goes in an Atari game: a real round, played and learnt, with a clock on every part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from muzero_wm import envs
from muzero_wm.acting.actor import Actor
from muzero_wm.acting.episodes import OpenEpisodes
from muzero_wm.bench.learner import watched_updates
from muzero_wm.bench.machine import machine
from muzero_wm.bench.network import Watched, watched_policies
from muzero_wm.bench.timing import Stopwatch
from muzero_wm.config import Config
from muzero_wm.config.presets import load_config
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.learning.learner import Learner
from muzero_wm.model.device import resolve_device
from muzero_wm.model.torsos import make_torso
from muzero_wm.model.world_model import WorldModel
from muzero_wm.planning.planner import Planner
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.room import share_room

GAMES = ("Pong",)
_PEAK = 1024  # rows and columns of the matrices that say what the machine can do
_FEWEST_UPDATES = 2


def bench_atari(
    games: Sequence[str] = GAMES,
    preset: str | None = None,
    overrides: Sequence[str] = (),
    *,
    seconds: float = 10.0,
    threads: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Plays and learns some games for a while, in this process, with the settings of a preset.

    Args:
        games: of `ale:GAME`; a whole name of an environment is taken as it is.
        preset: which; None for the one that a run would take here.
        overrides: settings "a.b=value" over it.
        seconds: of acting, and of learning, for each game.
        threads: of torch, for the learner; the searches of an actor compute with one.
        seed: of weights, games and samples.
        progress: called with (done, total).

    Returns:
        A report. Of each game `steps_per_second` of acting alone and `updates_per_second` of learning alone, and what a
        run with an actor beside the learner makes of them; `acting` and `learning`, the shares of their times by
        part, which sum to 1; GFLOP of one root, one recurrent evaluation and one update, how many of them a second
        the network computed, and `peak_gflops` of one large product of matrices beside them.
    """
    configs = {}
    for game in games:
        env = game if ":" in game else f"ale:{game}"
        configs[game] = load_config(preset, env=env, seed=seed, overrides=overrides)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = []
        for done, (game, config) in enumerate(configs.items()):
            progress(done, len(configs))
            rows.append({"game": game} | _row(config, seconds))
        progress(len(configs), len(configs))
    finally:
        torch.set_num_threads(before)
    settings = {"seconds": seconds, "threads": threads, "seed": seed, "overrides": list(overrides), "preset": preset}
    return {"benchmark": "atari", "machine": machine(), "settings": settings, "rows": rows}


def _row(config: Config, seconds: float) -> dict[str, Any]:
    spec = envs.spec(config.env)
    room = share_room(spec, config)
    learner = Learner(config, spec, device=resolve_device(config.run.device, make_torso(config.model, spec).spatial))
    buffer = ReplayBuffer(spec, config.replay, config.search.discount, room.open_bytes, room.stored)
    actor = Actor(config, WorldModel(config.model, spec).to(learner.device))
    try:
        acting, moves = _act(actor, OpenEpisodes(spec, config.acting.num_envs, room), buffer, config, seconds)
        backend = actor.network.backend
    finally:
        actor.close()
    learning, updates = _learn(learner, buffer, seconds)
    num_steps = moves * config.acting.num_envs
    step_cost, update_cost = acting.pop("whole") / num_steps, learning.pop("whole") / updates
    ratio = config.learning.updates_per_round / (config.acting.num_envs * config.acting.steps_per_round)
    flops = _flops(learner, buffer)
    network = (acting["root"] + acting["recurrent"]) / num_steps
    searched = flops["root"] + config.search.num_simulations * flops["recurrent"]
    return {
        "env": config.env,
        "backend": backend,
        "precision": str(learner.dtype).removeprefix("torch."),
        "num_envs": config.acting.num_envs,
        "simulations": config.search.num_simulations,
        "batch": config.learning.batch_size,
        "steps_per_second": 1.0 / step_cost,
        "updates_per_second": 1.0 / update_cost,
        "updates_per_step": ratio,
        "run": {"steps_per_second": 1.0 / max(step_cost, ratio * update_cost)},
        "acting": _shares(acting, step_cost * num_steps, "rest"),
        "learning": _shares(learning, update_cost * updates, "forward_backward"),
        "gflop": flops,
        "gflops": {
            "search": searched / network if network else None,
            "update": flops["update"] / (update_cost - learning["sample"] / updates),
        },
        "peak_gflops": _peak(learner.device),
    }


def _act(
    actor: Actor, rows: OpenEpisodes, buffer: ReplayBuffer, config: Config, seconds: float
) -> tuple[dict[str, float], int]:
    """Plays until the time is up and there is enough to learn from; returns seconds by part, and moves."""
    watch = Stopwatch()
    watched = cast(InferenceModel, Watched(actor.network, watch))
    actor.planner = Planner(watched, actor.env.spec, config.search, 1, config.inference.shard_roots)
    for section in ("environment", "initial", "recurrent", "policy", "answer", "whole"):
        watch.seconds.setdefault(section, 0.0)
    play = watch.timed(lambda: actor.play(config.acting.steps_per_round), "whole")
    _store(rows, buffer, play())  # the first round compiles; it is not counted
    watch.seconds = dict.fromkeys(watch.seconds, 0.0)
    moves = 0
    with watch.watching((actor.env, "step", "environment")), watched_policies(watch):
        while watch.seconds["whole"] < seconds or buffer.num_steps == 0:
            played = play()
            moves += config.acting.steps_per_round
            _store(rows, buffer, played)
    spent = watch.seconds
    parts = {"environment": spent["environment"], "root": spent["initial"], "recurrent": spent["recurrent"]}
    return parts | {"tree": spent["policy"] - spent["answer"], "whole": spent["whole"]}, moves


def _store(rows: OpenEpisodes, buffer: ReplayBuffer, played: Any) -> None:
    absorbed = rows.absorb(played)
    if absorbed.trajectories is not None:
        buffer.extend(absorbed.trajectories)


def _learn(learner: Learner, buffer: ReplayBuffer, seconds: float) -> tuple[dict[str, float], int]:
    """Learns until the time is up; returns seconds by part, and updates."""
    watch, rounds = Stopwatch(), iter(range(10**9))
    run = watch.timed(lambda: learner.run_round(buffer, next(rounds), _FEWEST_UPDATES, 0.0), "whole")
    run()  # the first round compiles; it is not counted
    updates = 0
    with watched_updates(watch, learner, buffer):
        watch.seconds = dict.fromkeys(watch.seconds, 0.0)
        while watch.seconds["whole"] < seconds:
            run()
            updates += _FEWEST_UPDATES
    return watch.seconds, updates


def _flops(learner: Learner, buffer: ReplayBuffer) -> dict[str, float]:
    """Returns GFLOP of one root, one recurrent evaluation and one update."""
    model, device = learner.model, learner.device
    shape = model.torso.spec.observation_shape
    observation = torch.zeros((1, *shape), device=device, dtype=torch.uint8)
    found = {}
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as root:
        latent = model.represent(observation)
        model.predict(latent)
    with torch.no_grad(), FlopCounterMode(display=False) as recurrent:
        model.predict(model.step(latent, torch.zeros(1, dtype=torch.int64, device=device)))
    model.train()
    with FlopCounterMode(display=False) as update:
        learner.run_round(buffer, 10**6, 1, 0.0)
    for name, counter in (("root", root), ("recurrent", recurrent), ("update", update)):
        found[name] = counter.get_total_flops() / 1e9
    return found


def _shares(parts: dict[str, float], whole: float, rest: str) -> dict[str, float]:
    share = {name: spent / whole for name, spent in parts.items() if spent > 0.0}
    return share | {rest: 1.0 - sum(share.values())}


def _peak(device: torch.device) -> float:
    """Returns GFLOP a second of a product of two large float32 matrices, the best of ten."""
    matrix = torch.ones((_PEAK, _PEAK), device=device)
    watch, best = Stopwatch(), np.inf

    def product() -> float:
        return float((matrix @ matrix)[0, 0])

    for _ in range(10):
        watch.seconds["product"] = 0.0
        watch.timed(product, "product")()
        best = min(best, watch.seconds["product"])
    return 2.0 * _PEAK**3 / best / 1e9
