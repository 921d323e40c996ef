"""Returns of complete episodes of a single-player environment."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from muzero_wm import envs
from muzero_wm.errors import UserError
from muzero_wm.evaluation.intervals import mean_interval
from muzero_wm.evaluation.players import Player


def play_episodes(
    env_name: str,
    player: Player,
    episodes: int,
    seed: int = 0,
    *,
    num_envs: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Plays a number of complete episodes.

    Every slot owes the same number of episodes (or one more), fixed beforehand: taking the first that end anywhere
    would favour short ones.

    Args:
        env_name: a single-player environment.
        player: who acts.
        episodes: number of episodes, >= 1.
        seed: seed of the environment.
        num_envs: most episodes to play side by side.
        progress: called as progress(finished, episodes) after every step.

    Returns:
        The undiscounted returns, slot by slot.

    Raises:
        UserError: the environment is not for one player, or there is no episode to play.
    """
    if episodes < 1:
        raise UserError(f"games must be at least 1, got {episodes}")
    n = min(episodes, num_envs)
    with closing(envs.make(env_name, n, seed)) as env:
        if env.spec.num_players != 1:
            raise UserError(f"episodes need a single-player environment, {env_name} has {env.spec.num_players} players")
        owed = np.array([len(range(i, episodes, n)) for i in range(n)])
        returns: list[list[float]] = [[] for _ in range(n)]
        running = np.zeros(n)
        step = env.reset()
        while owed.any():
            rows = np.flatnonzero(owed)
            actions = step.legal_actions.argmax(axis=1)  # slots that owe nothing more idle along
            actions[rows] = player.actions(env, step, rows)
            step = env.step(actions)
            running += step.reward
            ended = step.terminated | step.truncated
            for i in np.flatnonzero(ended & (owed > 0)):
                returns[i].append(float(running[i]))
                owed[i] -= 1
            running[ended] = 0.0
            if progress is not None:
                progress(int(episodes - owed.sum()), episodes)
    return [value for slot in returns for value in slot]


def summary(returns: Sequence[float]) -> dict[str, Any]:
    """Returns mean_return, its 95 % normal interval ci95 (None for one episode) and the returns, ready for JSON."""
    interval = mean_interval(returns)
    return {
        "mean_return": statistics.fmean(returns),
        "ci95": None if interval is None else list(interval),
        "returns": list(returns),
    }
