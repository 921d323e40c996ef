"""What the policies do around a search, in readable NumPy: the twin of `mcts._policy`, for where no compiler is.

The tests hold the native functions against these. They agree but for the rounding of exponentials and logarithms.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mcts import _random
from mcts.nodes import TreeArrays
from mcts.qtransforms import NodeStatistics, QTransform
from mcts.seq_halving import considered_visits_by_root

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
MaskArray = npt.NDArray[np.bool_]
Keys = npt.NDArray[np.uint64]
Arrays = tuple[npt.NDArray[np.int32], Float32Array, npt.NDArray[np.int32], Float32Array, Float32Array, Float32Array]

LOWEST_SCORE = -1e9
_LARGEST = float(np.finfo(np.float32).max)


# Before the search ----------------------------------------------------------------------------------------------------


def exploration_table(most_visits: int, pb_c_init: float, pb_c_base: float) -> FloatArray:
    """Returns PUCT's factor of the prior by visit count, [V + 1]; see `mcts.settings.exploration_table`."""
    visits = np.arange(most_visits + 1, dtype=np.float64)
    return np.sqrt(visits) * (pb_c_init + np.log((visits + pb_c_base + 1.0) / pb_c_base))


def prepare_puct(
    prior_logits: Float32Array, value: Float32Array, invalid: MaskArray, keys: Keys, fraction: float, alpha: float
) -> Float32Array | None:
    """Masks the roots' logits and mixes Dirichlet noise into the prior.

    Args:
        prior_logits: [B, A].
        value: [B].
        invalid: [B, A], True = forbidden.
        keys: [B] of the random streams.
        fraction: share of the noise.
        alpha: its concentration.

    Returns:
        [B, A], -inf where forbidden; None if a row is no policy or a value not finite.
    """
    logits = _masked(prior_logits, value, invalid)
    if logits is None or fraction == 0.0:
        return logits
    noise = _random.dirichlet(keys, alpha, ~invalid)
    probs = (1.0 - fraction) * softmax(logits.astype(np.float64)) + fraction * noise
    with np.errstate(divide="ignore"):
        return np.log(probs).astype(np.float32)


def prepare_gumbel(
    prior_logits: Float32Array,
    value: Float32Array,
    invalid: MaskArray,
    keys: Keys,
    scale: FloatArray,
    max_considered: int,
    num_simulations: int,
) -> tuple[Float32Array, FloatArray, npt.NDArray[np.int32]] | None:
    """Masks the roots' logits, and makes scores and schedules of them.

    Args:
        prior_logits: [B, A].
        value: [B].
        invalid: [B, A], True = forbidden.
        keys: [B] of the random streams.
        scale: [B] of the noise.
        max_considered: how many actions enter the halving.
        num_simulations: S.

    Returns:
        Logits [B, A], scores [B, A] = noise + logit - largest logit, and schedules [B, S]; None if a row is no policy
        or a value not finite.
    """
    logits = _masked(prior_logits, value, invalid)
    if logits is None:
        return None
    scores = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    if scale.any():
        scores += scale[:, None] * _random.gumbel(keys, _random.GUMBEL, logits.shape[1])
    num_considered = np.minimum((~invalid).sum(axis=1), max_considered)
    return logits, scores, considered_visits_by_root(num_considered, num_simulations)


def _masked(prior_logits: Float32Array, value: Float32Array, invalid: MaskArray) -> Float32Array | None:
    logits = np.where(invalid, np.float32(-np.inf), prior_logits)
    usable = (logits < np.inf).all() and (logits > -np.inf).any(axis=1).all() and np.isfinite(value).all()
    return logits if usable else None


# After the search -----------------------------------------------------------------------------------------------------


def finish_puct(tree: TreeArrays, keys: Keys, temperature: FloatArray) -> Arrays:
    """Reads the results off trees, and draws actions from visits ** (1 / temperature) by the Gumbel-max trick.

    Args:
        tree: of B roots.
        keys: [B] of the random streams.
        temperature: [B]; 0 takes the most visited.

    Returns:
        action, action_weights, visit_counts, qvalues, root_value and improved_value, as in `mcts.SearchResult`.
    """
    summary = tree.summary()
    counts = summary.visit_counts
    greedy = temperature == 0.0
    with np.errstate(divide="ignore", over="ignore"):
        scores = np.log(counts) - np.log(counts.max(axis=1, keepdims=True))
        scores /= np.where(greedy, 1.0, temperature)[:, None]
    noise = _random.gumbel(keys, _random.ACTION, counts.shape[1])
    action = np.where(greedy, counts.argmax(axis=1), (scores + noise).argmax(axis=1)).astype(np.int32)
    improved = (counts * summary.qvalues).sum(axis=1) / counts.sum(axis=1)
    qvalues, root_value = _to_float32(summary.qvalues), _to_float32(summary.value)
    return action, summary.visit_probs, counts, qvalues, root_value, _to_float32(improved)


def finish_gumbel(tree: TreeArrays, invalid: MaskArray, scores: FloatArray, qtransform: QTransform) -> Arrays:
    """Reads the results off trees, with the survivor of the halving as action.

    Args:
        tree: of B roots.
        invalid: [B, A], True = forbidden.
        scores: [B, A], see `prepare_gumbel`.
        qtransform: of the root, any.

    Returns:
        The same as `finish_puct`.
    """
    summary = tree.summary()
    statistics = _root_statistics(tree)
    transformed = qtransform(statistics)
    # The survivor of the halving is among the most visited; it has the best sum of noise, logit and value. The floor
    # lets an action win whose logit is -inf, where only such ones were left.
    survivors = (summary.visit_counts == summary.visit_counts.max(axis=1, keepdims=True)) & ~invalid
    final_scores = np.where(survivors, np.maximum(scores + transformed, LOWEST_SCORE), -np.inf)
    action = final_scores.argmax(axis=1).astype(np.int32)
    weights = softmax(np.where(invalid, -np.inf, tree.prior_logits[:, 0] + transformed))
    completed, known = summary.qvalues, (summary.visit_counts > 0) | invalid
    if not known.all():
        completed = np.where(known, completed, qtransform.completing_value(statistics)[:, None])
    improved = (weights * completed).sum(axis=1)
    qvalues, root_value = _to_float32(summary.qvalues), _to_float32(summary.value)
    return (
        action,
        weights.astype(np.float32),
        summary.visit_counts,
        qvalues,
        root_value,
        _to_float32(improved),
    )


def _root_statistics(tree: TreeArrays) -> NodeStatistics:
    """Returns what a Q-transform may look at in the roots."""
    summary = tree.summary()
    raw_value = tree.raw_values[:, 0].astype(np.float64)
    used = (tree.node_visits > 0) & (tree.parents >= 0)
    return NodeStatistics(
        qvalues=summary.qvalues,
        visit_counts=summary.visit_counts,
        prior_probs=softmax(tree.prior_logits[:, 0].astype(np.float64)),
        node_value=summary.value,
        raw_value=raw_value,
        tree_min=np.minimum(np.where(used, tree.qvalues_from_parent, np.inf).min(axis=1), raw_value),
        tree_max=np.maximum(np.where(used, tree.qvalues_from_parent, -np.inf).max(axis=1), raw_value),
    )


def softmax(logits: FloatArray) -> FloatArray:
    """Returns exp(logits), divided by the sum of each row."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def _to_float32(array: FloatArray) -> Float32Array:
    """Rounds, and limits to what float32 can hold instead of overflowing to infinity."""
    return np.minimum(np.maximum(array, -_LARGEST), _LARGEST).astype(np.float32)
