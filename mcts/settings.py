"""The settings of the two policies, checked once, and what is made of them around a search."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from mcts import _random, _twin, checks, kept_checks
from mcts.kept import depth, replant
from mcts.qtransforms import NATIVE_QTRANSFORMS, QTransform
from mcts.search import BACKENDS, memory_bytes, run_search
from mcts.tree import KeptTree, Tree
from mcts.types import RecurrentFn, RootOutput, SearchProblem, SearchResult

S = TypeVar("S", "PuctSettings", "GumbelSettings")
Rng = int | np.random.Generator | npt.NDArray[np.uint64]

_SMALL = 2**16  # nodes times actions, that always fit

# Where it is not built, NumPy alone gives the same results, but for the rounding of exponentials and logarithms.
_native: Any = importlib.import_module("mcts._policy") if importlib.util.find_spec("mcts._policy") else _twin


@dataclass(frozen=True)
class Settings:
    """Holds what both policies take, and checks it.

    Attributes: see `mcts.muzero_policy`.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting is out of range.
    """

    PER_SEARCH: ClassVar[tuple[str, ...]]

    num_simulations: int
    max_depth: int | None
    qtransform: QTransform
    leaves_per_step: int
    num_threads: int
    backend: str | None

    def __post_init__(self) -> None:
        """Checks the settings."""
        checks.instance("qtransform", self.qtransform, QTransform, "a value made by mcts.qtransform_*()")
        for name in ("num_simulations", "leaves_per_step", "num_threads"):
            self._put(name, checks.count(name, getattr(self, name)))
        if self.max_depth is not None:
            self._put("max_depth", checks.count("max_depth", self.max_depth))

    def _put(self, name: str, number: float) -> None:
        """Replaces a setting by the plain number that it is."""
        object.__setattr__(self, name, number)

    def _backend(self) -> str:
        """Returns who searches, which an environment variable may say."""
        chosen = checks.backend(self.backend, BACKENDS)
        if chosen == "native":
            checks.native_qtransform(self.qtransform, NATIVE_QTRANSFORMS)
        return chosen

    def _check_size(self, shape: tuple[int, ...], num_kept: int = 0) -> None:
        """Refuses a search of [B, A] roots that does not fit the memory."""
        num_roots, num_actions = shape
        num_simulations = self.num_simulations + num_kept
        if num_roots * num_simulations * num_actions < _SMALL:
            return
        num_leaves = min(self.leaves_per_step, self.num_simulations)
        checks.rows(num_roots, num_leaves)
        needed = memory_bytes(num_roots, num_actions, num_simulations, leaves_per_step=num_leaves)
        checks.memory(needed, num_roots, num_actions, num_simulations)

    def _longest_path(self, num_nodes: int) -> int:
        """Returns a limit that fits an int32; as many edges as there are nodes are no limit."""
        return num_nodes if self.max_depth is None else min(self.max_depth, num_nodes)


@dataclass(frozen=True)
class PuctSettings(Settings):
    """Holds the settings of `mcts.muzero_policy`."""

    PER_SEARCH = ("temperature", "kept")

    dirichlet_fraction: float
    dirichlet_alpha: float
    pb_c_init: float
    pb_c_base: float
    virtual_loss: float

    def __post_init__(self) -> None:
        """Checks the settings."""
        super().__post_init__()
        for name, lower, upper in (
            ("dirichlet_fraction", 0.0, 1.0),
            ("dirichlet_alpha", checks.SMALLEST, checks.LARGEST),
            ("pb_c_init", 0.0, checks.LARGEST),
            ("pb_c_base", checks.SMALLEST, checks.LARGEST),
            ("virtual_loss", 0.0, checks.LARGEST),
        ):
            self._put(name, checks.number(name, getattr(self, name), lower, upper))

    def search(
        self,
        root: RootOutput,
        recurrent_fn: RecurrentFn,
        *,
        rng: Rng,
        invalid_actions: Any = None,
        temperature: float | npt.ArrayLike = 1.0,
        kept: KeptTree | None = None,
    ) -> SearchResult:
        """Makes a search; see `mcts.muzero_policy`."""
        backend = self._backend()
        checks.function("recurrent_fn", recurrent_fn)
        given, value, invalid = checks.root_arrays(root, invalid_actions)
        num_kept = 0
        if kept is not None:
            checks.instance("kept", kept, KeptTree, "what mcts.Tree.keep returns")
            checks.instance("kept.tree", kept.tree, Tree, "a mcts.Tree")
            kept_checks.kept_shape(kept.tree, given.shape)
            num_kept = kept.tree.num_nodes - 1
        self._check_size(given.shape, num_kept)
        if kept is not None:
            kept_checks.kept_nodes(kept.tree, self.num_simulations)
            if self.max_depth is not None:
                kept_checks.kept_depth(depth(kept.tree), self.max_depth)
        temperatures = checks.per_root("temperature", temperature, len(value))
        keys = _random.root_keys(rng, len(value))
        logits = _native.prepare_puct(given, value, invalid, keys, self.dirichlet_fraction, self.dirichlet_alpha)
        if logits is None:
            checks.refuse_root(given, value, invalid)
        most_visits = self.num_simulations + 1
        if kept is not None:
            tree = replant(kept.tree, logits, _twin.softmax(logits.astype(np.float64)), value, invalid)
            kept = dataclasses.replace(kept, tree=tree)
            most_visits = self.num_simulations + int(tree.node_visits.max())
        problem = SearchProblem(
            prior_logits=logits,
            value=value,
            invalid_actions=invalid,
            num_simulations=self.num_simulations,
            max_depth=self._longest_path(1 + num_kept + self.num_simulations),
            qtransform=self.qtransform,
            exploration=exploration_table(most_visits, self.pb_c_init, self.pb_c_base),
            leaves_per_step=self.leaves_per_step,
            virtual_loss=self.virtual_loss,
            kept=kept,
        )
        found = run_search(problem, recurrent_fn, num_threads=self.num_threads, backend=backend)
        return _result(_native.finish_puct(found, keys, temperatures), found)


@dataclass(frozen=True)
class GumbelSettings(Settings):
    """Holds the settings of `mcts.gumbel_muzero_policy`."""

    PER_SEARCH = ("gumbel_scale",)

    max_num_considered_actions: int

    def __post_init__(self) -> None:
        """Checks the settings."""
        super().__post_init__()
        name = "max_num_considered_actions"
        self._put(name, checks.count(name, self.max_num_considered_actions))

    def search(
        self,
        root: RootOutput,
        recurrent_fn: RecurrentFn,
        *,
        rng: Rng,
        invalid_actions: Any = None,
        gumbel_scale: float | npt.ArrayLike = 1.0,
    ) -> SearchResult:
        """Makes a search; see `mcts.gumbel_muzero_policy`."""
        backend = self._backend()
        checks.function("recurrent_fn", recurrent_fn)
        given, value, invalid = checks.root_arrays(root, invalid_actions)
        self._check_size(given.shape)
        scale = checks.per_root("gumbel_scale", gumbel_scale, len(value))
        keys = _random.root_keys(rng, len(value))
        num_simulations = self.num_simulations
        max_considered = min(self.max_num_considered_actions, given.shape[1])
        prepared = _native.prepare_gumbel(given, value, invalid, keys, scale, max_considered, num_simulations)
        if prepared is None:
            checks.refuse_root(given, value, invalid)
        logits, scores, considered_visits = prepared
        problem = SearchProblem(
            prior_logits=logits,
            value=value,
            invalid_actions=invalid,
            num_simulations=num_simulations,
            max_depth=self._longest_path(1 + num_simulations),
            qtransform=self.qtransform,
            exploration=_no_exploration(num_simulations),
            root_scores=scores,
            considered_visits=considered_visits,
            leaves_per_step=self.leaves_per_step,
        )
        found = run_search(problem, recurrent_fn, num_threads=self.num_threads, backend=backend)
        # Only the twin can evaluate a Q-transform that is a user's own.
        finish = _native if type(self.qtransform) in NATIVE_QTRANSFORMS else _twin
        return _result(finish.finish_gumbel(found, invalid, scores, self.qtransform), found)


def _result(arrays: _twin.Arrays, tree: Tree) -> SearchResult:
    action, action_weights, visit_counts, qvalues, root_value, improved_value = arrays
    return SearchResult(
        action=action,
        action_weights=action_weights,
        visit_counts=visit_counts,
        qvalues=qvalues,
        root_value=root_value,
        tree=tree,
        improved_value=improved_value,
    )


@lru_cache(maxsize=64)
def exploration_table(most_visits: int, pb_c_init: float, pb_c_base: float) -> npt.NDArray[np.float64]:
    """Returns PUCT's factor of the prior by a node's visits n: sqrt(n) * (c1 + ln((n + c2 + 1) / c2)).

    Source: MuZero (arXiv:1911.08265), appendix B, equation 2.

    Args:
        most_visits: V, visits a node can have at most.
        pb_c_init: c1.
        pb_c_base: c2.

    Returns:
        [V + 1] float64, read-only: it is shared.
    """
    table = _native.exploration_table(most_visits, pb_c_init, pb_c_base)
    table.flags.writeable = False
    return table


@lru_cache(maxsize=64)
def _no_exploration(num_simulations: int) -> npt.NDArray[np.float64]:
    table = np.zeros(num_simulations + 2)
    table.flags.writeable = False
    return table


@lru_cache(maxsize=256, typed=True)
def _made(kind: Callable[..., S], *values: Any) -> S:
    return kind(*values)


def settings(kind: Callable[..., S], *values: Any) -> S:
    """Returns checked settings, those of an earlier call where they were the same.

    Args:
        kind: `PuctSettings` or `GumbelSettings`.
        *values: its attributes, in order.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting is out of range.
    """
    try:
        return _made(kind, *values)
    except TypeError:  # not hashable: the constructor says what is wrong with it, if something is
        return kind(*values)
