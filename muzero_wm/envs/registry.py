"""Finds an environment by its name.

`tictactoe`, `othello(board_size=6)`, ...: the files of `games/`. `gym:ID`: anything registered with Gymnasium.
`openspiel:GAME`, `pettingzoo:ID`, `minatar:GAME`, `ale:GAME`: what these libraries have. `package.module:factory`: what
a function of an installed module makes. What a name needs is imported when the name is used, so that asking for a board
game does not load Gymnasium.

Options stand in parentheses. Some are taken here: `frame_stack=k`, for every kind but board games, shows the last k
observations at once (four of `ale:`, where nothing is said); `channels=first` or `channels=last` says how images are
read, where their shape does not; `resize` and `grey` what is done to images of `gym:` and factories.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from muzero_wm.basis.errors import did_you_mean
from muzero_wm.basis.foreign import foreign
from muzero_wm.envs import games
from muzero_wm.envs.adapters.probe import once
from muzero_wm.envs.base import BatchedEnv, EnvError, EnvSpec
from muzero_wm.envs.naming.guess import known_to_gymnasium, registered
from muzero_wm.envs.naming.handover import handover
from muzero_wm.envs.naming.imports import check_module
from muzero_wm.envs.naming.naming import EnvName, parse_name, with_options

if TYPE_CHECKING:
    from muzero_wm.envs.boards.board import BoardGame
    from muzero_wm.envs.boards.options import Options
    from muzero_wm.envs.slots.single import SingleEnv

KINDS = ("gym:ID", "openspiel:GAME", "pettingzoo:ID", "minatar:GAME", "ale:GAME", "package.module:factory")
"""How environments that are not built in are named."""

_ADAPTERS = {
    "gym": ("muzero_wm.envs.adapters.gymnasium", "make_gymnasium"),
    "openspiel": ("muzero_wm.envs.adapters.openspiel", "make_openspiel"),
    "pettingzoo": ("muzero_wm.envs.adapters.pettingzoo", "make_pettingzoo"),
    "minatar": ("muzero_wm.envs.adapters.minatar", "make_minatar"),
    "ale": ("muzero_wm.envs.adapters.atari", "make_atari"),
}
_MOST_FRAMES = 64
_DRAWN_ON_DEMAND = ("gym", "pettingzoo")
_ATARI_FRAMES = 4  # the protocol's
_READ_HERE = ("gym", "pettingzoo")  # and what factories make: the others say themselves where their channels are


def names() -> list[str]:
    """Returns the names of the built-in environments, sorted, options left out; `KINDS` come on top of them."""
    return list(_built_in_names())


def is_built_in(name: str) -> bool:
    """Returns whether a name, with options or without, is that of a built-in environment.

    Args:
        name: as for `spec`; whether its options are right is not asked.
    """
    try:
        parsed = parse_name(name)
    except EnvError:
        return False
    return not parsed.kind and parsed.target in _built_in_names()


def game_options(target: str) -> Options:
    """Returns the options of a built-in game.

    Args:
        target: one of `names()`.
    """
    options: Options = importlib.import_module(f"{games.__name__}.{target}").OPTIONS
    return options


def option_values(name: str) -> dict[str, Any]:
    """Returns what the options of a built-in game are, those that its name leaves out too.

    Args:
        name: one of `names()`, with options or without.

    Raises:
        EnvError: there is no such game, or an option is impossible.
    """
    return _option_values(parse_name(name))


def _option_values(name: EnvName) -> dict[str, Any]:
    from muzero_wm.envs.boards.options import checked_options

    if name.kind or name.target not in _built_in_names():
        raise _unknown(name)
    return checked_options(name, game_options(name.target))


def full_name(name: str, tell: Callable[[str], None] | None = None) -> str:
    """Returns the name of an environment with its kind, where a person left out that it is Gymnasium's.

    Args:
        name: as a person said it.
        tell: called with a line where the name is completed.

    Returns:
        "gym:CartPole-v1" for "CartPole-v1"; whatever is built in or unknown stays as it is.
    """
    full = None if is_built_in(name) else known_to_gymnasium(name)
    if full is not None and tell is not None:
        tell(f"{name} is one of Gymnasium's environments: taken as {full}.")
    return full or name


def as_evaluated(name: str) -> str:
    """Returns the name by which episodes of an environment are played when they are measured.

    Args:
        name: as for `spec`.

    Returns:
        For `ale:` the same with whole games as episodes, whatever it said of lost lives; any other name as it is.

    Raises:
        EnvError: it is not of the form of a name.
    """
    parsed = parse_name(name)
    return with_options(parsed, life_loss=False) if parsed.kind == "ale" else name


def board_game(name: str) -> BoardGame:
    """Returns the true rules of a board game.

    Args:
        name: one of `names()`, or of a module that makes a `BoardGame`.

    Returns:
        The rules; the first call in a process loads or compiles their kernels.

    Raises:
        EnvError: there is no board game of this name.
    """
    found = find(name)
    if callable(found):
        raise EnvError(
            f"{name} is no board game with rules of its own, as {', '.join(names())} and a BoardGame of yours are"
        )
    return found


@foreign
def spec(name: str) -> EnvSpec:
    """Returns what a model must know about an environment; it is asked once per process.

    Args:
        name: one of `names()`, or of `KINDS`.

    Returns:
        Its EnvSpec.

    Raises:
        EnvError: there is no such environment, or it is of a kind that is not supported.
    """
    parsed = parse_name(name)
    return once(f"spec of {name}", _source(parsed), lambda: _read_spec(parsed))


def as_rendered(name: str) -> str:
    """Returns the name by which an environment draws pictures of itself, where that must be asked for.

    Args:
        name: of any kind.

    Returns:
        The same environment; whether it can draw shows when it is made.
    """
    parsed = parse_name(name)
    if parsed.kind not in _DRAWN_ON_DEMAND or "render_mode" in parsed.options:
        return name
    return with_options(parsed, render_mode="rgb_array")


def make(
    name: str,
    num_envs: int,
    seed: int = 0,
    *,
    random_openings: float = 0.0,
    max_random_plies: int = 0,
    workers: int = 0,
    timeout: float | None = None,
    first_slot: int = 0,
) -> BatchedEnv:
    """Makes n games of one environment that step together.

    Args:
        name: one of `names()`, or of `KINDS`.
        num_envs: n >= 1.
        seed: slot i depends on (seed, i) only, not on n.
        random_openings: two players: probability that a game starts after random moves.
        max_random_plies: two players: such a start has 1 to this many random moves.
        workers: processes that step a part of the slots each, with the same result; 0: this one. Not for board games
            that are built in.
        timeout: seconds that one reset or step of one environment may take before it is killed and EnvError raised;
            needs a worker to be killed, so there is at least one then. None: for ever.
        first_slot: number of the first slot, where this is a part of a larger batch.

    Returns:
        The environment; call `reset` first.

    Raises:
        EnvError: the name is unknown, or an argument is impossible for it.
    """
    if num_envs < 1:
        raise EnvError(f"num_envs must be at least 1, got {num_envs}")
    if seed < 0:
        raise EnvError(f"seed must be at least 0, got {seed}")
    check_workers(name, workers, timeout)
    found = find(name)
    openings: dict[str, Any] = {"random_openings": random_openings, "max_random_plies": max_random_plies}
    if callable(found) and (workers or timeout is not None):
        from muzero_wm.envs.slots.workers import WorkerEnv

        options: dict[str, Any] = {"workers": max(1, workers), "timeout": timeout, "first_slot": first_slot}
        return WorkerEnv(name, maker, spec(name), num_envs, seed, **options, **openings)
    if callable(found):
        from muzero_wm.envs.slots.slots import SlotEnv

        return SlotEnv(found, num_envs, seed, first_slot=first_slot, **openings)
    if first_slot:
        raise EnvError(f"first_slot: {name} is built in and begins at slot 0, got {first_slot}")
    from muzero_wm.envs.boards.board import BoardEnv

    return BoardEnv(found, num_envs, seed, **openings)


@foreign
def find(name: str) -> Callable[[], SingleEnv] | BoardGame:
    """Returns the rules of a board game, or what makes one environment of another kind.

    Args:
        name: one of `names()`, or of `KINDS`.

    Raises:
        EnvError: there is no such environment.
    """
    return _stacked(parse_name(name))


def maker(name: str) -> Callable[[], SingleEnv]:
    """Returns what makes one environment that is an object.

    Args:
        name: one of `KINDS`.

    Raises:
        EnvError: there is no such environment, or it is a board game that is built in.
    """
    found = find(name)
    if not callable(found):
        raise EnvError(f"{name} is built in: its games are rows of one array, not objects")
    return found


def check_workers(name: str, workers: int, timeout: float | None) -> None:
    """Checks that an environment can be stepped in processes as asked; makes none.

    Args:
        name: one of `names()`, or of `KINDS`.
        workers: how many.
        timeout: seconds for a step, or None.

    Raises:
        EnvError: it is a board game that is built in, no other process can make it, or a number is impossible.
    """
    if workers < 0:
        raise EnvError(f"workers must be at least 0, got {workers}")
    if timeout is not None and not 0.0 < timeout < math.inf:
        raise EnvError(f"timeout must be a positive number of seconds, got {timeout}")
    if not workers and timeout is None:
        return
    if is_built_in(name):
        raise EnvError(
            f"{name} is built in and steps thousands of games at once: it takes no workers and no time-out (leave "
            "acting.env_workers 0 and acting.env_timeout_seconds null)"
        )
    try:
        handover(name)
    except EnvError as error:
        raise EnvError(f"{error}; or leave acting.env_workers 0 and acting.env_timeout_seconds null") from error


def _stacked(name: EnvName) -> Callable[[], SingleEnv] | BoardGame:
    """Returns what `_find` returns, with as many frames stacked as the name says."""
    options = dict(name.options)
    k = options.pop("frame_stack", _ATARI_FRAMES if name.kind == "ale" else None)
    if k is None:
        return _find(name)
    if type(k) is not int or not 1 <= k <= _MOST_FRAMES:
        raise EnvError(f"{name.text}: frame_stack must be a whole number in [1, {_MOST_FRAMES}], got {k!r}")
    found = _find(replace(name, options=options))
    if not callable(found):
        raise EnvError(f"{name.text}: frame_stack is not for board games, their boards show everything")
    from muzero_wm.envs.adapters.stacked import StackedEnv

    return lambda: StackedEnv(found(), k)


def _find(name: EnvName) -> Callable[[], SingleEnv] | BoardGame:
    """Returns the rules of a board game, or what makes one environment of another kind."""
    if name.channels is not None and name.kind in ("", *_ADAPTERS) and name.kind not in _READ_HERE:
        raise EnvError(f"{name.text}: channels={name.channels} is for gym:, pettingzoo: and factories")
    if name.kind in ("", "openspiel", "pettingzoo", "minatar") and {"resize", "grey"} & {*name.options}:
        raise EnvError(f"{name.text}: resize and grey are for gym: and factories")
    if name.kind in _ADAPTERS:
        module, function = _ADAPTERS[name.kind]
        adapt: Callable[[EnvName], SingleEnv] = getattr(importlib.import_module(module), function)
        return lambda: adapt(name)
    if name.kind:
        from muzero_wm.envs.adapters.factory import make_from_factory

        _check_kind(name)
        return make_from_factory(name)
    return _board_game(name.target, tuple(_option_values(name).items()))


@cache
def _board_game(target: str, values: tuple[tuple[str, Any], ...]) -> BoardGame:
    from muzero_wm.envs.boards.options import canonical_name

    game: BoardGame = importlib.import_module(f"{games.__name__}.{target}").make(**dict(values))
    return replace(game, name=canonical_name(target, dict(values), game_options(target)))


@cache
def _built_in_names() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(games.__path__)))


def _source(name: EnvName) -> object:
    """Returns what a name stands for, where that may change within a process."""
    if name.kind == "gym":
        return registered(name.target.rpartition(":")[2])
    if name.kind in ("", *_ADAPTERS):
        return None
    from muzero_wm.envs.adapters.factory import find_factory

    _check_kind(name)
    return find_factory(name)


def _read_spec(name: EnvName) -> EnvSpec:
    found = _stacked(name)
    if not callable(found):
        return found.spec()
    env = found()
    try:
        return env.spec
    finally:
        env.close()


def _check_kind(name: EnvName) -> None:
    """Checks that the kind is a module, for it is none of `KINDS`."""
    try:
        check_module(name.kind)
    except EnvError as error:
        hint = did_you_mean(name.kind, _ADAPTERS)
        raise EnvError(f"unknown environment {name.text!r}: {error} (known: {_known()}){hint}") from None


def _known() -> str:
    return ", ".join((*names(), *KINDS))


def _unknown(name: EnvName) -> EnvError:
    meant = known_to_gymnasium(name.text)
    hint = f", did you mean {meant!r}?" if meant else did_you_mean(name.target, names())
    return EnvError(f"unknown environment {name.text!r} (known: {_known()}){hint}")
