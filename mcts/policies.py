"""The two search policies of mctx: MuZero's PUCT with Dirichlet noise, and Gumbel MuZero with sequential halving."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mcts import _random, checks, kept_checks
from mcts.kept import depth, replant
from mcts.qtransforms import (
    NATIVE_QTRANSFORMS,
    NodeStatistics,
    QTransform,
    QTransformByTreeMinMax,
    qtransform_by_parent_and_siblings,
    qtransform_completed_by_mix_value,
)
from mcts.search import BACKENDS, memory_bytes, run_search
from mcts.seq_halving import considered_visits_by_root
from mcts.tree import KeptTree, Tree, TreeSummary
from mcts.types import RecurrentFn, RootOutput, SearchProblem, SearchResult

Rng = int | np.random.Generator | npt.NDArray[np.uint64]
FloatArray = npt.NDArray[np.float64]

_LARGEST = float(np.finfo(np.float32).max)


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
    counts = _check_common(recurrent_fn, qtransform, backend, num_simulations, max_depth, leaves_per_step, num_threads)
    simulations = counts.num_simulations
    logits, value, invalid = checks.root_arrays(root, invalid_actions)
    num_kept = 0
    if kept is not None:
        checks.instance("kept", kept, KeptTree, "what mcts.Tree.keep returns")
        checks.instance("kept.tree", kept.tree, Tree, "a mcts.Tree")
        kept_checks.kept_shape(kept.tree, logits.shape)
        num_kept = kept.tree.num_nodes - 1
    _check_memory(logits.shape, simulations + num_kept, min(counts.leaves_per_step, simulations))
    if kept is not None:
        kept_checks.kept_nodes(kept.tree, simulations)
        if max_depth is not None:
            kept_checks.kept_depth(depth(kept.tree), max_depth)
    fraction = checks.number("dirichlet_fraction", dirichlet_fraction, 0.0, 1.0)
    alpha = checks.number("dirichlet_alpha", dirichlet_alpha, checks.SMALLEST, checks.LARGEST)
    c_init = checks.number("pb_c_init", pb_c_init, 0.0, checks.LARGEST)
    c_base = checks.number("pb_c_base", pb_c_base, checks.SMALLEST, checks.LARGEST)
    loss = checks.number("virtual_loss", virtual_loss, 0.0, checks.LARGEST)
    temperatures = checks.per_root("temperature", temperature, len(value))
    keys = _random.root_keys(rng, len(value))
    if fraction > 0.0:
        logits = _add_dirichlet_noise(logits, invalid, keys, fraction, alpha)
    most_visits = simulations + 1
    if kept is not None:
        tree = replant(kept.tree, logits, _softmax(logits.astype(np.float64)), value, invalid)
        kept = dataclasses.replace(kept, tree=tree)
        most_visits = simulations + int(kept.tree.node_visits.max())
    problem = SearchProblem(
        prior_logits=logits,
        value=value,
        invalid_actions=invalid,
        num_simulations=simulations,
        max_depth=_longest_path(counts.max_depth, 1 + num_kept + simulations),
        qtransform=qtransform,
        exploration=_exploration_table(most_visits, c_init, c_base),
        leaves_per_step=counts.leaves_per_step,
        virtual_loss=loss,
        kept=kept,
    )
    tree = run_search(problem, recurrent_fn, num_threads=min(counts.num_threads, len(value)), backend=backend)
    summary = tree.summary()
    action = _sample_action(summary.visit_counts, temperatures, keys)
    total_visits = summary.visit_counts.sum(axis=1)
    improved = (summary.visit_counts * summary.qvalues).sum(axis=1) / total_visits
    return _result(action, summary.visit_probs, improved, summary, tree)


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
    counts = _check_common(recurrent_fn, qtransform, backend, num_simulations, max_depth, leaves_per_step, num_threads)
    simulations = counts.num_simulations
    logits, value, invalid = checks.root_arrays(root, invalid_actions)
    _check_memory(logits.shape, simulations, min(counts.leaves_per_step, simulations))
    max_considered = checks.count("max_num_considered_actions", max_num_considered_actions)
    scale = checks.per_root("gumbel_scale", gumbel_scale, len(value))
    keys = _random.root_keys(rng, len(value))
    scores = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    if scale.any():
        scores += scale[:, None] * _random.gumbel(keys, _random.GUMBEL, logits.shape[1])
    num_considered = np.minimum((~invalid).sum(axis=1), min(max_considered, logits.shape[1]))
    problem = SearchProblem(
        prior_logits=logits,
        value=value,
        invalid_actions=invalid,
        num_simulations=simulations,
        max_depth=_longest_path(counts.max_depth, 1 + simulations),
        qtransform=qtransform,
        exploration=np.zeros(simulations + 2),
        root_scores=scores,
        considered_visits=considered_visits_by_root(num_considered, simulations),
        leaves_per_step=counts.leaves_per_step,
    )
    tree = run_search(problem, recurrent_fn, num_threads=min(counts.num_threads, len(value)), backend=backend)
    summary = tree.summary()
    statistics = _root_statistics(problem, tree, summary)
    transformed = qtransform(statistics)
    most_visited = summary.visit_counts == summary.visit_counts.max(axis=1, keepdims=True)
    # The survivor of the halving is among the most visited; it has the best sum of noise, logit and value. The floor
    # lets an action win whose logit is -inf, where only such ones were left.
    final_scores = np.where(most_visited & ~invalid, np.maximum(scores + transformed, -1e9), -np.inf)
    action = final_scores.argmax(axis=1).astype(np.int32)
    weights = _softmax(np.where(invalid, -np.inf, logits + transformed))
    qvalues, known = summary.qvalues, (summary.visit_counts > 0) | invalid
    if not known.all():
        qvalues = np.where(known, qvalues, qtransform.completing_value(statistics)[:, None])
    improved = (weights * qvalues).sum(axis=1)
    return _result(action, weights.astype(np.float32), improved, summary, tree)


def _result(
    action: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    improved_value: FloatArray,
    summary: TreeSummary,
    tree: Tree,
) -> SearchResult:
    return SearchResult(
        action=action,
        action_weights=weights,
        visit_counts=summary.visit_counts,
        qvalues=_to_float32(summary.qvalues),
        root_value=_to_float32(summary.value),
        tree=tree,
        improved_value=_to_float32(improved_value),
    )


def _to_float32(array: FloatArray) -> npt.NDArray[np.float32]:
    """Rounds, and limits to what float32 can hold instead of overflowing to infinity."""
    return np.minimum(np.maximum(array, -_LARGEST), _LARGEST).astype(np.float32)


def _softmax(logits: FloatArray) -> FloatArray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def _add_dirichlet_noise(
    logits: npt.NDArray[np.float32],
    invalid: npt.NDArray[np.bool_],
    keys: npt.NDArray[np.uint64],
    fraction: float,
    alpha: float,
) -> npt.NDArray[np.float32]:
    """Mixes noise over the legal actions into the root's prior, and returns its logarithm."""
    noise = _random.dirichlet(keys, alpha, ~invalid)
    probs = (1.0 - fraction) * _softmax(logits.astype(np.float64)) + fraction * noise
    with np.errstate(divide="ignore"):
        return np.log(probs).astype(np.float32)


@lru_cache(maxsize=64)
def _exploration_table(most_visits: int, pb_c_init: float, pb_c_base: float) -> FloatArray:
    visits = np.arange(most_visits + 1, dtype=np.float64)
    table = np.sqrt(visits) * (pb_c_init + np.log((visits + pb_c_base + 1.0) / pb_c_base))
    table.flags.writeable = False  # it is shared
    return table


def _sample_action(
    visit_counts: npt.NDArray[np.int32], temperature: FloatArray, keys: npt.NDArray[np.uint64]
) -> npt.NDArray[np.int32]:
    """Draws from visits ** (1 / temperature) by the Gumbel-max trick; temperature 0 takes the most visited."""
    greedy = temperature == 0.0
    if greedy.all():
        return visit_counts.argmax(axis=1).astype(np.int32)
    with np.errstate(divide="ignore", over="ignore"):
        scores = np.log(visit_counts) - np.log(visit_counts.max(axis=1, keepdims=True))
        scores /= np.where(greedy, 1.0, temperature)[:, None]
    noise = _random.gumbel(keys, _random.ACTION, visit_counts.shape[1])
    return np.where(greedy, visit_counts.argmax(axis=1), (scores + noise).argmax(axis=1)).astype(np.int32)


def _root_statistics(problem: SearchProblem, tree: Tree, summary: TreeSummary) -> NodeStatistics:
    """Returns what a Q-transform may look at in the roots."""
    prior_probs = _softmax(problem.prior_logits.astype(np.float64))
    raw_value = problem.value.astype(np.float64)
    tree_min = tree_max = raw_value
    kind = type(problem.qtransform)
    if kind is QTransformByTreeMinMax or kind not in NATIVE_QTRANSFORMS:  # the others do not look at the whole tree
        used = (tree.node_visits > 0) & (tree.parents >= 0)
        tree_min = np.minimum(np.where(used, tree.qvalues_from_parent, np.inf).min(axis=1), raw_value)
        tree_max = np.maximum(np.where(used, tree.qvalues_from_parent, -np.inf).max(axis=1), raw_value)
    return NodeStatistics(
        qvalues=summary.qvalues,
        visit_counts=summary.visit_counts,
        prior_probs=prior_probs,
        node_value=summary.value,
        raw_value=raw_value,
        tree_min=tree_min,
        tree_max=tree_max,
    )


class _Counts(NamedTuple):
    """Holds the whole numbers that both policies take."""

    num_simulations: int
    max_depth: int | None
    leaves_per_step: int
    num_threads: int


def _check_common(
    recurrent_fn: RecurrentFn,
    qtransform: QTransform,
    backend: str | None,
    num_simulations: int,
    max_depth: int | None,
    leaves_per_step: int,
    num_threads: int,
) -> _Counts:
    """Checks what both policies take, but for the arrays."""
    checks.function("recurrent_fn", recurrent_fn)
    checks.instance("qtransform", qtransform, QTransform, "a value made by mcts.qtransform_*()")
    if checks.backend(backend, BACKENDS) == "native":
        checks.native_qtransform(qtransform, NATIVE_QTRANSFORMS)
    return _Counts(
        checks.count("num_simulations", num_simulations),
        None if max_depth is None else checks.count("max_depth", max_depth),
        checks.count("leaves_per_step", leaves_per_step),
        checks.count("num_threads", num_threads),
    )


def _longest_path(max_depth: int | None, num_nodes: int) -> int:
    """Returns a limit that fits an int32; as many edges as there are nodes are no limit."""
    return num_nodes if max_depth is None else min(max_depth, num_nodes)


def _check_memory(shape: tuple[int, ...], num_simulations: int, num_leaves: int) -> None:
    num_roots, num_actions = shape
    checks.rows(num_roots, num_leaves)
    needed = memory_bytes(num_roots, num_actions, num_simulations, leaves_per_step=num_leaves)
    checks.memory(needed, num_roots, num_actions, num_simulations)
