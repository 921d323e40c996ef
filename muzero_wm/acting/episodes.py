"""What acting hands over at the border of a round, and how episodes are put together from it.

Whoever plays keeps no history: every step crosses once, at the end of its round. So the unfinished episodes live where
the replay lives, and a player that dies takes nothing with it but the round it was in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs.base import EnvError, EnvSpec
from muzero_wm.replay.trajectory import Trajectories

FIRST_LENGTH = 64
RECENT = 100


@dataclass
class Played:
    """T steps of n environments, and the ends among them.

    Attributes:
        steps: arrays [T, n, ...] by the names of Trajectories.
        done: [T, n] bool.
        terminated: [T, n] bool; done but not terminated means truncated.
        final_observation: [E, *shape] of the episodes that ended, by step, then by environment.
        final_value: [E] float32, 0 where terminated.
        final_to_play: [E] int8, who would be to move.
        stats: named means for the log.
    """

    steps: dict[str, NDArray[Any]]
    done: NDArray[np.bool_]
    terminated: NDArray[np.bool_]
    final_observation: NDArray[Any]
    final_value: NDArray[np.float32]
    final_to_play: NDArray[np.int8]
    stats: dict[str, float]


@dataclass
class ActingResult:
    """What one round of acting brings.

    Attributes:
        trajectories: finished episodes; None when none ended.
        steps: environment steps taken.
        stats: named means for the log.
        notes: what happened on the way that somebody should know, one line each.
    """

    trajectories: Trajectories | None
    steps: int
    stats: dict[str, float]
    notes: list[str] = field(default_factory=list)


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

    def absorb(self, played: Played) -> Trajectories | None:
        """Takes in a round.

        Args:
            played: T steps of every environment.

        Returns:
            The episodes that ended, by step, then by environment; None where none did.
        """
        finished = []
        ended = 0
        for t, done in enumerate(played.done):
            self.append(**{name: column[t] for name, column in played.steps.items()})
            rows = np.flatnonzero(done)
            if len(rows):
                part = slice(ended, ended := ended + len(rows))
                finished.append(
                    self.pack(
                        rows,
                        played.terminated[t, rows],
                        played.final_observation[part],
                        played.final_value[part],
                        played.final_to_play[part],
                    )
                )
        return Trajectories.concatenate(finished) if finished else None

    def append(self, **values: NDArray) -> None:
        """Writes one step of every environment; names are those of Trajectories."""
        self._reserve(int(self.length.max()) + 2)
        for name, value in values.items():
            self._columns[name][self._rows, self.length] = value
        self.length += 1

    def pack(
        self,
        rows: NDArray[np.int64],
        terminated: NDArray[np.bool_],
        observation: NDArray,
        value: NDArray[np.float32],
        to_play: NDArray[np.int8],
    ) -> Trajectories:
        """Closes the episodes of some rows and returns them.

        Args:
            rows: [E] int64, ascending.
            terminated: [E] bool; False means truncated.
            observation: [E, *shape] final observations.
            value: [E] float32 value of the final observation, 0 where terminated.
            to_play: [E] int8 player to move at the final observation.

        Returns:
            The finished episodes, in row order.
        """
        last = self.length[rows]
        final = {"observation": observation, "to_play": to_play, "value": value, "action": -1}
        for name, column in self._columns.items():
            column[rows, last] = final.get(name, 0)
        inside = np.arange(self._columns["action"].shape[1])[None, :] <= last[:, None]
        packed = {name: column[rows][inside] for name, column in self._columns.items()}
        self.length[rows] = 0
        return Trajectories(lengths=last.copy(), terminated=terminated.copy(), **packed)

    def drop(self, rows: NDArray[np.bool_]) -> None:
        """Forgets the unfinished episodes of the rows in `rows` [n] bool."""
        self.length[rows] = 0

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Returns copies of the unfinished episodes, laid end to end."""
        inside = np.arange(self._columns["action"].shape[1])[None, :] < self.length[:, None]
        return {"length": self.length.copy()} | {name: column[inside] for name, column in self._columns.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores `state_dict` of as many environments.

        Raises:
            EnvError: the state is of another number of environments.
        """
        length = np.asarray(state["length"])
        if length.shape != self.length.shape:
            raise EnvError(
                f"acting.num_envs: the checkpoint holds the episodes of {len(length)} environments, got "
                f"{len(self.length)}; resume with the old number"
            )
        self.length[:] = length
        self._reserve(int(length.max()) + 2)
        inside = np.arange(self._columns["action"].shape[1])[None, :] < length[:, None]
        for name, column in self._columns.items():
            column[inside] = np.asarray(state[name])

    def _reserve(self, needed: int) -> None:
        have = self._columns["action"].shape[1]
        if needed <= have:
            return
        for name, column in self._columns.items():
            grown = np.zeros((column.shape[0], max(needed, 2 * have), *column.shape[2:]), column.dtype)
            grown[:, :have] = column
            self._columns[name] = grown


class RecentEpisodes:
    """Means over the episodes that ended last: `RECENT`, or all of a round that ended more.

    Args:
        counted: [n] bool, the environments whose episodes count.
        num_players: of the environment.
    """

    def __init__(self, counted: NDArray[np.bool_], num_players: int) -> None:
        """Starts with no episode; see the class for the arguments."""
        self._counted, self._num_players = counted, num_players
        self._recent = np.zeros((0, 2))  # length; return, or reward of the last move seen by the first player

    def add(self, data: Trajectories, rows: NDArray[np.int64]) -> None:
        """Takes in finished episodes.

        Args:
            data: E episodes.
            rows: [E] int64, environment of each.
        """
        ends = np.cumsum(data.lengths + 1)
        if self._num_players == 1:
            result = np.add.reduceat(data.reward, ends - data.lengths - 1)
        else:
            last = ends - 2
            result = np.where(data.to_play[last] == 0, data.reward[last], -data.reward[last])
        fresh = np.stack([data.lengths, result], 1)[self._counted[rows]]
        self._recent = np.concatenate([self._recent, fresh])[-max(RECENT, len(fresh)) :]

    def stats(self) -> dict[str, float]:
        """Returns mean length and, for one player, mean return; for two, shares of first-player wins and draws."""
        if not len(self._recent):
            return {}
        length, result = self._recent.mean(0)
        if self._num_players == 1:
            return {"episode/length": float(length), "episode/return": float(result)}
        return {
            "episode/length": float(length),
            "episode/first_player_score": float((result + 1.0) / 2.0),
            "episode/draws": float((self._recent[:, 1] == 0).mean()),
        }

    def state_dict(self) -> NDArray[np.float64]:
        """Returns the episodes, oldest first."""
        return self._recent

    def load_state_dict(self, state: NDArray[np.float64]) -> None:
        """Goes on with `state_dict`."""
        self._recent = np.asarray(state, np.float64).reshape(-1, 2)
