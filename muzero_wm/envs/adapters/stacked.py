"""Several observations as one: what was seen before stands beside what is seen now."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs.base import EnvError
from muzero_wm.envs.slots.single import Moment, SingleEnv


class StackedEnv(SingleEnv):
    """Shows the last k observations of an environment, oldest first, along the first axis.

    Vectors [F] become [k * F], images [C, H, W] become [k * C, H, W]. Where fewer were seen, the first stands for those
    before it. Between two players each seat has the observations that it saw itself, when it was to move.
    """

    def __init__(self, env: SingleEnv, k: int) -> None:
        """Wraps an environment.

        Args:
            env: the environment; closed with this.
            k: how many observations, at least 1.

        Raises:
            EnvError: its observations are neither vectors nor [C, H, W].
        """
        shape = env.spec.observation_shape
        if len(shape) not in (1, 3):
            raise EnvError(f"{env.spec.name}: frame_stack is for vectors and [C, H, W], observations are {shape}")
        self._env, self._k = env, k
        self._seen: dict[int, deque[NDArray[Any]]] = {}
        language = env.spec.language
        if language is not None:
            language = replace(language, observed=replace(language.observed, frames=k))
        # what a seat saw last is not what was shown last: between two players stacks are stored as they are
        frames = k if env.spec.num_players == 1 else 1
        stacked = (k * shape[0], *shape[1:])
        self.spec = replace(env.spec, observation_shape=stacked, language=language, frames=frames)
        self.repeatable, self.raw, self.doubts = env.repeatable, env.raw, env.doubts
        # one seat's observations are all in what it shows; the other's would be missing
        self.saves_state = env.saves_state and env.spec.num_players == 1

    def reset(self, seed: int) -> Moment:
        """Begins an episode."""
        self._seen.clear()
        return self._stacked(self._env.reset(seed))

    def new_game(self, seed: int) -> Moment:
        """Begins an episode in a new game."""
        self._seen.clear()
        return self._stacked(self._env.new_game(seed))

    def step(self, action: int) -> Moment:
        """Plays an action."""
        return self._stacked(self._env.step(action))

    def save(self) -> bytes:
        """Returns the state of the environment; the observations before are in what is shown."""
        return self._env.save()

    def load(self, state: bytes, shown: NDArray[Any]) -> Moment:
        """Goes on where an environment was saved.

        Raises:
            EnvError: the state is of something else.
        """
        frames = np.split(np.array(shown, self.spec.observation_dtype), self._k)
        moment = self._env.load(state, frames[-1])
        self._seen = {moment.to_play: deque(frames, maxlen=self._k)}
        return replace(moment, observation=shown)

    def clone(self) -> StackedEnv:
        """Returns an independent copy.

        Raises:
            EnvError: the environment cannot be copied.
        """
        twin = copy.copy(self)
        twin._env = self._env.clone()
        twin.raw = twin._env.raw
        twin._seen = {seat: seen.copy() for seat, seen in self._seen.items()}
        return twin

    def stir(self, seed: int) -> bool:
        """Draws anew what chance decides from here on, where the environment can."""
        return self._env.stir(seed)

    def render(self) -> NDArray[np.uint8] | None:
        """Draws the environment."""
        return self._env.render()

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def _stacked(self, moment: Moment) -> Moment:
        observation = np.array(moment.observation, self.spec.observation_dtype)  # the environment may reuse its own
        if observation.shape != self._env.spec.observation_shape:
            raise EnvError(
                f"{self.spec.name}: observation must have shape {self._env.spec.observation_shape}, "
                f"got {observation.shape}"
            )
        seen = self._seen.setdefault(moment.to_play, deque([observation] * self._k, maxlen=self._k))
        seen.append(observation)
        return replace(moment, observation=np.concatenate(seen))
