"""The two search policies of mctx: MuZero's PUCT with Dirichlet noise, and Gumbel MuZero with sequential halving."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from inspect import signature
from typing import Any

import numpy as np
import numpy.typing as npt

from mcts.qtransforms import (
    QTransform,
    qtransform_by_parent_and_siblings,
    qtransform_completed_by_mix_value,
)
from mcts.settings import GumbelSettings, PuctSettings, Rng, settings
from mcts.tree import KeptTree
from mcts.types import RecurrentFn, RootOutput, SearchResult


def muzero_policy(
    root: RootOutput,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    *,
    invalid_actions: npt.NDArray[np.bool_] | None = None,
    rng: Rng,
    max_depth: int | None = None,
    qtransform: QTransform = qtransform_by_parent_and_siblings(),
    dirichlet_fraction: float = 0.25,
    dirichlet_alpha: float = 0.3,
    pb_c_init: float = 1.25,
    pb_c_base: float = 19652.0,
    temperature: float | npt.ArrayLike = 1.0,
    leaves_per_step: int = 1,
    virtual_loss: float = 0.5,
    kept: KeptTree | None = None,
    num_threads: int = 1,
    backend: str | None = None,
) -> SearchResult:
    """Searches with PUCT and acts in proportion to the visit counts.

    Source: MuZero (arXiv:1911.08265), appendix B; several leaves per step: WU-UCT (arXiv:1810.11755).

    Args:
        root: prediction at the B roots.
        recurrent_fn: the network; called once per step, see `mcts.RecurrentFn`.
        num_simulations: S >= 1, of this search.
        invalid_actions: [B, A] bool, True = forbidden at the root; None forbids nothing.
        rng: a seed, a NumPy generator, or one uint64 key per root.
        max_depth: longest path in edges, not less than the depth of a kept tree; None = no limit.
        qtransform: puts Q-values on the scale of the prior.
        dirichlet_fraction: share of the noise in the root's prior, in [0, 1]; 0 switches it off.
        dirichlet_alpha: concentration of the noise, in [1e-50, 1e50]; about 10 / (mean number of legal actions).
        pb_c_init: c1 of PUCT, in [0, 1e50].
        pb_c_base: c2 of PUCT, in [1e-50, 1e50].
        temperature: one for all or [B], in [0, 1e50]; actions are drawn from visits ** (1 / temperature), 0 takes the
            most visited.
        leaves_per_step: K, how many leaves each root selects before `recurrent_fn` is called for all of them; K > 1
            fills a batch from one root. While a leaf waits for its answer, its path counts as visited.
        virtual_loss: how many visits with a normalised Q-value of 0 each waiting leaf counts for, in [0, 1e50]; 0 lets
            it count in the exploration term only. No effect where leaves_per_step is 1.
        kept: what an earlier search left behind the moves since made, see `mcts.Tree.keep`. Its visits count on, its
            first node gets the new prediction, and simulation i makes node M + i instead of 1 + i.
        num_threads: threads that share the roots between network calls; the result does not depend on it.
        backend: "native" or "python"; None reads MCTS_BACKEND, native where it is not set.

    Returns:
        The search's result; `action_weights` are the shares of the visits, kept ones included.

    Raises:
        ValueError: an argument or a network output is out of range or has the wrong shape.
        TypeError: an argument or a network output has the wrong type.
    """
    checked = settings(
        PuctSettings,
        num_simulations,
        max_depth,
        qtransform,
        leaves_per_step,
        num_threads,
        backend,
        dirichlet_fraction,
        dirichlet_alpha,
        pb_c_init,
        pb_c_base,
        virtual_loss,
    )
    return checked.search(
        root, recurrent_fn, rng=rng, invalid_actions=invalid_actions, temperature=temperature, kept=kept
    )


def gumbel_muzero_policy(
    root: RootOutput,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    *,
    invalid_actions: npt.NDArray[np.bool_] | None = None,
    rng: Rng,
    max_depth: int | None = None,
    qtransform: QTransform = qtransform_completed_by_mix_value(),
    max_num_considered_actions: int = 16,
    gumbel_scale: float | npt.ArrayLike = 1.0,
    leaves_per_step: int = 1,
    num_threads: int = 1,
    backend: str | None = None,
) -> SearchResult:
    """Searches with sequential halving over Gumbel-sampled root actions and acts with the survivor.

    Source: "Policy improvement by planning with Gumbel" (ICLR 2022, bERaNdoegnO), the full variant.

    Args:
        root: prediction at the B roots.
        recurrent_fn: the network; called once per step, see `mcts.RecurrentFn`.
        num_simulations: S >= 1.
        invalid_actions: [B, A] bool, True = forbidden at the root; None forbids nothing.
        rng: a seed, a NumPy generator, or one uint64 key per root.
        max_depth: longest path in edges; None = no limit.
        qtransform: puts Q-values on the scale of the logits.
        max_num_considered_actions: how many root actions enter the halving, >= 1.
        gumbel_scale: scale of the noise, one for all or [B], in [0, 1e50]; 0 for evaluation in games of perfect
            information.
        leaves_per_step: K, how many leaves each root selects before `recurrent_fn` is called for all of them; K > 1
            fills a batch from one root. While a leaf waits for its answer, its path counts as visited.
        num_threads: threads that share the roots between network calls; the result does not depend on it.
        backend: "native" or "python"; None reads MCTS_BACKEND, native where it is not set.

    Returns:
        The search's result; `action_weights` are softmax(logits + transformed Q) over the legal actions.

    Raises:
        ValueError: an argument or a network output is out of range or has the wrong shape.
        TypeError: an argument or a network output has the wrong type.
    """
    checked = settings(
        GumbelSettings,
        num_simulations,
        max_depth,
        qtransform,
        leaves_per_step,
        num_threads,
        backend,
        max_num_considered_actions,
    )
    return checked.search(root, recurrent_fn, rng=rng, invalid_actions=invalid_actions, gumbel_scale=gumbel_scale)


def checked_settings(
    policy: Callable[..., SearchResult], num_simulations: int, options: Mapping[str, Any]
) -> PuctSettings | GumbelSettings:
    """Returns the settings that many searches share, checked.

    Args:
        policy: `mcts.muzero_policy` or `mcts.gumbel_muzero_policy`.
        num_simulations: S >= 1, of each search.
        options: keyword arguments of the policy, but for those that belong to one search.

    Raises:
        TypeError: a setting has the wrong type, or the policy has no such setting.
        ValueError: a setting is out of range, or `policy` is neither of the two.
    """
    kinds: dict[Any, Any] = {muzero_policy: PuctSettings, gumbel_muzero_policy: GumbelSettings}
    if policy not in kinds:
        raise ValueError(f"policy: expected mcts.muzero_policy or mcts.gumbel_muzero_policy, got {policy!r}")
    kind = kinds[policy]
    names = [field.name for field in fields(kind)]
    for name in options:
        if name not in names:
            raise TypeError(f"{name}: expected a setting of mcts.{policy.__name__}: {', '.join(names)}")
    defaults = {name: parameter.default for name, parameter in signature(policy).parameters.items()}
    values = {name: defaults[name] for name in names} | dict(options) | {"num_simulations": num_simulations}
    checked: PuctSettings | GumbelSettings = kind(**values)
    return checked


class Search:
    """Makes many searches with the same settings, which are checked once.

    Args:
        policy: `mcts.muzero_policy` or `mcts.gumbel_muzero_policy`.
        num_simulations: S >= 1, of each search.
        **options: keyword arguments of the policy, but for those that belong to one search: `rng`, `invalid_actions`
            and `temperature`, `kept` or `gumbel_scale`, which are given to every call.

    Raises:
        TypeError: a setting has the wrong type, or the policy has no such setting.
        ValueError: a setting is out of range, or `policy` is neither of the two.

    Example:
        >>> import mcts
        >>> search = mcts.Search(mcts.gumbel_muzero_policy, 8, max_num_considered_actions=2)
        >>> answer = mcts.RecurrentOutput(reward=[0.0], discount=[1.0], prior_logits=[[0.0, 1.0, 2.0]], value=[0.0])
        >>> result = search(mcts.RootOutput(answer.prior_logits, answer.value), lambda *edges: answer, rng=0)
        >>> int(result.visit_counts.sum())
        8
    """

    def __init__(self, policy: Callable[..., SearchResult], num_simulations: int, **options: Any) -> None:
        self._settings = checked_settings(policy, num_simulations, options)
        self._policy = policy

    def __call__(
        self,
        root: RootOutput,
        recurrent_fn: RecurrentFn,
        *,
        rng: Rng,
        invalid_actions: npt.NDArray[np.bool_] | None = None,
        **per_search: Any,
    ) -> SearchResult:
        """Makes one search.

        Args:
            root: prediction at the B roots.
            recurrent_fn: the network; called once per step, see `mcts.RecurrentFn`.
            rng: a seed, a NumPy generator, or one uint64 key per root.
            invalid_actions: [B, A] bool, True = forbidden at the root; None forbids nothing.
            **per_search: `temperature` and `kept` of `mcts.muzero_policy`, `gumbel_scale` of
                `mcts.gumbel_muzero_policy`.

        Returns:
            What the policy returns.

        Raises:
            ValueError: an argument or a network output is out of range or has the wrong shape.
            TypeError: an argument or a network output has the wrong type, or there is no such argument.
        """
        for name in per_search:
            if name not in self._settings.PER_SEARCH:
                known = ", ".join(("rng", "invalid_actions", *self._settings.PER_SEARCH))
                raise TypeError(f"{name}: expected an argument of one search of {self._policy.__name__}: {known}")
        return self._settings.search(root, recurrent_fn, rng=rng, invalid_actions=invalid_actions, **per_search)

    def __repr__(self) -> str:
        return f"Search({self._policy.__name__}, {self._settings})"
