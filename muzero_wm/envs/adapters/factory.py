"""Environments that a function of a module makes: `package.module:factory(option=value)`.

A name of this kind is code that runs. Take such names only from people whose code you would run.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium

from muzero_wm.basis.errors import did_you_mean, one_line
from muzero_wm.basis.processes import only_importing
from muzero_wm.envs.adapters.gymnasium import adapt_gymnasium
from muzero_wm.envs.adapters.images import take_picture
from muzero_wm.envs.adapters.pettingzoo import adapt_aec, is_aec
from muzero_wm.envs.base import EnvError, EnvSpec
from muzero_wm.envs.boards.board import BoardGame
from muzero_wm.envs.language import Picture
from muzero_wm.envs.naming.imports import check_module
from muzero_wm.envs.naming.naming import EnvName
from muzero_wm.envs.slots.single import SingleEnv

_RETURNS = "a gymnasium.Env, a PettingZoo AECEnv, a muzero_wm SingleEnv or a BoardGame"


def find_factory(name: EnvName) -> Callable[..., Any]:
    """Imports the module of a name and returns what the name calls in it.

    Args:
        name: kind is the module, target the factory.

    Returns:
        The factory.

    Raises:
        EnvError: the module may not or cannot be imported, or has no such factory.
    """
    check_module(name.kind)
    if name.kind.partition(".")[0] in sys.stdlib_module_names:
        raise EnvError(f"cannot make {name.text!r}: {name.kind} belongs to Python itself and makes no environments")
    try:
        with only_importing(name.kind):
            module = importlib.import_module(name.kind)
    except Exception as error:  # a module of a user may fail in any way
        raise EnvError(f"cannot make {name.text!r}: importing {name.kind} raised {one_line(error)[:400]}") from error
    factory = getattr(module, name.target, None)
    if not callable(factory):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        what = "is no function or class" if hasattr(module, name.target) else "does not exist"
        raise EnvError(
            f"cannot make {name.text!r}: {name.target} in {name.kind} {what}{did_you_mean(name.target, public)}"
        )
    made: Callable[..., Any] = factory
    return made


def make_from_factory(name: EnvName) -> BoardGame | Callable[[], SingleEnv]:
    """Calls the factory of a name for the first time.

    Args:
        name: "package.module:factory(option=value)"; options go to the factory, but for those about images.

    Returns:
        The rules of a board game if the factory returned some; else what makes one environment per call, first of all
        the one that is made already.

    Raises:
        EnvError: there is no such factory, it failed, or what it returned is no environment.
    """
    factory = find_factory(name)
    picture, plain = take_picture(name)
    first = _called(plain, factory)
    if isinstance(first, BoardGame):
        _refuse_images(plain, picture)
        return replace(first, name=name.text)
    return _Maker(plain, factory, first, picture)


class _Maker:
    """Makes environments that share nothing."""

    def __init__(self, name: EnvName, factory: Callable[..., Any], first: Any, picture: Picture) -> None:
        self._name, self._factory, self._last, self._waiting = name, factory, first, True
        self._picture = picture

    def __call__(self) -> SingleEnv:
        if not self._waiting:
            made = _called(self._name, self._factory)
            if made is self._last:
                raise EnvError(
                    f"{self._name.text}: the factory returned the same environment twice, each call must make a new one"
                )
            self._last = made
        self._waiting = False
        return _adapted(self._name, self._last, self._picture)


def _called(name: EnvName, factory: Callable[..., Any]) -> Any:
    try:
        return factory(**name.options)
    except Exception as error:  # a factory of a user may fail in any way
        raise EnvError(f"cannot make {name.text!r}: the factory raised {one_line(error)[:400]}") from error


def _adapted(called: EnvName, made: Any, picture: Picture) -> SingleEnv:
    """Returns what a factory made as an environment of this package."""
    name = called.text
    if isinstance(made, gymnasium.Env):
        return adapt_gymnasium(name, made, called.channels, picture)
    if is_aec(made):
        _refuse_picture(name, picture)
        return adapt_aec(name, made, called.channels)
    if isinstance(made, SingleEnv):
        _refuse_images(called, picture)
        return _named(name, made)
    if isinstance(made, gymnasium.vector.VectorEnv):
        raise EnvError(
            f"{name}: the factory returned a vector environment; return a single one, slots are made of many"
        )
    raise EnvError(f"{name}: the factory must return {_RETURNS}, got {type(made).__module__}.{type(made).__qualname__}")


def _refuse_images(name: EnvName, picture: Picture) -> None:
    if name.channels is not None:
        raise EnvError(f"{name.text}: channels={name.channels} is for spaces of Gymnasium, the factory made none")
    _refuse_picture(name.text, picture)


def _refuse_picture(name: str, picture: Picture) -> None:
    if picture:
        raise EnvError(f"{name}: resize and grey are for Gymnasium's environments, the factory made another one")


def _named(name: str, env: SingleEnv) -> SingleEnv:
    """Returns an environment after checking its spec and giving it the name that it is made by."""
    spec = getattr(env, "spec", None)
    problem = spec.problem() if isinstance(spec, EnvSpec) else f"expected an EnvSpec, got {spec!r:.60}"
    if problem:
        raise EnvError(f"{name}: the spec of what the factory returned: {problem}")
    env.spec = replace(env.spec, name=name)
    return env
