"""OpenSpiel games that have neither chance nor secrets, of one player or of two with opposite interests."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import did_you_mean
from muzero_wm.envs.adapters.openspiel_view import OWN_VIEW, View
from muzero_wm.envs.adapters.probe import alternates
from muzero_wm.envs.base import EnvError, EnvSpec
from muzero_wm.envs.naming.naming import EnvName, parse_name
from muzero_wm.envs.slots.single import Moment, SingleEnv

_SUPPORTED = "supported are games without chance or secrets, of one player or of two with opposite interests, in turns"
_MOST_NUMBERS = 1 << 16
_BOT_MIB = 1000
_UNUSABLE = {"quoridor": "OpenSpiel's observation of it does not show the walls"}


@dataclass(frozen=True)
class Rules:
    """What all environments of one name share.

    Attributes:
        game: the `pyspiel.Game`.
        view: how its positions are shown.
        spec: what a model must know.
    """

    game: Any
    view: View
    spec: EnvSpec


class OpenSpielEnv(SingleEnv):
    """One OpenSpiel game.

    Observations: `View`. Rewards are the change of OpenSpiel's returns, which for most games means the result at the
    end. Known to be seen incompletely, because OpenSpiel's tensors are: nine_mens_morris (whether a man is to be taken
    off), hive (which piece moved last) and whatever a rule of repetition remembers.
    """

    def __init__(self, rules: Rules) -> None:
        """Sets up a game; `reset` begins it."""
        self.spec = rules.spec
        self._rules = rules
        self._state = rules.game.new_initial_state()
        self._pays_early = _name(rules.game.get_type().reward_model) == "REWARDS"
        self._returns = 0.0

    def reset(self, seed: int) -> Moment:
        """Begins a game; they all begin alike."""
        self._state = self._rules.game.new_initial_state()
        self._returns = 0.0
        return self._moment(self._state.current_player(), 0.0)

    def step(self, action: int) -> Moment:
        """Plays a legal move."""
        state, mover = self._state, self._state.current_player()
        state.apply_action(action)
        over, reward = state.is_terminal(), 0.0
        if over or self._pays_early:
            # the returns of one seat are enough: those of two players are opposite
            returns = float(state.returns()[0])
            reward = returns - self._returns if mover == 0 else self._returns - returns
            self._returns = returns
        seat = (mover + 1) % self.spec.num_players if over else state.current_player()
        return self._moment(seat, reward)

    def clone(self) -> OpenSpielEnv:
        """Returns an independent copy of the game in play."""
        other = copy.copy(self)
        other._state = self._state.clone()
        return other

    def mcts_move(self, num_simulations: int, seed: int) -> int:
        """Returns the move of OpenSpiel's own `MCTSBot`.

        It is set up to search as our UCT does: one random rollout per simulation, no proof of wins, exploration sqrt(2)
        where results go from -1 to 1 and in proportion elsewhere.

        Args:
            num_simulations: rollouts, >= 1.
            seed: the same seed gives the same move in the same position.

        Returns:
            A legal move.
        """
        pyspiel, game = _pyspiel(), self._rules.game
        exploration = math.sqrt(2.0) * (game.max_utility() - game.min_utility()) / 2
        seed %= 2**31
        rollouts = pyspiel.RandomRolloutEvaluator(1, seed)
        bot = pyspiel.MCTSBot(game, rollouts, exploration, num_simulations, _BOT_MIB, False, seed, False)
        return int(bot.step(self._state))

    @property
    def moves(self) -> list[int]:
        """The actions played since the first position, random openings too."""
        return [int(action) for action in self._state.history()]

    @property
    def board(self) -> str:
        """The position as OpenSpiel draws it."""
        return str(self._state)

    def _moment(self, seat: int, reward: float) -> Moment:
        over = self._state.is_terminal()
        return Moment(self._rules.view(self._state, seat), None if over else self._legal(), seat, reward, over)

    def _legal(self) -> NDArray[np.bool_]:
        legal = np.zeros(self.spec.num_actions, np.bool_)
        legal[self._state.legal_actions()] = True
        return legal


def make_openspiel(name: EnvName) -> OpenSpielEnv:
    """Makes a game that OpenSpiel knows.

    Args:
        name: "openspiel:GAME(parameter=value)"; parameters go to OpenSpiel.

    Returns:
        The environment.

    Raises:
        EnvError: open_spiel is not installed, the game or a parameter is unknown, or the game is of a kind that is not
            supported.
    """
    return OpenSpielEnv(_rules(name.text))


def parameters(name: EnvName) -> dict[str, Any]:
    """Returns the parameters of a game, those that its name leaves out too.

    Args:
        name: as for `make_openspiel`, which says what is raised.
    """
    return dict(_rules(name.text).game.get_parameters())


@lru_cache(maxsize=32)
def _rules(text: str) -> Rules:
    name = parse_name(text)
    try:
        return _read(text, _load(name))
    except EnvError:
        raise
    except Exception as error:  # whatever the game's own code raises
        raise EnvError(f"cannot make {text!r}: {' '.join(str(error).split())[:400]}") from error


def _read(text: str, game: Any) -> Rules:
    players, low, high = game.num_players(), game.min_utility(), game.max_utility()
    if players == 1:  # what is left to gain is nothing at the end
        low, high = min(low, 0.0), max(high, 0.0)
    view = View(text, game)
    spec = EnvSpec(
        name=text,
        observation_shape=view.shape,
        observation_dtype=view.dtype,
        num_actions=game.num_distinct_actions(),
        num_players=players,
        max_episode_steps=game.max_game_length(),
        value_bounds=(float(low), float(high)) if low < high else None,
        observation_bounds=(0.0, 1.0) if view.dtype == np.uint8 else None,
    )
    rules = Rules(game, view, spec)
    if players == 1:
        return rules
    return replace(rules, spec=replace(spec, alternating=alternates(OpenSpielEnv(rules))))


def _pyspiel() -> ModuleType:
    try:
        import pyspiel
    except ImportError:
        raise EnvError("openspiel games need the package open_spiel: pip install 'muzero-wm[openspiel]'") from None
    module: ModuleType = pyspiel
    return module


def _load(name: EnvName) -> Any:
    """Returns the `pyspiel.Game` of a name, after refusing what cannot be played here."""
    pyspiel = _pyspiel()
    kinds = {kind.short_name: kind for kind in pyspiel.registered_games()}
    if name.target not in kinds:
        hint = did_you_mean(name.target, kinds)
        raise EnvError(f"{name.text}: OpenSpiel {pyspiel.__version__} knows no game {name.target!r}{hint}")
    kind = kinds[name.target]
    _refuse(name.text, _obstacles(kind, kind.min_num_players))
    if name.target in _UNUSABLE:
        raise EnvError(f"{name.text}: {_UNUSABLE[name.target]}")
    game = pyspiel.load_game(name.target, _checked_options(name, dict(kind.parameter_specification)))
    _refuse(name.text, _obstacles(game.get_type(), game.num_players()))
    shape, actions = list(game.observation_tensor_shape()), game.num_distinct_actions()
    numbers = math.prod(shape) if shape and min(shape) > 0 else 0
    if not (0 < numbers <= _MOST_NUMBERS and 0 < actions <= _MOST_NUMBERS):
        raise EnvError(
            f"cannot make {name.text!r}: expected 1 to {_MOST_NUMBERS} numbers in an observation and as many actions, "
            f"got an observation of shape {shape} and {actions} actions"
        )
    if game.max_game_length() < 1:
        raise EnvError(f"cannot make {name.text!r}: its games are over before the first move")
    return game


def _obstacles(kind: Any, players: int) -> list[str]:
    """Returns what about a game is not supported."""
    found = []
    if _name(kind.chance_mode) != "DETERMINISTIC":
        found.append("chance")
    if _name(kind.information) == "IMPERFECT_INFORMATION":
        found.append("hidden information")
    if _name(kind.dynamics) != "SEQUENTIAL":
        found.append("simultaneous moves")
    if players > 2:
        found.append(f"{players} players")
    elif players == 2 and _name(kind.utility) != "ZERO_SUM":
        found.append("players whose interests are not opposite")
    if not kind.provides_observation_tensor:
        found.append("no observation in numbers")
    return found


def _refuse(text: str, obstacles: list[str]) -> None:
    if obstacles:
        raise EnvError(f"{text} has {' and '.join(obstacles)}; {_SUPPORTED}")


def _checked_options(name: EnvName, defaults: dict[str, Any]) -> dict[str, Any]:
    """Returns the parameters for OpenSpiel, which does not survive every number."""
    options: dict[str, Any] = {}
    for key, value in name.options.items():
        if key not in defaults:
            known = f"known: {', '.join(sorted(defaults))}" if defaults else "it has none"
            raise EnvError(f"{name.text}: unknown parameter {key!r} ({known}){did_you_mean(key, defaults)}")
        default = defaults[key]
        if isinstance(default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(default):
            raise EnvError(f"{name.text}: parameter {key} must be of type {type(default).__name__}, got {value!r}")
        if type(value) is int and value < (0 if default == 0 else 1):
            raise EnvError(f"{name.text}: parameter {key} must be at least {0 if default == 0 else 1}, got {value}")
        options[key] = value
    if own_view := OWN_VIEW.get(name.target):
        options.setdefault(own_view, True)
    return options


def _name(value: Any) -> str:
    """Returns the bare name of one of OpenSpiel's enumerations."""
    return str(value).rpartition(".")[2]
