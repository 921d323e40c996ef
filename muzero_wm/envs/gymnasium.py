"""Gymnasium environments."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from muzero_wm.envs.base import EnvError, EnvSpec
from muzero_wm.envs.imports import check_module
from muzero_wm.envs.naming import EnvName
from muzero_wm.envs.slots import Moment, SingleEnv


class GymnasiumEnv(SingleEnv):
    """One `gymnasium.Env` of one player.

    Observations: a Box as it is (uint8 kept, everything else float32), a Discrete one as one-hot float32. Legal actions
    come from `info["action_mask"]` where the environment gives one.
    """

    def __init__(self, name: str, env: gymnasium.Env[Any, Any]) -> None:
        """Reads the spaces.

        Args:
            name: what the environment is called.
            env: the environment; closed with this.

        Raises:
            EnvError: its spaces are not supported.
        """
        self._env = self.raw = env
        self.spec = _read_spec(name, env)
        self.repeatable = not (env.spec is not None and env.spec.nondeterministic)
        space = env.observation_space
        self._one_hot_start = int(space.start) if isinstance(space, spaces.Discrete) else None
        self._first_action = int(env.action_space.start)  # type: ignore[attr-defined]

    def reset(self, seed: int) -> Moment:
        """Begins an episode."""
        raw, info = self._env.reset(seed=seed)
        return self._moment(raw, info)

    def step(self, action: int) -> Moment:
        """Plays an action."""
        raw, reward, terminated, truncated, info = self._env.step(action + self._first_action)
        return self._moment(raw, info, float(reward), bool(terminated), bool(truncated))

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def _moment(
        self, raw: Any, info: dict[str, Any], reward: float = 0.0, terminated: bool = False, truncated: bool = False
    ) -> Moment:
        if "to_play" in info:
            raise EnvError(f"{self.spec.name}: turn-based Gymnasium environments (info['to_play']) are not supported")
        return Moment(self._encode(raw), info.get("action_mask"), 0, reward, terminated, truncated)

    def _encode(self, raw: Any) -> NDArray[Any] | Any:
        if self._one_hot_start is None:
            return raw
        observation = np.zeros(self.spec.observation_shape, self.spec.observation_dtype)
        observation[int(raw) - self._one_hot_start] = 1
        return observation


def make_gymnasium(name: EnvName) -> GymnasiumEnv:
    """Makes an environment that is registered with Gymnasium.

    Args:
        name: "gym:ID(option=value)"; options go to `gymnasium.make`.

    Returns:
        The environment.

    Raises:
        EnvError: it cannot be made, or its spaces are not supported.
    """
    try:
        if ":" in name.target:
            check_module(name.target.partition(":")[0])
        env = gymnasium.make(name.target, **name.options)
    except Exception as error:  # an environment of a user may fail in any way
        kind = "" if isinstance(error, EnvError | gymnasium.error.Error | ImportError) else f"{type(error).__name__}: "
        raise EnvError(f"cannot make {name.text!r}: {kind}{' '.join(str(error).split())[:400]}") from error
    try:
        return GymnasiumEnv(name.text, env)
    except BaseException:
        env.close()
        raise


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
