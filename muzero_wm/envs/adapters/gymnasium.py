"""Gymnasium environments, of one player or of two that take turns."""

from __future__ import annotations

import copy
import importlib
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from muzero_wm.basis.errors import one_line
from muzero_wm.basis.processes import only_importing
from muzero_wm.envs.adapters.images import take_picture
from muzero_wm.envs.adapters.probe import alternates, once
from muzero_wm.envs.adapters.spaces import read_action_space, read_observation_space
from muzero_wm.envs.base import EnvError, EnvSpec, mask_kept
from muzero_wm.envs.language import AS_IT_IS, Language, Picture
from muzero_wm.envs.naming.guess import missing_namespace, registered
from muzero_wm.envs.naming.imports import check_module
from muzero_wm.envs.naming.naming import Channels, EnvName
from muzero_wm.envs.slots.single import Moment, SingleEnv
from muzero_wm.envs.translate import MASK, at

TO_PLAY = "to_play"
_ASSUMED_BOUNDS = (-1.0, 1.0)


class GymnasiumEnv(SingleEnv):
    """One `gymnasium.Env`.

    Spaces: see `spaces.py`. Legal actions: the Dict observation's "action_mask", else `info["action_mask"]`, else what
    the method `action_masks()` of the environment or one of its wrappers returns (for a MultiDiscrete space the masks
    of its parts one behind the other); where there never is any, every action is legal.

    Two players: `info["to_play"]`, 0 or 1, is in the info of `reset` and of every step (it may be missing when the
    episode is over). The game is zero-sum; the observation and the mask are those of the player to move, a reward is
    seen by the player who moved.

    `metadata` may hold `value_bounds`, the smallest and the largest return (two players without it: -1 and 1 are
    assumed), and `alternating`, whether every move passes the turn (two players without it: random games are played to
    find out).
    """

    def __init__(
        self,
        name: str,
        env: gymnasium.Env[Any, Any],
        channels: Channels | None = None,
        picture: Picture = AS_IT_IS,
    ) -> None:
        """Reads the spaces, and whose turn it is after a reset.

        Args:
            name: what the environment is called.
            env: the environment; closed with this.
            channels: where images have theirs; None: their shapes tell.
            picture: what is done to an image.

        Raises:
            EnvError: its spaces are not supported, it resets itself, or what it says of itself makes no sense.
        """
        self._env = self.raw = env
        layers = list(_layers(env))
        if resetting := [type(layer).__name__ for layer in layers if "autoreset" in type(layer).__name__.lower()]:
            raise EnvError(
                f"{name}: the wrapper {resetting[0]} plays on after an episode's end and hides its last observation; "
                "leave it out, slots are reset in the step in which an episode ends"
            )
        self._encoder = read_observation_space(name, env.observation_space, channels, picture)
        self.doubts = self._encoder.doubts
        self._actions = read_action_space(name, env.action_space)
        self._metadata = dict(getattr(env, "metadata", None) or {})
        self._seat = 0
        self._masks, self._masked = _mask_method(env), False
        self.repeatable = not (env.spec is not None and env.spec.nondeterministic)
        limits = [limit for layer in layers if (limit := getattr(layer, "_max_episode_steps", None)) is not None]
        self.spec = EnvSpec(
            name=name,
            observation_shape=self._encoder.shape,
            observation_dtype=self._encoder.dtype,
            num_actions=self._actions.count,
            num_players=1,
            max_episode_steps=min(limits, default=None),
            value_bounds=self._declared_bounds(name),
            observation_bounds=self._encoder.bounds,
            language=Language(self._encoder.observed, self._actions.acted),
        )
        players, alternating = once(f"players of {name}", type(env.unwrapped), self._ask_players)
        if players == 2:
            self.spec = self._of_two_players(alternating)

    def reset(self, seed: int) -> Moment:
        """Begins an episode."""
        shown = self._env.reset(seed=seed)
        if not isinstance(shown, tuple) or len(shown) != 2:
            raise EnvError(f"{self.spec.name}: reset must return (observation, info), got {str(shown)[:80]}")
        return self._moment(*shown, 0.0, False, False)

    def step(self, action: int) -> Moment:
        """Plays an action."""
        shown = self._env.step(self._actions.decode(action))
        if not isinstance(shown, tuple) or len(shown) != 5:
            raise EnvError(
                f"{self.spec.name}: step must return (observation, reward, terminated, truncated, info), "
                f"got {str(shown)[:80]}"
            )
        raw, reward, terminated, truncated, info = shown
        if self.spec.num_players == 2 and abs(float(reward)) > 1.0 and "value_bounds" not in self._metadata:
            raise EnvError(
                f"{self.spec.name}: the reward {reward} is outside [-1, 1]; declare the smallest and largest return of "
                'the environment: metadata = {"value_bounds": (low, high)}'
            )
        return self._moment(raw, info, float(reward), bool(terminated), bool(truncated))

    def clone(self) -> GymnasiumEnv:
        """Returns an independent copy, made by `copy.deepcopy`.

        Raises:
            EnvError: the environment cannot be copied, or its copies begin anew.
        """
        for layer in _layers(self._env):
            if getattr(type(layer), "__getstate__", None) is EzPickle.__getstate__:
                raise EnvError(
                    f"{self.spec.name} cannot be copied: copies of {type(layer).__name__} (an EzPickle) begin anew; "
                    "its true rules cannot be searched"
                )
        try:
            env = copy.deepcopy(self._env)
        except Exception as error:
            raise EnvError(
                f"{self.spec.name} cannot be copied, so its true rules cannot be searched: copy.deepcopy raised "
                f"{one_line(error)[:200]}"
            ) from error
        twin = copy.copy(self)
        twin._env = twin.raw = env
        twin._masks = _mask_method(env)
        return twin

    def stir(self, seed: int) -> bool:
        """Draws anew what chance decides from here on: `np_random`, and generators that are attributes of any layer."""
        self._env.unwrapped.np_random = np.random.default_rng(seed)
        for layer in _layers(self._env):
            for name, held in list(vars(layer).items()):
                if isinstance(held, np.random.Generator):
                    setattr(layer, name, np.random.default_rng(seed))
                elif isinstance(held, np.random.RandomState | random.Random):
                    held.seed(seed)
        return True

    def render(self) -> NDArray[np.uint8] | None:
        """Draws the environment, where it was made for that (`render_mode="rgb_array"`)."""
        if getattr(self._env, "render_mode", None) != "rgb_array":
            return None
        return np.asarray(self._env.render(), np.uint8)

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def _moment(self, raw: Any, info: dict[str, Any], reward: float, terminated: bool, truncated: bool) -> Moment:
        over = terminated or truncated
        if self.spec.num_players == 2:
            self._seat = self._seat_to_move(info, over)
        elif TO_PLAY in info:
            raise EnvError(
                f"{self.spec.name}: info['to_play'] of a game of two players must be in reset's info already"
            )
        return Moment(
            observation=self._encoder.encode(raw),
            legal_actions=None if over else self._legal_actions(raw, info),
            to_play=self._seat,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
        )

    def _legal_actions(self, raw: Any, info: dict[str, Any]) -> Any:
        mask = self._mask(raw, info)
        self._masked = mask_kept(self.spec.name, self._masked, mask)
        return mask

    def _mask(self, raw: Any, info: dict[str, Any]) -> Any:
        if (path := self._encoder.observed.mask) is not None:
            return self._actions.allowed(at(raw, path, f"{self.spec.name}: observation"))
        if info.get(MASK) is not None:
            return self._actions.allowed(info[MASK])
        return None if self._masks is None else self._actions.allowed(self._masks(), by_part=True)

    def _seat_to_move(self, info: dict[str, Any], over: bool) -> int:
        seat = info.get(TO_PLAY)
        if seat is None and over:
            return 1 - self._seat
        if seat not in (0, 1):
            raise EnvError(
                f"{self.spec.name}: info['to_play'] must say in every step of an episode, reset included, whose turn "
                f"it is, 0 or 1, got {seat}"
            )
        return int(seat)

    def _ask_players(self) -> tuple[int, bool]:
        """Returns how many players a first reset shows, and whether they alternate."""
        try:
            _, info = self._env.reset(seed=0)
            if TO_PLAY not in info:
                return 1, True
            alternating = self._metadata.get("alternating")
            if alternating is None:
                self.spec = self._of_two_players(True)
                alternating = alternates(self)
        except EnvError:
            raise
        except Exception as error:  # an environment of a user may fail in any way
            raise EnvError(f"{self.spec.name}: raised {one_line(error)[:400]} when first tried with seed 0") from error
        if type(alternating) is not bool:
            raise EnvError(f"{self.spec.name}: metadata['alternating'] must be True or False, got {alternating}")
        return 2, alternating

    def _of_two_players(self, alternating: bool) -> EnvSpec:
        bounds = self.spec.value_bounds or _ASSUMED_BOUNDS
        return replace(self.spec, num_players=2, value_bounds=bounds, alternating=alternating)

    def _declared_bounds(self, name: str) -> tuple[float, float] | None:
        declared = self._metadata.get("value_bounds")
        if declared is None:
            return None
        try:
            low, high = (float(bound) for bound in declared)
        except (TypeError, ValueError):
            low = high = math.nan
        if not -math.inf < low < high < math.inf:
            raise EnvError(f"{name}: metadata['value_bounds'] must be two rising finite numbers, got {declared}")
        return low, high


def make_gymnasium(name: EnvName) -> GymnasiumEnv:
    """Makes an environment that is registered with Gymnasium.

    Args:
        name: "gym:ID(option=value)"; options go to `gymnasium.make`, but for those about images.

    Returns:
        The environment.

    Raises:
        EnvError: it cannot be made, or its spaces are not supported.
    """
    picture, name = take_picture(name)
    try:
        if ":" in name.target:
            module = name.target.partition(":")[0]
            check_module(module)
            with only_importing(module):
                importlib.import_module(module)
        registered(name.target)
        env = gymnasium.make(name.target, **name.options)
    except Exception as error:  # an environment of a user may fail in any way
        if isinstance(error, gymnasium.error.NamespaceNotFound) and (remedy := missing_namespace(name.target)):
            raise EnvError(f"cannot make {name.text!r}: {remedy}") from error
        kind = "" if isinstance(error, EnvError | gymnasium.error.Error | ImportError) else f"{type(error).__name__}: "
        raise EnvError(f"cannot make {name.text!r}: {kind}{' '.join(str(error).split())[:400]}") from error
    return adapt_gymnasium(name.text, env, name.channels, picture)


def adapt_gymnasium(
    name: str, env: gymnasium.Env[Any, Any], channels: Channels | None = None, picture: Picture = AS_IT_IS
) -> GymnasiumEnv:
    """Returns an environment as `GymnasiumEnv`, or closes it.

    Args:
        name: what it is called.
        env: the environment.
        channels: see `GymnasiumEnv`.
        picture: the same.

    Returns:
        The adapter.

    Raises:
        EnvError: see `GymnasiumEnv`.
    """
    try:
        return GymnasiumEnv(name, env, channels, picture)
    except BaseException:
        env.close()
        raise


def _layers(env: gymnasium.Env[Any, Any]) -> Iterator[gymnasium.Env[Any, Any]]:
    """Yields the environment, outermost wrapper first."""
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env
    yield env


def _mask_method(env: gymnasium.Env[Any, Any]) -> Callable[[], Any] | None:
    if not env.has_wrapper_attr("action_masks"):
        return None
    method: Callable[[], Any] = env.get_wrapper_attr("action_masks")
    return method
