"""Single-player Gymnasium environments, one object per slot, stepped in turn.

Each slot is reset in the same step in which its episode ends, so every step is a real one and none must be dropped.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from muzero_wm.envs.base import BatchedEnv, EnvError, EnvSpec, Step, illegal_action
from muzero_wm.envs.imports import check_module
from muzero_wm.seeding import stream_keys


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
            seed: slot i is seeded once, from (seed, i); its later episodes go on from there.

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
        keys = stream_keys(seed, "env/gymnasium", np.arange(num_envs))
        self._seeds: list[int | None] = [int(key >> np.uint64(33)) for key in keys]
        self._legal = np.ones((num_envs, self.spec.num_actions), np.bool_)

    def reset(self) -> Step:
        """Starts a new episode in every slot.

        Returns:
            The first step, its rewards 0 and nothing ended.
        """
        step = self._empty_step()
        for i in range(self.num_envs):
            step.observation[i] = self._start_episode(i)
        step.legal_actions[:] = self._legal
        return step

    def step(self, actions: NDArray[np.integer[Any]]) -> Step:
        """Plays one action in every slot and starts the next episode where one ended.

        Args:
            actions: [n] integers, each legal in its slot.

        Returns:
            What followed.

        Raises:
            EnvError: an action is illegal or the array has the wrong shape or dtype (nothing has been played then), or
                an environment gave a reward or an observation that is not finite.
        """
        moves = self._checked_actions(actions)
        forbidden = ~self._legal[np.arange(self.num_envs), moves]
        if forbidden.any():
            slot = int(forbidden.argmax())
            raise illegal_action(self.spec.name, slot, int(moves[slot]), self._legal[slot])
        step = self._empty_step()
        for i, env in enumerate(self._envs):
            raw, reward, terminated, truncated, info = env.step(int(moves[i]) + self._first_action)
            observation = self._encode(i, raw)
            if not math.isfinite(reward):
                raise EnvError(f"{self.spec.name}: reward in slot {i} must be finite, got {reward}")
            step.reward[i], step.terminated[i], step.truncated[i] = reward, terminated, truncated
            if terminated or truncated:
                step.final_observation[i] = observation
                observation = self._start_episode(i)
            else:
                self._read_info(i, info)
            step.observation[i] = observation
        step.legal_actions[:] = self._legal
        return step

    def close(self) -> None:
        """Closes every environment."""
        for env in self._envs:
            env.close()

    def _start_episode(self, i: int) -> NDArray[Any]:
        raw, info = self._envs[i].reset(seed=self._seeds[i])
        self._seeds[i] = None
        self._read_info(i, info)
        return self._encode(i, raw)

    def _encode(self, i: int, raw: Any) -> NDArray[Any]:
        shape, dtype = self.spec.observation_shape, self.spec.observation_dtype
        if self._one_hot_start is not None:
            observation = np.zeros(shape, dtype)
            observation[int(raw) - self._one_hot_start] = 1
            return observation
        observation = np.asarray(raw, dtype)
        if observation.shape != shape:
            raise EnvError(
                f"{self.spec.name}: observation in slot {i} must have shape {shape}, got {observation.shape}"
            )
        if not np.isfinite(observation).all():
            raise EnvError(f"{self.spec.name}: observation in slot {i} must be finite, got {raw}")
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
                f"got {mask.tolist()}"
            )
        self._legal[i] = mask != 0

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
