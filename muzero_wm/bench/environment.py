"""How fast an environment steps, and how that compares with the search that chooses its actions."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch

from muzero_wm import envs
from muzero_wm.acting.actor import acting_network
from muzero_wm.config import Config
from muzero_wm.config.presets import load_config
from muzero_wm.model.world_model import WorldModel
from muzero_wm.planning.planner import Planner

_TIMINGS, _TIMING_SECONDS = 7, 0.05
_MOST_SEARCHES, _SEARCH_SECONDS = 5, 0.5


def bench_environment(name: str, seed: int = 0) -> dict[str, Any]:
    """Times random play and the search of the preset that `train --env` would take, with an untrained network.

    Args:
        name: the environment, of which a check found no errors.
        seed: of actions, weights and noise.

    Returns:
        `steps_per_second`, `searches_per_second` (one search is one move of one environment), both the median of
        several timings, `num_envs`, `simulations`, and `share`: of the time of acting that the environment takes. Where
        that preset has no network for the environment, the search cannot be timed, and both it and the share are None.
        Of the preset `chosen`, what follows from the environment and why, a line each, `torso` and `max_minutes`.

    Raises:
        EnvError: the environment failed, as a run would show it.
    """
    chosen: list[str] = []
    config = load_config(env=name, seed=seed, tell=chosen.append)
    steps = _steps_per_second(config, seed)
    searches = _searches_per_second(config, seed)
    return {
        "steps_per_second": steps,
        "searches_per_second": searches,
        "num_envs": config.acting.num_envs,
        "simulations": config.search.num_simulations,
        "share": None if searches is None else searches / (steps + searches),
        "chosen": chosen or [f"the preset {name}"],
        "torso": config.model.torso,
        "max_minutes": config.learning.max_minutes,
    }


def _steps_per_second(config: Config, seed: int) -> float:
    """Returns the speed of random play, resets included; those that are stepped in turn are all alike."""
    count = config.acting.num_envs if envs.is_built_in(config.env) else 2
    env, rng = envs.make(config.env, count, seed), np.random.default_rng(seed)
    rates = []
    try:
        step = env.reset()
        for _ in range(_TIMINGS):
            steps, begin = 0, time.perf_counter()
            while (passed := time.perf_counter() - begin) < _TIMING_SECONDS or steps == 0:
                step = env.step((rng.random(step.legal_actions.shape) * step.legal_actions).argmax(axis=1))
                steps += count
            rates.append(steps / passed)
    finally:
        env.close()
    return statistics.median(rates)


def _searches_per_second(config: Config, seed: int) -> float | None:
    torch.manual_seed(seed)
    spec, count = envs.spec(config.env), config.acting.num_envs
    try:
        model = WorldModel(config.model, spec).eval()
    except ValueError:
        return None
    planner = Planner(acting_network(config, model), spec, config.search)
    low, high = spec.observation_bounds or (0, 1)
    numbers = np.random.default_rng(seed).random((count, *spec.observation_shape))
    observations = (low + numbers * (high - low)).astype(spec.observation_dtype)
    legal = np.ones((count, spec.num_actions), np.bool_)
    planner.search(observations, legal, seed, num_simulations=1)  # allocates and warms up
    rates: list[float] = []
    end = time.perf_counter() + _SEARCH_SECONDS
    while not rates or (len(rates) < _MOST_SEARCHES and time.perf_counter() < end):
        begin = time.perf_counter()
        planner.search(observations, legal, seed, explore=True)
        rates.append(count / (time.perf_counter() - begin))
    return statistics.median(rates)
