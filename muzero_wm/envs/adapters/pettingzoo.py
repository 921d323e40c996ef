"""PettingZoo's turn-based (AEC) games of two players, zero sum, with nothing hidden.

A library of board games, card games and games of simultaneous moves looks the same from outside, so what cannot be
learnt here is refused by name where it is known (`_HIDDEN`), by the library's own word that moves are made at the same
time (`is_parallelizable`), and by the number of agents.
"""

from __future__ import annotations

import copy
import re
import sys
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from muzero_wm.basis.errors import did_you_mean, one_line
from muzero_wm.envs.adapters.probe import alternates, once
from muzero_wm.envs.adapters.spaces import doubt, image_order, is_doubtful, numbers, space_text
from muzero_wm.envs.base import EnvError, EnvSpec, mask_kept
from muzero_wm.envs.language import Acted, Language, Observed
from muzero_wm.envs.naming.naming import Channels, EnvName
from muzero_wm.envs.slots.single import Moment, SingleEnv
from muzero_wm.envs.translate import MASK, encoding

_HIDDEN = ("gin_rummy", "hanabi", "leduc_holdem", "texas_holdem", "texas_holdem_no_limit")
_SIMULTANEOUS = ("atari", "butterfly", "sisl")
# Win, draw and loss only, strict turns; with the length of the longest game where there is one.
_BOARDS = {"chess": None, "connect_four": 42, "go": None, "tictactoe": 9}


class PettingZooEnv(SingleEnv):
    """One `pettingzoo.AECEnv` of two agents; the seat of an agent is its place in `possible_agents`.

    Observations of three dimensions are [H, W, C] there, unless the name says `channels=first`, and [C, H, W] here. The
    mask comes from the observation or from the agent's info.
    """

    def __init__(self, name: str, env: Any, channels: Channels | None = None) -> None:
        """Reads the spaces.

        Args:
            name: what the environment is called.
            env: the `pettingzoo.AECEnv`; closed with this.
            channels: where images have theirs; None: last, with a doubt where the shape says something else.

        Raises:
            EnvError: it is not a game of two agents that see and do the same kind of things in turns.
        """
        self._env = env
        self._masked = False
        self._agents = list(env.possible_agents)
        self._seat = {agent: seat for seat, agent in enumerate(self._agents)}
        self.spec, observed = _read(name, env, self._agents, channels or "last")
        self.doubts = tuple(doubt(part) for part in observed.parts if channels is None and is_doubtful(part))
        self._encode = encoding(observed, f"{name}: observation")

    def reset(self, seed: int) -> Moment:
        """Begins an episode."""
        self._env.reset(seed=seed)
        return self._moment(self._env.agent_selection)

    def step(self, action: int) -> Moment:
        """Plays an action of the agent whose turn it is."""
        env = self._env
        mover = env.agent_selection
        env.step(action)
        rewards = [float(env.rewards[agent]) for agent in self._agents]
        if abs(sum(rewards)) > 1e-6 * max(1.0, abs(rewards[0])):
            raise EnvError(f"{self.spec.name}: the rewards of the two players must sum to 0, got {rewards}")
        out = [bool(env.terminations[agent] or env.truncations[agent]) for agent in self._agents]
        if out[0] != out[1]:
            raise EnvError(f"{self.spec.name}: an agent leaves while the other plays on, which is not supported")
        terminated = any(bool(env.terminations[agent]) for agent in self._agents)
        # Some environments select any agent when the game is over.
        to_play = self._agents[1 - self._seat[mover]] if out[0] and self.spec.alternating else env.agent_selection
        moment = self._moment(to_play)
        moment.reward = rewards[self._seat[mover]]
        moment.terminated, moment.truncated = terminated, out[0] and not terminated
        return moment

    def clone(self) -> PettingZooEnv:
        """Returns an independent copy that stands where this one stands.

        Raises:
            EnvError: the environment cannot be copied.
        """
        env = self._env
        shared = [space for agent in self._agents for space in (env.observation_space(agent), env.action_space(agent))]
        twin = copy.copy(self)
        try:
            twin._env = _copied(env, {id(space): space for space in shared})
            mine, same = self._moment(env.agent_selection), twin._moment(twin._env.agent_selection)
        except Exception as error:  # whatever an environment holds may refuse
            raise EnvError(f"{self.spec.name} cannot be copied: {one_line(error)}") from error
        if mine.to_play != same.to_play or not np.array_equal(mine.observation, same.observation):
            raise EnvError(f"{self.spec.name} cannot be copied: its copy shows something else")
        return twin

    def render(self) -> NDArray[np.uint8] | None:
        """Draws the environment, where it was made for that (`render_mode="rgb_array"`)."""
        if getattr(self._env, "render_mode", None) != "rgb_array":
            return None
        return np.asarray(self._env.render(), np.uint8)

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def _moment(self, agent: Any) -> Moment:
        """Returns what `agent` sees."""
        observation = self._env.observe(agent)
        mask = observation.get(MASK) if isinstance(observation, dict) else None
        if mask is None:
            mask = self._env.infos[agent].get(MASK)
        if not any(self._env.terminations.values()) and not any(self._env.truncations.values()):
            self._masked = mask_kept(self.spec.name, self._masked, mask)
        return Moment(self._encode(observation), mask, self._seat[agent])


def make_pettingzoo(name: EnvName) -> PettingZooEnv:
    """Makes an environment of PettingZoo's registry.

    Args:
        name: "pettingzoo:classic/connect_four_v3(option=value)"; options go to `pettingzoo.make`.

    Returns:
        The environment.

    Raises:
        EnvError: PettingZoo or what the game needs is not installed, there is no such game, or it is not supported.
    """
    namespace, _, versioned = name.target.rpartition("/")
    game = re.sub(r"[-_]v\d+$", "", versioned)
    if game in _HIDDEN:
        raise EnvError(f"{name.text}: the cards of {game} are hidden; only games that show everything are supported")
    if namespace in _SIMULTANEOUS:
        raise _simultaneous(name.text)
    if namespace != "classic" or game not in _BOARDS:
        return adapt_aec(name.text, _make_aec(name), name.channels)
    board = PettingZooEnv(name.text, _make_aec(name), name.channels or "last")
    board.spec = replace(board.spec, max_episode_steps=_BOARDS[game], value_bounds=(-1.0, 1.0))
    return board


def is_aec(made: object) -> bool:
    """Returns whether something is a `pettingzoo.AECEnv`; imports nothing."""
    library = sys.modules.get("pettingzoo")
    return library is not None and isinstance(made, library.AECEnv)


def adapt_aec(name: str, env: Any, channels: Channels | None = None) -> PettingZooEnv:
    """Adapts an environment that says nothing about itself: random games show whether every move passes the turn.

    Args:
        name: what it is called; the games are played once per process.
        env: a `pettingzoo.AECEnv`.
        channels: see `PettingZooEnv`.

    Returns:
        The environment.

    Raises:
        EnvError: it is not supported; `env` is closed then.
    """
    try:
        adapted = PettingZooEnv(name, env, channels)
        adapted.spec = once(name, type(env.unwrapped), lambda: replace(adapted.spec, alternating=alternates(adapted)))
    except BaseException:
        env.close()
        raise
    return adapted


def _make_aec(name: EnvName) -> Any:
    try:
        import pettingzoo
    except ImportError:
        raise EnvError(f'{name.text} needs PettingZoo: pip install "muzero-wm[pettingzoo]"') from None
    try:
        return pettingzoo.make("aec", name.target, **name.options)
    except Exception as error:  # an environment may fail in any way
        if missing := _missing_module(error):
            raise EnvError(f"{name.text} needs the package {missing!r}: pip install {missing}") from error
        if type(error).__name__ == "NameNotFound":
            known = sorted(pettingzoo.aec_registry)
            raise EnvError(f"PettingZoo has no {name.target!r}{did_you_mean(name.target, known)}") from error
        raise EnvError(f"cannot make {name.text!r}: {one_line(error)[:400]}") from error


def _missing_module(error: BaseException | None) -> str:
    """Returns the module whose absence is at the root of an error, or ""."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name.partition(".")[0]
        error = error.__cause__
    return ""


def _simultaneous(name: str) -> EnvError:
    return EnvError(f"{name}: the players move at the same time; only games in turns are supported")


def _read(name: str, env: Any, agents: list[Any], channels: Channels) -> tuple[EnvSpec, Observed]:
    if len(agents) != 2:
        raise EnvError(f"{name}: only games of two players are supported, this one has {len(agents)}")
    if env.metadata.get("is_parallelizable", False):
        raise _simultaneous(name)
    whole = env.observation_space(agents[0])
    inside = isinstance(whole, spaces.Dict) and "observation" in whole.spaces
    (seen, does), (other_seen, other_does) = ((_seen(env, agent), env.action_space(agent)) for agent in agents)
    if seen != other_seen or does != other_does:
        raise EnvError(f"{name}: both agents must have the same observation and action space")
    if not isinstance(does, spaces.Discrete) or does.start != 0:
        raise EnvError(f"{name}: the action space must be Discrete and start at 0, got {does}")
    if not isinstance(seen, spaces.Box):
        raise EnvError(f"{name}: the observation space must be a Box, or a Dict with 'observation', got {seen}")
    low, high = float(seen.low.min()), float(seen.high.max())
    small = not np.issubdtype(seen.dtype, np.floating) and low >= 0 and high <= 255
    dtype = np.dtype(np.uint8 if small else np.float32)
    order = image_order(seen.shape, channels) if len(seen.shape) == 3 else (tuple(range(len(seen.shape))), seen.shape)
    part = numbers(("observation",) if inside else (), seen, dtype, order)
    observed = Observed((part,), (MASK,) if isinstance(whole, spaces.Dict) and MASK in whole.spaces else None)
    spec = EnvSpec(
        name=name,
        observation_shape=observed.shape,
        observation_dtype=dtype,
        num_actions=int(does.n),
        num_players=2,
        observation_bounds=(low, high) if np.isfinite([low, high]).all() and low < high else None,
        language=Language(observed, Acted(space_text(does), (int(does.n),), (0,))),
    )
    return spec, observed


def _seen(env: Any, agent: Any) -> Any:
    space = env.observation_space(agent)
    return space.spaces.get("observation", space) if isinstance(space, spaces.Dict) else space


def _copied(env: Any, memo: dict[int, Any]) -> Any:
    """Returns a copy of an environment and of all that it wraps.

    `copy.deepcopy` would make a new environment, at the start of an episode: the library's classes are EzPickle.
    """
    from pettingzoo import AECEnv

    memo[id(env)] = twin = object.__new__(type(env))
    for key, value in vars(env).items():
        twin.__dict__[key] = _copied(value, memo) if isinstance(value, AECEnv) else copy.deepcopy(value, memo)
    return twin
