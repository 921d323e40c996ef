"""Q-transforms: how the values of a node's actions are put on the scale of its prior.

Each is a small immutable value: the native core reads its numbers, NumPy code calls it. The four that are made here are
affine in the Q-values of the visited actions and give every unvisited action one common value, which is what lets the
native core score the visited actions and a single unvisited one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mcts import checks
from mcts._holder import ArrayHolder

FloatArray = npt.NDArray[np.float64]

TINY = float(np.finfo(np.float32).tiny)
"""Smallest weight of a visited action in the mixed value, so that the mean exists where all their priors are zero."""


@dataclass(frozen=True, eq=False, repr=False)
class NodeStatistics(ArrayHolder):
    """Holds what a Q-transform may look at in some nodes, one per row.

    Attributes:
        qvalues: [n, A] float64, reward + discount * child value; anything where unvisited.
        visit_counts: [n, A] int, simulations through each action.
        prior_probs: [n, A] float64, softmax of the prior logits.
        node_value: [n] float64, mean value of the nodes.
        raw_value: [n] float64, the network's value of the nodes.
        tree_min: [n] float64, smallest Q-value any edge of the tree has taken, the root's raw value included.
        tree_max: [n] float64, the largest.
    """

    qvalues: FloatArray
    visit_counts: npt.NDArray[np.integer]
    prior_probs: FloatArray
    node_value: FloatArray
    raw_value: FloatArray
    tree_min: FloatArray
    tree_max: FloatArray


class QTransform(ABC):
    """Maps the Q-values of a node's actions to scores that can be added to a prior term.

    Derive from it for a formula of your own, which `backend="python"` searches with. It must be free of side effects
    and give finite numbers.
    """

    @abstractmethod
    def __call__(self, nodes: NodeStatistics) -> FloatArray:
        """Returns the transformed Q-values, [n, A] float64."""

    def completing_value(self, nodes: NodeStatistics) -> FloatArray:
        """Returns the value that unvisited actions count for in `SearchResult.improved_value`, [n] float64.

        Here the network's value of the node, the only unbiased guess there is: a transform that puts unvisited actions
        at the bottom of its scale does so to be choosy, not because it thinks them so bad.
        """
        return nodes.raw_value


@dataclass(frozen=True)
class QTransformByMinMax(QTransform):
    """Normalises by bounds known in advance; unvisited actions get 0. See `qtransform_by_min_max`."""

    min_value: float
    max_value: float
    kind: ClassVar[int] = 0

    def __post_init__(self) -> None:
        """Checks the numbers."""
        checks.number("min_value", self.min_value, -checks.LARGEST, checks.LARGEST)
        checks.number("max_value", self.max_value, -checks.LARGEST, checks.LARGEST)
        checks.apart("min_value", self.min_value, "max_value", self.max_value)

    def __call__(self, nodes: NodeStatistics) -> FloatArray:
        """Returns the transformed Q-values, [n, A] float64."""
        normalised = (nodes.qvalues - self.min_value) / (self.max_value - self.min_value)
        return np.where(nodes.visit_counts > 0, normalised, 0.0)


@dataclass(frozen=True)
class QTransformByParentAndSiblings(QTransform):
    """Normalises by the bounds over a node and its visited actions. See `qtransform_by_parent_and_siblings`."""

    epsilon: float = 1e-8
    kind: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Checks the number."""
        checks.number("epsilon", self.epsilon, checks.SMALLEST, checks.LARGEST)

    def __call__(self, nodes: NodeStatistics) -> FloatArray:
        """Returns the transformed Q-values, [n, A] float64."""
        visited = nodes.visit_counts > 0
        safe = np.where(visited, nodes.qvalues, nodes.node_value[:, None])
        lower = np.minimum(nodes.node_value, safe.min(axis=1))[:, None]
        upper = np.maximum(nodes.node_value, safe.max(axis=1))[:, None]
        return np.where(visited, (safe - lower) / np.maximum(upper - lower, self.epsilon), 0.0)


@dataclass(frozen=True)
class QTransformByTreeMinMax(QTransform):
    """Normalises by the bounds over the whole tree. See `qtransform_by_tree_min_max`."""

    epsilon: float = 1e-8
    kind: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Checks the number."""
        checks.number("epsilon", self.epsilon, checks.SMALLEST, checks.LARGEST)

    def __call__(self, nodes: NodeStatistics) -> FloatArray:
        """Returns the transformed Q-values, [n, A] float64."""
        lower = nodes.tree_min[:, None]
        span = np.maximum(nodes.tree_max[:, None] - lower, self.epsilon)
        return np.where(nodes.visit_counts > 0, (nodes.qvalues - lower) / span, 0.0)


@dataclass(frozen=True)
class QTransformCompletedByMixValue(QTransform):
    """Completes unvisited actions by a mixed value, then scales. See `qtransform_completed_by_mix_value`."""

    value_scale: float = 0.1
    maxvisit_init: float = 50.0
    rescale_values: bool = True
    use_mixed_value: bool = True
    epsilon: float = 1e-8
    kind: ClassVar[int] = 3

    def __post_init__(self) -> None:
        """Checks the numbers."""
        checks.number("value_scale", self.value_scale, 0.0, checks.LARGEST)
        checks.number("maxvisit_init", self.maxvisit_init, 0.0, checks.LARGEST)
        checks.number("epsilon", self.epsilon, checks.SMALLEST, checks.LARGEST)

    def __call__(self, nodes: NodeStatistics) -> FloatArray:
        """Returns the transformed Q-values, [n, A] float64."""
        visited = nodes.visit_counts > 0
        completed = np.where(visited, nodes.qvalues, self.completing_value(nodes)[:, None])
        if self.rescale_values:
            lower = completed.min(axis=1, keepdims=True)
            upper = completed.max(axis=1, keepdims=True)
            completed = (completed - lower) / np.maximum(upper - lower, self.epsilon)
        max_visits = nodes.visit_counts.max(axis=1, keepdims=True)
        return (self.maxvisit_init + max_visits) * self.value_scale * completed

    def completing_value(self, nodes: NodeStatistics) -> FloatArray:
        """Returns the value that unvisited actions get, before any scaling, [n] float64.

        Source: "Policy improvement by planning with Gumbel", appendix D, equation 33.
        """
        if not self.use_mixed_value:
            return nodes.raw_value
        weights = np.where(nodes.visit_counts > 0, np.maximum(nodes.prior_probs, TINY), 0.0)
        total_weight = np.maximum(weights.sum(axis=1), TINY)  # where nothing is visited, both sums are 0
        weighted_q = (weights * np.where(nodes.visit_counts > 0, nodes.qvalues, 0.0)).sum(axis=1) / total_weight
        total = nodes.visit_counts.sum(axis=1)
        return (nodes.raw_value + total * weighted_q) / (1 + total)


NATIVE_QTRANSFORMS = (
    QTransformByMinMax,
    QTransformByParentAndSiblings,
    QTransformByTreeMinMax,
    QTransformCompletedByMixValue,
)
"""Those whose formulas the native core has; it tells them apart by `kind`, and reads their numbers by name."""


def qtransform_by_min_max(*, min_value: float, max_value: float) -> QTransform:
    """Normalises Q-values by known bounds: `(q - min_value) / (max_value - min_value)`, 0 where unvisited.

    Args:
        min_value: the smallest Q-value there can be, environment units; in [-1e50, 1e50].
        max_value: the largest; in [-1e50, 1e50], larger than min_value by at least 1e-50.

    Returns:
        A Q-transform for either policy.

    Raises:
        TypeError: a bound is not a number.
        ValueError: a bound is out of its range.
    """
    return QTransformByMinMax(min_value, max_value)


def qtransform_by_parent_and_siblings(*, epsilon: float = 1e-8) -> QTransform:
    """Normalises Q-values to [0, 1] by the smallest and largest of the node's value and its visited actions' Q-values.

    Unvisited actions get the minimum, 0.

    Args:
        epsilon: the smallest range that is stretched to [0, 1]; in [1e-50, 1e50].

    Returns:
        A Q-transform for either policy; the default of `muzero_policy`.

    Raises:
        TypeError: epsilon is not a number.
        ValueError: epsilon is out of its range.
    """
    return QTransformByParentAndSiblings(epsilon)


def qtransform_by_tree_min_max(*, epsilon: float = 1e-8) -> QTransform:
    """Normalises Q-values by bounds over the whole tree of a root, as in the MuZero paper; 0 where unvisited.

    The bounds cover the root's raw value and every Q-value that any visited edge has taken so far, seen by the player
    who chooses it: they only ever widen.

    Source: MuZero (arXiv:1911.08265), appendix B, equation 5.

    Args:
        epsilon: the smallest range that is stretched to [0, 1]; in [1e-50, 1e50].

    Returns:
        A Q-transform for either policy.

    Raises:
        TypeError: epsilon is not a number.
        ValueError: epsilon is out of its range.
    """
    return QTransformByTreeMinMax(epsilon)


def qtransform_completed_by_mix_value(
    *,
    value_scale: float = 0.1,
    maxvisit_init: float = 50.0,
    rescale_values: bool = True,
    use_mixed_value: bool = True,
    epsilon: float = 1e-8,
) -> QTransform:
    """Completes the Q-values of unvisited actions by a mixed value and scales all with the largest visit count.

    The mixed value is `(raw_value + sum N * weighted_q) / (1 + sum N)`, weighted_q the mean Q-value of the visited
    actions under the prior. The result is `(maxvisit_init + max N) * value_scale * q`.

    Source: "Policy improvement by planning with Gumbel" (ICLR 2022, bERaNdoegnO), section 3.4 and appendix D.

    Args:
        value_scale: c_scale, in [0, 1e50]; 1 suits board games with known bounds.
        maxvisit_init: c_visit, in [0, 1e50].
        rescale_values: stretch the completed Q-values of the node's A actions to [0, 1].
        use_mixed_value: complete by the mixed value; if False by the network's raw value.
        epsilon: the smallest range that is stretched, in [1e-50, 1e50]; a larger one keeps nodes whose Q-values nearly
            agree from amplifying noise.

    Returns:
        A Q-transform for either policy; the default of `gumbel_muzero_policy`.

    Raises:
        TypeError: an argument is not a number.
        ValueError: a number is out of its range.
    """
    return QTransformCompletedByMixValue(
        value_scale, maxvisit_init, bool(rescale_values), bool(use_mixed_value), epsilon
    )
