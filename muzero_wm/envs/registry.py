"""Finds an environment by its name.

`tictactoe`, `connect4`, ...: the files of `games/`. `gym:ID`: anything registered with Gymnasium.
`pettingzoo:ID`, `minatar:GAME`: what these libraries have. What a name needs is
imported when the name is used, so that asking for a board game does not load Gymnasium.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from muzero_wm.envs import games
from muzero_wm.envs.base import BatchedEnv, EnvError, EnvSpec
from muzero_wm.envs.naming import EnvName, parse_name
from muzero_wm.errors import did_you_mean

if TYPE_CHECKING:
    from muzero_wm.envs.board import BoardGame
    from muzero_wm.envs.slots import SingleEnv

KINDS = ("gym:ID", "pettingzoo:ID", "minatar:GAME")
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
) -> BatchedEnv:
    """Makes n games of one environment that step together.

    Args:
        name: one of `names()`, or of `KINDS`.
        num_envs: n >= 1.
        seed: slot i depends on (seed, i) only, not on n.
        random_openings: two players: probability that a game starts after random moves.
        max_random_plies: two players: such a start has 1 to this many random moves.

    Returns:
        The environment; call `reset` first.

    Raises:
        EnvError: the name is unknown, or an argument is impossible for it.
    """
    if num_envs < 1:
        raise EnvError(f"num_envs must be at least 1, got {num_envs}")
    if seed < 0:
        raise EnvError(f"seed must be at least 0, got {seed}")
    found = _find(parse_name(name))
    if callable(found):
        from muzero_wm.envs.slots import SlotEnv

        return SlotEnv(found, num_envs, seed, random_openings=random_openings, max_random_plies=max_random_plies)
    from muzero_wm.envs.board import BoardEnv

    return BoardEnv(found, num_envs, seed, random_openings=random_openings, max_random_plies=max_random_plies)


def _find(name: EnvName) -> Callable[[], SingleEnv] | BoardGame:
    """Returns the rules of a board game, or what makes one environment of another kind."""
    if name.kind == "gym":
        from muzero_wm.envs.gymnasium import make_gymnasium

        return lambda: make_gymnasium(name)
    if name.kind == "pettingzoo":
        from muzero_wm.envs.pettingzoo import make_pettingzoo

        return lambda: make_pettingzoo(name)
    if name.kind == "minatar":
        from muzero_wm.envs.minatar import make_minatar

        return lambda: make_minatar(name)
    if name.kind or name.options:
        raise _unknown(name.text)
    return board_game(name.target)


def _unknown(name: str) -> EnvError:
    known = names()
    return EnvError(f"unknown environment {name!r} (known: {', '.join((*known, *KINDS))}){did_you_mean(name, known)}")
