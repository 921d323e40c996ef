"""Finds an environment by its name.

`tictactoe`, `connect4`, ...: the files of `games/`. `gym:ID`: anything registered with Gymnasium. What a name needs is
imported when the name is used, so that asking for a board game does not load Gymnasium.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from muzero_wm.envs import games
from muzero_wm.envs.base import BatchedEnv, EnvError, EnvSpec
from muzero_wm.envs.naming import EnvName, parse_name
from muzero_wm.errors import did_you_mean

if TYPE_CHECKING:
    from muzero_wm.envs.board import BoardGame
    from muzero_wm.envs.slots import SingleEnv

KINDS = ("gym:ID",)
"""How environments that are not built in are named."""


def names() -> list[str]:
    """Returns the names of the built-in environments, sorted; `KINDS` come on top of them."""
    return sorted(module.name for module in pkgutil.iter_modules(games.__path__))


def board_game(name: str) -> BoardGame:
    """Returns the true rules of a built-in board game.

    Args:
        name: one of `names()`.

    Returns:
        The rules; the first call in a process loads or compiles their kernels.

    Raises:
        EnvError: there is no board game of this name.
    """
    if name not in names():
        raise _unknown(name)
    game: BoardGame = importlib.import_module(f"{games.__name__}.{name}").GAME
    return game


def spec(name: str) -> EnvSpec:
    """Returns what a model must know about an environment.

    Args:
        name: one of `names()`, or of `KINDS`.

    Returns:
        Its EnvSpec.

    Raises:
        EnvError: there is no such environment, or it is of a kind that is not supported.
    """
    found = _find(parse_name(name))
    if not callable(found):
        return found.spec()
    env = found()
    try:
        return env.spec
    finally:
        env.close()


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
    found = _find(parse_name(name))
    openings: dict[str, Any] = {"random_openings": random_openings, "max_random_plies": max_random_plies}
    if callable(found) and (workers or timeout is not None):
        from muzero_wm.envs.workers import WorkerEnv

        options: dict[str, Any] = {"workers": max(1, workers), "timeout": timeout, "first_slot": first_slot}
        return WorkerEnv(name, spec(name), num_envs, seed, **options, **openings)
    if callable(found):
        from muzero_wm.envs.slots import SlotEnv

        return SlotEnv(found, num_envs, seed, first_slot=first_slot, **openings)
    if first_slot:
        raise EnvError(f"first_slot: {name} is built in and begins at slot 0, got {first_slot}")
    from muzero_wm.envs.board import BoardEnv

    return BoardEnv(found, num_envs, seed, **openings)


def maker(name: str) -> Callable[[], SingleEnv]:
    """Returns what makes one environment that is an object.

    Args:
        name: one of `KINDS`.

    Raises:
        EnvError: there is no such environment, or it is a board game that is built in.
    """
    found = _find(parse_name(name))
    if not callable(found):
        raise EnvError(f"{name} is built in: its games are rows of one array, not objects")
    return found


def check_workers(name: str, workers: int, timeout: float | None) -> None:
    """Checks that an environment can be stepped in processes as asked; imports nothing.

    Args:
        name: one of `names()`, or of `KINDS`.
        workers: how many.
        timeout: seconds for a step, or None.

    Raises:
        EnvError: it is a board game that is built in, or a number is impossible.
    """
    if workers < 0:
        raise EnvError(f"workers must be at least 0, got {workers}")
    if timeout is not None and not 0.0 < timeout < math.inf:
        raise EnvError(f"timeout must be a positive number of seconds, got {timeout}")
    if (workers or timeout is not None) and parse_name(name).target in names() and not parse_name(name).kind:
        raise EnvError(
            f"{name} is built in and steps thousands of games at once: it takes no workers and no time-out (leave "
            "acting.env_workers 0 and acting.env_timeout_seconds null)"
        )


def _find(name: EnvName) -> Callable[[], SingleEnv] | BoardGame:
    """Returns the rules of a board game, or what makes one environment of another kind."""
    if name.kind == "gym":
        from muzero_wm.envs.gymnasium import make_gymnasium

        return lambda: make_gymnasium(name)
    if name.kind or name.options:
        raise _unknown(name.text)
    return board_game(name.target)


def _unknown(name: str) -> EnvError:
    known = names()
    return EnvError(f"unknown environment {name!r} (known: {', '.join((*known, *KINDS))}){did_you_mean(name, known)}")
