"""Single-player Gymnasium environments, one object per slot, stepped in turn.

Each slot is reset in the same step in which its episode ends, so every step is a real one and none must be dropped.
Every episode begins with a reset seed of its own and its actions are kept until it ends: Gymnasium knows no way to save
a state, so an unfinished episode is restored by playing it again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from muzero_wm.envs.base import BatchedEnv, EnvError, EnvSpec, Step, illegal_action
from muzero_wm.envs.imports import check_module
from muzero_wm.seeding import episode_seeds


def gymnasium_spec(name: str) -> EnvSpec:
    """Returns what a model must know about a Gymnasium environment.

    Args:
        name: "gym:ID".

    Returns:
        Its EnvSpec.

    Raises:
        EnvError: Gymnasium does not know the id, or its spaces are not supported.
    """
    env = _make(name)
    try:
        return _read_spec(name, env)
    finally:
        env.close()


class GymnasiumEnv(BatchedEnv):
    """Steps n copies of a Gymnasium environment.

    Observations: a Box as it is (uint8 kept, everything else float32), a Discrete one as one-hot float32. Legal actions
    come from `info["action_mask"]` where the environment gives one.
    """

    def __init__(self, name: str, num_envs: int, seed: int = 0) -> None:
        """Makes the environments.

        Args:
            name: "gym:ID".
            num_envs: n >= 1.
            seed: episode e of slot i is seeded from (seed, i, e), whatever n is.

        Raises:
            EnvError: Gymnasium does not know the id, or its spaces are not supported.
        """
        self.num_envs = num_envs
        self._envs = [_make(name)]
        try:
            self.spec = _read_spec(name, self._envs[0])
            self._envs += [_make(name) for _ in range(num_envs - 1)]
        except BaseException:
            self.close()
            raise
        space = self._envs[0].observation_space
        self._one_hot_start = int(space.start) if isinstance(space, spaces.Discrete) else None
        self._first_action = int(self._envs[0].action_space.start)  # type: ignore[attr-defined]
        self._seed = seed
        self._legal = np.ones((num_envs, self.spec.num_actions), np.bool_)
        self._episode = np.full(num_envs, -1, np.int64)
        self._length = np.zeros(num_envs, np.int64)
        self._played = np.zeros((num_envs, 64), np.int32)  # actions of the unfinished episodes
        self._shown = self._empty_step().observation

    def reset(self) -> Step:
        """Starts a new episode in every slot.

        Returns:
            The first step, its rewards 0 and nothing ended.
        """
        return self._quiet_step(self._start_episode)

    def step(self, actions: NDArray[np.integer[Any]]) -> Step:
        """Plays one action in every slot and starts the next episode where one ended.

        Args:
            actions: [n] integers, each legal in its slot.

        Returns:
            What followed.

        Raises:
            EnvError: an action is illegal or the array has the wrong shape or dtype (nothing has been played then), or
                an environment raised, or gave a reward or an observation that is not finite.
        """
        moves = self._checked_actions(actions)
        forbidden = ~self._legal[np.arange(self.num_envs), moves]
        if forbidden.any():
            slot = int(forbidden.argmax())
            raise illegal_action(self.spec.name, slot, int(moves[slot]), self._legal[slot])
        self._remember(moves)
        step = self._empty_step()
        for i in range(self.num_envs):
            observation, step.reward[i], step.terminated[i], step.truncated[i] = self._play(i, int(moves[i]))
            if step.terminated[i] or step.truncated[i]:
                step.final_observation[i] = observation
                observation = self._start_episode(i)
            step.observation[i] = observation
        step.legal_actions[:] = self._legal
        self._shown = step.observation
        return step

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Returns what names the unfinished episodes, their actions, and what they show now."""
        inside = np.arange(self._played.shape[1]) < self._length[:, None]
        return {
            "episode": self._episode.copy(),
            "length": self._length.copy(),
            "action": self._played[inside],
            "observation": self._shown.copy(),
            "legal_actions": self._legal.copy(),
        }

    def restore(self, snapshot: Mapping[str, Any], keep_episodes: bool = True) -> tuple[Step, NDArray[np.bool_]]:
        """Plays the unfinished episodes again and checks that they show what they showed.

        Args:
            snapshot: what `snapshot` of an environment of the same name, size and seed returned.
            keep_episodes: False gives up the unfinished episodes and begins the next in every slot.

        Returns:
            The present observations; and [n] bool, which episodes go on. An environment that its author calls
            nondeterministic, or that does not show the same again, begins its next episode instead.

        Raises:
            EnvError: the snapshot's arrays have other shapes.
        """
        like = {"episode": self._episode, "length": self._length, "observation": self._shown}
        saved = self._checked_snapshot(snapshot, like | {"legal_actions": self._legal})
        self._episode[:] = saved["episode"]
        actions = np.split(np.asarray(snapshot["action"], np.int32), np.cumsum(saved["length"])[:-1])
        goes_on = np.full(self.num_envs, keep_episodes)
        self.not_restored = "" if keep_episodes else "unfinished episodes were given up"

        def resume(i: int) -> NDArray[Any]:
            if not keep_episodes:
                return self._start_episode(i)
            problem = self._replay(i, actions[i], saved["observation"][i], saved["legal_actions"][i])
            if not problem:
                shown: NDArray[Any] = saved["observation"][i]
                return shown
            goes_on[i], self.not_restored = False, self.not_restored or problem
            return self._start_episode(i)

        return self._quiet_step(resume), goes_on

    def close(self) -> None:
        """Closes every environment."""
        for env in self._envs:
            env.close()

    def _replay(self, i: int, actions: NDArray[np.int32], shown: NDArray[Any], legal: NDArray[np.bool_]) -> str:
        """Plays an unfinished episode of slot i again; returns why it could not be restored, or ""."""
        spec = self._envs[i].spec
        if spec is not None and spec.nondeterministic:
            return f"{self.spec.name} is registered as nondeterministic"
        self._episode[i] -= 1
        try:
            observation = self._start_episode(i)
            for move in actions:
                self._remember(np.array([move]), np.array([i]))
                observation, _, terminated, truncated = self._play(i, int(move))
                if terminated or truncated:
                    return f"{self.spec.name} ends another way when played again ({self._where(i)})"
        except EnvError as error:
            return str(error)
        if not np.array_equal(observation, shown) or not np.array_equal(self._legal[i], legal):
            return f"{self.spec.name} shows something else when played again ({self._where(i)})"
        return ""

    def _start_episode(self, i: int) -> NDArray[Any]:
        self._episode[i] += 1
        self._length[i] = 0
        try:
            raw, info = self._envs[i].reset(seed=self._episode_seed(i))
        except Exception as error:
            raise EnvError(f"{self.spec.name}: reset raised {_one_line(error)} ({self._where(i)})") from error
        self._read_info(i, info)
        return self._encode(i, raw)

    def _play(self, i: int, move: int) -> tuple[NDArray[Any], float, bool, bool]:
        """Plays one remembered action in slot i; returns observation, reward, terminated and truncated."""
        try:
            raw, reward, terminated, truncated, info = self._envs[i].step(move + self._first_action)
        except Exception as error:
            raise EnvError(f"{self.spec.name}: step raised {_one_line(error)} ({self._where(i)})") from error
        observation = self._encode(i, raw)
        if not math.isfinite(reward):
            raise EnvError(f"{self.spec.name}: reward in slot {i} must be finite, got {reward} ({self._where(i)})")
        if not (terminated or truncated):
            self._read_info(i, info)
        return observation, float(reward), bool(terminated), bool(truncated)

    def _remember(self, moves: NDArray[np.integer[Any]], slots: NDArray[np.int64] | None = None) -> None:
        """Writes down one action for every slot, or for some."""
        rows = np.arange(self.num_envs) if slots is None else slots
        if int(self._length.max()) == self._played.shape[1]:
            self._played = np.concatenate([self._played, np.zeros_like(self._played)], axis=1)
        self._played[rows, self._length[rows]] = moves
        self._length[rows] += 1

    def _episode_seed(self, i: int) -> int:
        return int(episode_seeds(self._seed, i, self._episode[i])[0])

    def _where(self, i: int) -> str:
        """Returns how to find this moment again."""
        return f"slot {i}, episode {self._episode[i]}, reset seed {self._episode_seed(i)}, step {self._length[i]}"

    def _encode(self, i: int, raw: Any) -> NDArray[Any]:
        shape, dtype = self.spec.observation_shape, self.spec.observation_dtype
        if self._one_hot_start is not None:
            observation = np.zeros(shape, dtype)
            observation[int(raw) - self._one_hot_start] = 1
            return observation
        observation = np.asarray(raw, dtype)
        if observation.shape != shape:
            raise EnvError(
                f"{self.spec.name}: observation in slot {i} must have shape {shape}, got {observation.shape} "
                f"({self._where(i)})"
            )
        if not np.isfinite(observation).all():
            raise EnvError(f"{self.spec.name}: observation in slot {i} must be finite, got {raw} ({self._where(i)})")
        return observation

    def _read_info(self, i: int, info: dict[str, Any]) -> None:
        if "to_play" in info:
            raise EnvError(f"{self.spec.name}: turn-based Gymnasium environments (info['to_play']) are not supported")
        if "action_mask" not in info:
            self._legal[i] = True
            return
        mask, shape = np.asarray(info["action_mask"]), (self.spec.num_actions,)
        if mask.shape != shape or not mask.any():
            raise EnvError(
                f"{self.spec.name}: info['action_mask'] in slot {i} must have shape {shape} and allow an action, "
                f"got {mask.tolist()} ({self._where(i)})"
            )
        self._legal[i] = mask != 0

    def _quiet_step(self, observe: Callable[[int], NDArray[Any]]) -> Step:
        """Returns a step in which nothing was played; `observe(i)` gives slot i's observation."""
        step = self._empty_step()
        for i in range(self.num_envs):
            step.observation[i] = observe(i)
        step.legal_actions[:] = self._legal
        self._shown = step.observation
        return step

    def _empty_step(self) -> Step:
        n, spec = self.num_envs, self.spec
        return Step(
            observation=np.zeros((n, *spec.observation_shape), spec.observation_dtype),
            legal_actions=np.zeros((n, spec.num_actions), np.bool_),
            to_play=np.zeros(n, np.int8),
            reward=np.zeros(n, np.float32),
            terminated=np.zeros(n, np.bool_),
            truncated=np.zeros(n, np.bool_),
            final_observation=np.zeros((n, *spec.observation_shape), spec.observation_dtype),
        )


def _make(name: str) -> gymnasium.Env[Any, Any]:
    try:
        if ":" in (gym_id := name.removeprefix("gym:")):
            check_module(gym_id.partition(":")[0])
        return gymnasium.make(gym_id)
    except Exception as error:  # an environment of a user may fail in any way
        kind = "" if isinstance(error, EnvError | gymnasium.error.Error | ImportError) else f"{type(error).__name__}: "
        raise EnvError(f"cannot make {name[:200]!r}: {kind}{' '.join(str(error).split())[:400]}") from error


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _read_spec(name: str, env: gymnasium.Env[Any, Any]) -> EnvSpec:
    if not isinstance(env.action_space, spaces.Discrete):
        raise EnvError(f"{name}: the action space must be Discrete, got {env.action_space}")
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    if isinstance(env.observation_space, spaces.Discrete):
        shape, dtype = (int(env.observation_space.n),), np.dtype(np.float32)
    elif isinstance(env.observation_space, spaces.Box):
        shape = env.observation_space.shape
        dtype = np.dtype(np.uint8 if env.observation_space.dtype == np.uint8 else np.float32)
    else:
        raise EnvError(f"{name}: the observation space must be Box or Discrete, got {env.observation_space}")
    return EnvSpec(
        name=name,
        observation_shape=shape,
        observation_dtype=dtype,
        num_actions=int(env.action_space.n),
        num_players=1,
        max_episode_steps=env.spec.max_episode_steps if env.spec else None,
    )
