"""What a configuration calls by its name, ours and the user's: torsos and opponents.

A name says nothing about where code lies, so a configuration or a checkpoint of a stranger imports nothing: what is not
ours is there only where the program has registered it. Ours is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

from muzero_wm.basis.errors import UserError, did_you_mean

_NAME = r"[a-z][a-z0-9_-]{0,39}"


class Registry:
    """Finds what belongs to a name.

    Args:
        what: goes by these names, for messages: "torso".
        remedy: the function that registers one's own.
        ours: where what is built in lies, "package.module:attribute", by name, in the order in which names are told.
    """

    def __init__(self, what: str, remedy: str, ours: Mapping[str, str]) -> None:
        """Starts with what is built in; see the class for the arguments."""
        self._what, self._remedy, self._ours = what, remedy, dict(ours)
        self._own: dict[str, Any] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All names, the built-in ones first."""
        return (*self._ours, *self._own)

    @property
    def own(self) -> dict[str, Any]:
        """What was registered here, by name."""
        return dict(self._own)

    def register(self, name: str, maker: Any) -> None:
        """Gives what a program defines a name; the same definition may come again, changed or not.

        Args:
            name: lower case letters, digits, - and _.
            maker: a class or function.

        Raises:
            UserError: the name cannot be one, or is taken.
        """
        if not isinstance(name, str) or not re.fullmatch(_NAME, name):
            raise UserError(
                f"{self._remedy}: expected a name of lower case letters, digits, - and _, got {str(name)[:60]!r}"
            )
        if not callable(maker):
            raise UserError(f"{self._remedy}: expected a class or a function for {name!r}, got {str(maker)[:60]!r}")
        taken = "is built in" if name in self._ours else ""
        if name in self._own and _place(self._own[name]) != _place(maker):
            taken = f"is {':'.join(_place(self._own[name]))} already"
        if taken:
            raise UserError(f"{self._remedy}: the {self._what} {name!r} {taken}; take another name")
        self._own[name] = maker

    def find(self, name: str) -> Any:
        """Returns what goes by a name.

        Raises:
            UserError: there is no such name.
        """
        if name in self._own:
            return self._own[name]
        if name not in self._ours:
            raise UserError(f"{self._what}: {self.unknown(name)}")
        module, _, attribute = self._ours[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def unknown(self, name: str, *others: str) -> str:
        """Returns what to say of an unknown name: what was expected, and what came.

        Args:
            name: what came.
            *others: more words that are taken.
        """
        *known, last = (*others, *self.names)
        hint = did_you_mean(name, [*known, last]) or (
            f"; a {self._what} of your own is there once your program has called {self._remedy}"
        )
        return f"expected {', '.join(map(repr, known))} or {last!r}, got {name[:60]!r}{hint}"


TORSOS = Registry(
    "torso",
    "register_torso",
    {
        "mlp": "muzero_wm.model.torsos:MLP",
        "conv": "muzero_wm.model.torsos:Conv",
        "pixels": "muzero_wm.model.torsos:Pixels",
    },
)

PREFERRED_TORSOS = ("conv", "pixels", "mlp")
"""In which order the built-in ones are tried where nobody names one."""

OPPONENTS = Registry(
    "opponent",
    "register_opponent",
    {
        "random": "muzero_wm.evaluation.opponents:make_random",
        "perfect": "muzero_wm.evaluation.opponents:make_perfect",
        "mcts": "muzero_wm.evaluation.opponents:make_mcts",
        "gtp": "muzero_wm.evaluation.engines:make_gtp",
        "uci": "muzero_wm.evaluation.engines:make_uci",
    },
)


ENGINES = ("gtp", "uci")
"""Opponents that are other programs. A person names them; a configuration may be a stranger's, and starts none."""


def opponent_forms(*, engines: bool = False) -> tuple[str, ...]:
    """Returns how opponents are written, N being a number of playouts.

    Args:
        engines: those that are other programs as well.
    """
    programs = tuple(f"{kind}:COMMAND" for kind in ENGINES) if engines else ()
    return ("random", "perfect", "mcts:N", *programs, *OPPONENTS.own)


def _place(maker: Any) -> tuple[str, str]:
    return str(getattr(maker, "__module__", "")).replace("__mp_main__", "__main__"), getattr(maker, "__qualname__", "")
