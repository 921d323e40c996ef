"""What losses of one's own have stored of every step, besides what all runs store.

A term of the loss says what it needs (`Stored`), and is registered under a name. Whoever lays out memory asks here what
the terms of a run store: the rows of unfinished episodes, the ring, its packs and its way back follow from that.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from muzero_wm.basis.errors import UserError, did_you_mean, one_line
from muzero_wm.basis.processes import only_importing
from muzero_wm.config import Config
from muzero_wm.envs.base import EnvError, EnvSpec, Step
from muzero_wm.envs.naming.imports import check_module
from muzero_wm.envs.registry import board_game

Layout = dict[str, tuple[tuple[int, ...], Any]]

_NAME = re.compile("[a-z][a-z0-9_]{0,39}")


class TermError(UserError):
    """A term of the loss is not known, or says something impossible."""


@dataclass(frozen=True)
class Moment:
    """One move of n environments: what there is to store something of.

    Attributes:
        before: observations [n, ...], legal actions and players to move.
        result: the search's, `mcts.SearchResult` over the n roots.
        action: [n] int32, the moves made.
        after: what the environments answered; where an episode ended, its observation is that of the next one.
        states: [n, W] int64, the true positions before the moves of a board game; None elsewhere.
    """

    before: Step
    result: Any
    action: NDArray[np.int32]
    after: Step
    states: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Stored:
    """What is stored of every step.

    Attributes:
        name: lower case letters, digits and _.
        of: [n, *shape] of a move; a function at the top of a module, since another process may call it.
        shape: of one step, or what it is in an environment.
        dtype: of the numbers.
    """

    name: str
    of: Callable[[Moment], ArrayLike]
    shape: tuple[int, ...] | Callable[[EnvSpec], tuple[int, ...]] = ()
    dtype: DTypeLike = np.float32

    def __post_init__(self) -> None:
        """Checks the name."""
        check_name(self.name)

    def entry(self, spec: EnvSpec) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Returns shape and dtype in an environment."""
        return self.shape(spec) if callable(self.shape) else self.shape, np.dtype(self.dtype)

    def take(self, moment: Moment, spec: EnvSpec) -> NDArray[Any]:
        """Returns what is stored of a move.

        Raises:
            TermError: it cannot be told, or it is not of the declared shape.
        """
        shape, dtype = self.entry(spec)
        try:
            found = np.asarray(self.of(moment), dtype)
        except Exception as error:  # a function of a user may fail in any way
            raise TermError(f"what is stored as {self.name} raised {one_line(error)[:400]}") from error
        if found.shape != (expected := (len(moment.action), *shape)):
            raise TermError(f"what is stored as {self.name}: expected an array of {expected}, got {found.shape}")
        return found


_declared: dict[str, tuple[Stored, ...]] = {}


def check_name(name: str) -> None:
    """Checks the name of a term or of what it stores.

    Raises:
        TermError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise TermError(f"name of a term: expected lower case letters, digits and _, at most 40, got {name[:60]!r}")


def declare(term: str, stores: tuple[Stored, ...]) -> None:
    """Takes note of what a term stores.

    Args:
        term: its name.
        stores: perhaps nothing.
    """
    check_name(term)
    _declared[term] = stores


def term_name(text: str) -> str:
    """Returns the name of a term that the setting `learning.terms` names, after importing its module.

    Args:
        text: "name", or "package.module:name" for one that is registered where this module is imported.

    Raises:
        TermError: the module may not or cannot be imported, or there is no such term.
    """
    module, _, name = text.rpartition(":")
    if module:
        try:
            check_module(module)
            with only_importing(module):
                importlib.import_module(module)
        except EnvError as error:
            raise TermError(f"learning.terms: {text[:80]!r}: {error}") from None
        except Exception as error:  # a module of a user may fail in any way
            raise TermError(f"learning.terms: importing {module} raised {one_line(error)[:400]}") from error
    if name not in _declared:
        remedy = f"{module} does not register it" if module else "register it first, or name its module before a colon"
        raise TermError(f"learning.terms: there is no term {name[:60]!r}; {remedy}{did_you_mean(name, _declared)}")
    return name


def stored_by(terms: Iterable[str]) -> tuple[Stored, ...]:
    """Returns what the terms of a run store, each once.

    Args:
        terms: as the setting `learning.terms` names them.

    Raises:
        TermError: a term is not known, or two of them store different things under one name.
    """
    found: dict[str, Stored] = {}
    for text in terms:
        for each in _declared[term_name(text)]:
            if found.setdefault(each.name, each) != each:
                raise TermError(f"learning.terms: two terms store different things as {each.name!r}")
    return tuple(found.values())


def _states(moment: Moment) -> ArrayLike:
    assert moment.states is not None
    return moment.states


def _state_shape(spec: EnvSpec) -> tuple[int, ...]:
    return (board_game(spec.name).state_width,)


STATE = Stored("state", _states, _state_shape, np.int64)
"""True positions: what a search by the rules begins with."""


def stored_for(config: Config) -> tuple[Stored, ...]:
    """Returns what a run stores of every step besides: what its terms want, and positions that are searched again.

    Args:
        config: of the run.

    Raises:
        TermError: a term is not known, or two of them store different things under one name.
    """
    again = config.search.model == "rules" and config.replay.reanalyze_fraction > 0.0
    return stored_by(config.learning.terms) + ((STATE,) if again else ())
