"""Returns of complete episodes of a single-player environment."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.basis.seeding import derive_seed
from muzero_wm.envs import BatchedEnv
from muzero_wm.envs.registry import as_evaluated
from muzero_wm.evaluation.intervals import mean_interval
from muzero_wm.evaluation.limits import step_limit
from muzero_wm.evaluation.players import Player


@dataclass
class Episodes:
    """What was played.

    Attributes:
        returns: undiscounted, slot by slot.
        lengths: steps of each.
        cut: how many were cut by the limit of steps; what they had got until then is their return.
        max_steps: that limit.
    """

    max_steps: int
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    cut: int = 0

    def summary(self) -> dict[str, Any]:
        """Returns mean_return, its 95 % normal interval ci95 (None for one episode), returns, cut and max_steps."""
        interval = mean_interval(self.returns)
        return {
            "mean_return": statistics.fmean(self.returns),
            "ci95": None if interval is None else list(interval),
            "returns": self.returns,
            "mean_length": statistics.fmean(self.lengths),
            "cut": self.cut,
            "max_steps": self.max_steps,
        }


def play_episodes(
    env_name: str,
    player: Player,
    episodes: int,
    seed: int = 0,
    *,
    num_envs: int = 32,
    max_steps: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Episodes:
    """Plays a number of complete episodes; of Atari whole games, also where a life lost ended an episode in training.

    Every slot owes the same number of episodes (or one more), fixed beforehand: taking the first that end anywhere
    would favour short ones.

    Args:
        env_name: a single-player environment.
        player: who acts.
        episodes: number of episodes, >= 1.
        seed: seed of the environment.
        num_envs: most episodes to play side by side.
        max_steps: where an episode is cut; None for the environment's own limit, or 5000 where it states none.
        progress: called as progress(finished, episodes) after every step.

    Returns:
        Their returns and lengths.

    Raises:
        UserError: the environment is not for one player, or there is no episode to play.
    """
    if episodes < 1:
        raise UserError(f"games must be at least 1, got {episodes}")
    played: Episodes | None = None
    env_name = as_evaluated(env_name)
    owed = np.array([len(range(i, episodes, num_envs)) for i in range(min(episodes, num_envs))])
    wave = 0
    while owed.any():
        # an episode that was cut goes on in its slot, so what the slot still owed is played in new environments
        with closing(envs.make(env_name, len(owed), seed if wave == 0 else derive_seed(seed, f"wave/{wave}"))) as env:
            if env.spec.num_players != 1:
                raise UserError(
                    f"episodes need a single-player environment, {env_name} has {env.spec.num_players} players"
                )
            played = played or Episodes(step_limit(env.spec, max_steps))
            owed = _play(env, player, owed, played, episodes, progress)
        wave += 1
    assert played is not None
    return played


def _play(
    env: BatchedEnv,
    player: Player,
    owed: NDArray[np.int64],
    played: Episodes,
    episodes: int,
    progress: Callable[[int, int], None] | None,
) -> NDArray[np.int64]:
    """Plays until no slot can go on; returns what slots whose episode was cut still owe."""
    owed, n = owed.copy(), len(owed)
    returns: list[list[float]] = [[] for _ in range(n)]
    lengths: list[list[int]] = [[] for _ in range(n)]
    running, steps, going = np.zeros(n), np.zeros(n, np.int64), np.ones(n, np.bool_)
    before = len(played.returns)
    step = env.reset()
    while (playing := going & (owed > 0)).any():
        rows = np.flatnonzero(playing)
        actions = step.legal_actions.argmax(axis=1)  # slots that owe nothing more idle along
        actions[rows] = player.actions(env, step, rows)
        step = env.step(actions)
        running += step.reward
        steps += 1
        ended = step.terminated | step.truncated
        cut = playing & ~ended & (steps >= played.max_steps)
        for i in np.flatnonzero(playing & ended | cut):
            returns[i].append(float(running[i]))
            lengths[i].append(int(steps[i]))
            owed[i] -= 1
        going &= ~cut
        played.cut += int(cut.sum())
        running[ended], steps[ended] = 0.0, 0
        if progress is not None:
            progress(before + sum(map(len, returns)), episodes)
    played.returns += [value for slot in returns for value in slot]
    played.lengths += [value for slot in lengths for value in slot]
    return owed[owed > 0]
