"""Batched self-play: every environment moves once per step, finished episodes come out packed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.acting.planner import Planner
from muzero_wm.acting.shards import resolve_workers, shard_size
from muzero_wm.config import Config
from muzero_wm.envs.base import EnvSpec, Step
from muzero_wm.model.inference import InferenceModel
from muzero_wm.model.world_model import WorldModel
from muzero_wm.replay.trajectory import Trajectories
from muzero_wm.seeding import derive_seed, stream_keys

FIRST_LENGTH = 64


class OpenEpisodes:
    """Episodes in progress: one row per environment, filled a column per step, packed when done.

    Args:
        spec: shapes.
        num_envs: rows.
    """

    def __init__(self, spec: EnvSpec, num_envs: int) -> None:
        """Allocates room for the longest episode where it is known, else grows by doubling."""
        columns = FIRST_LENGTH if spec.max_episode_steps is None else min(spec.max_episode_steps + 1, 1024)
        self.length = np.zeros(num_envs, np.int64)
        self._rows = np.arange(num_envs)
        shape, actions = spec.observation_shape, spec.num_actions
        self._columns = {
            "observation": np.zeros((num_envs, columns, *shape), spec.observation_dtype),
            "legal_actions": np.zeros((num_envs, columns, actions), np.bool_),
            "to_play": np.zeros((num_envs, columns), np.int8),
            "action": np.zeros((num_envs, columns), np.int32),
            "reward": np.zeros((num_envs, columns), np.float32),
            "policy": np.zeros((num_envs, columns, actions), np.float32),
            "value": np.zeros((num_envs, columns), np.float32),
        }

    def append(self, **values: NDArray) -> None:
        """Writes one step of every environment; names are those of Trajectories."""
        self._reserve(int(self.length.max()) + 2)
        for name, value in values.items():
            self._columns[name][self._rows, self.length] = value
        self.length += 1

    def pack(
        self,
        done: NDArray[np.bool_],
        terminated: NDArray[np.bool_],
        observation: NDArray,
        value: NDArray[np.float32],
        to_play: NDArray[np.int8],
    ) -> Trajectories:
        """Closes the episodes of the rows in `done` and returns them.

        Args:
            done: [n] bool.
            terminated: [n] bool; done but not terminated means truncated.
            observation: [n, *shape] final observations.
            value: [n] float32 value of the final observation, 0 where terminated.
            to_play: [n] int8 player to move at the final observation.

        Returns:
            The finished episodes, in row order.
        """
        rows = np.flatnonzero(done)
        last = self.length[rows]
        columns = self._columns
        columns["observation"][rows, last] = observation[rows]
        columns["legal_actions"][rows, last] = False
        columns["to_play"][rows, last] = to_play[rows]
        columns["action"][rows, last] = -1
        columns["reward"][rows, last] = 0.0
        columns["policy"][rows, last] = 0.0
        columns["value"][rows, last] = value[rows]
        inside = np.arange(columns["action"].shape[1])[None, :] <= last[:, None]
        packed = {name: column[rows][inside] for name, column in columns.items()}
        self.length[rows] = 0
        return Trajectories(lengths=last.copy(), terminated=terminated[rows].copy(), **packed)

    def _reserve(self, needed: int) -> None:
        have = self._columns["action"].shape[1]
        if needed <= have:
            return
        for name, column in self._columns.items():
            grown = np.zeros((column.shape[0], 2 * have, *column.shape[2:]), column.dtype)
            grown[:, :have] = column
            self._columns[name] = grown


@dataclass
class ActingResult:
    """What one round of acting brings.

    Attributes:
        trajectories: finished episodes; None when none ended.
        steps: environment steps taken.
        stats: named means for the log.
    """

    trajectories: Trajectories | None
    steps: int
    stats: dict[str, float]


def acting_network(config: Config, model: WorldModel) -> InferenceModel:
    """Returns the network that self-play calls, on the backend that the configuration names or "auto" finds.

    Args:
        config: the run's configuration.
        model: the first weights.

    Returns:
        The network; its `backend` is the name to configure where the same one is wanted again.
    """
    inference = config.inference
    rows = shard_size(config.acting.num_envs, inference.shard_roots)
    return InferenceModel(model, backend=inference.backend, precision=inference.precision, batch_size=rows)


class Actor:
    """Plays all environments of a run with searched moves.

    Args:
        config: the run's configuration.
        model: an architecture to snapshot; weights arrive with `load_weights`.
        start_round: rounds acted before, so that a resumed run draws fresh random streams.
    """

    def __init__(self, config: Config, model: WorldModel, start_round: int = 0) -> None:
        """Makes the environments and resets them; see the class for the arguments."""
        acting = config.acting
        self.config, self.model = config, model
        seed = derive_seed(config.seed, f"envs/{start_round}")
        openings: dict[str, Any] = {}
        if acting.random_openings > 0.0 and acting.max_random_plies > 0:
            openings = {"random_openings": acting.random_openings, "max_random_plies": acting.max_random_plies}
        self.env = envs.make(config.env, acting.num_envs, seed, **openings)
        self.network = acting_network(config, model)
        # beside a learner in another process, its cores are taken
        workers = resolve_workers(config.inference.workers, config.run.threads if acting.process else 0)
        self.planner = Planner(self.network, self.env.spec, config.search, workers, config.inference.shard_roots)
        self.open = OpenEpisodes(self.env.spec, acting.num_envs)
        self._moves = start_round * acting.steps_per_round
        self._step: Step = self.env.reset()

    def load_weights(self, state: dict[str, torch.Tensor]) -> None:
        """Plays with the weights of a world model's state dict from now on."""
        self.model.load_state_dict(state)
        self.network.refresh(self.model)

    def play(self, steps: int) -> ActingResult:
        """Takes `steps` moves in every environment.

        Args:
            steps: moves, >= 1.

        Returns:
            Finished episodes and statistics.
        """
        finished: list[Trajectories] = []
        entropy = value = 0.0
        for _ in range(steps):
            result = self._search(self._step)
            step = self.env.step(result.action)
            self.open.append(
                observation=self._step.observation,
                legal_actions=self._step.legal_actions,
                to_play=self._step.to_play,
                action=result.action,
                reward=step.reward,
                policy=result.action_weights,
                value=result.root_value,
            )
            done = step.terminated | step.truncated
            if done.any():
                finished.append(self._close(step, done))
            weights = result.action_weights
            entropy -= float(np.sum(weights * np.log(np.maximum(weights, 1e-12)))) / len(weights)
            value += float(np.abs(result.root_value).mean())
            self._step = step
            self._moves += 1
        trajectories = Trajectories.concatenate(finished) if finished else None
        stats = {"acting/policy_entropy": entropy / steps, "acting/abs_root_value": value / steps}
        if trajectories is not None:
            stats |= _episode_stats(trajectories, self.env.spec.num_players)
        return ActingResult(trajectories, steps * self.env.num_envs, stats)

    def _search(self, step: Step) -> Any:
        search = self.config.search
        keys = stream_keys(self.config.seed, "search", np.arange(self.env.num_envs), self._moves)
        temperature = np.where(self.open.length < search.temperature_moves, search.temperature, 0.0)
        return self.planner.search(
            step.observation, step.legal_actions, keys, explore=True, temperature=temperature.astype(np.float32)
        )

    def _close(self, step: Step, done: NDArray[np.bool_]) -> Trajectories:
        value = np.zeros(len(done), np.float32)
        cut = np.flatnonzero(done & ~step.terminated)
        if len(cut):
            value[cut] = self.network.initial(step.final_observation[cut]).value
        # players alternate strictly: who is to move at the end is who did not move last
        mover = self._step.to_play
        to_play = 1 - mover if self.env.spec.num_players == 2 else mover
        return self.open.pack(done, step.terminated, step.final_observation, value, to_play.astype(np.int8))

    def close(self) -> None:
        """Closes the environments."""
        self.env.close()


def _episode_stats(data: Trajectories, num_players: int) -> dict[str, float]:
    """Returns mean length and, for one player, mean return; for two, shares of first-player wins and draws."""
    stats = {"episode/length": float(data.lengths.mean())}
    ends = np.cumsum(data.lengths + 1)
    if num_players == 1:
        starts = ends - data.lengths - 1
        stats["episode/return"] = float(np.add.reduceat(data.reward, starts).mean())
        return stats
    last = ends - 2
    outcome = np.where(data.to_play[last] == 0, data.reward[last], -data.reward[last])
    stats["episode/first_player_score"] = float((outcome.mean() + 1.0) / 2.0)
    stats["episode/draws"] = float((outcome == 0).mean())
    return stats
