"""What goes into a search and what comes out of it: plain containers of NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mcts._holder import ArrayHolder
from mcts.qtransforms import QTransform
from mcts.tree import KeptTree, Tree


class RootOutput(NamedTuple):
    """Holds the network's prediction at the roots.

    Attributes:
        prior_logits: [B, A] float, unnormalised log-probabilities of the policy head.
        value: [B] float, seen by the player to move at the root.
    """

    prior_logits: npt.ArrayLike
    value: npt.ArrayLike


class RecurrentOutput(NamedTuple):
    """Holds the network's prediction for one new edge and node of every root.

    Attributes:
        reward: [B] float, seen by the player who took the action.
        discount: [B] float in [-1, 1]; -1 hands the move to the opponent, 0 ends the episode.
        prior_logits: [B, A] float, policy logits at the new node.
        value: [B] float, seen by the player to move at the new node.
    """

    reward: npt.ArrayLike
    discount: npt.ArrayLike
    prior_logits: npt.ArrayLike
    value: npt.ArrayLike


RecurrentFn = Callable[[npt.NDArray[np.int32], npt.NDArray[np.int32], int], RecurrentOutput]
"""Called once per step as `recurrent_fn(parent_index [R], action [R], node_index)`.

Both arrays are views of buffers that the next step overwrites. Row r asks for the outcome of `action[r]` in the state
that node `parent_index[r]` of its root stands for. Node 0 is the root.

One leaf per step, the default: R = B, row b belongs to root b, and what it leads to becomes node `node_index`. With
`leaves_per_step` K: R = K * B, row r = k * B + b is leaf k of root b, and what it leads to becomes node
`node_index + k`. The last step asks for what is left of the S simulations and may be shorter.
"""


@dataclass(frozen=True, eq=False, repr=False)
class SearchResult(ArrayHolder):
    """Holds what a search found, one row per root.

    Attributes:
        action: [B] int32, the action to take.
        action_weights: [B, A] float32, the improved policy; sums to 1, exactly 0 for forbidden actions.
        visit_counts: [B, A] int32, simulations through each root action; sums to the number of simulations, and with a
            kept tree to those plus the visits that were kept.
        qvalues: [B, A] float32, reward + discount * child value of each root action; 0 where unvisited.
        root_value: [B] float32, mean of the values backed up to the root, its own evaluation included.
        tree: the whole search tree.
        improved_value: [B] float32, what `action_weights` are worth: the sum over the actions of weight times Q-value,
            where a Gumbel search gives an unvisited action `QTransform.completing_value`; in environment units.
    """

    action: npt.NDArray[np.int32]
    action_weights: npt.NDArray[np.float32]
    visit_counts: npt.NDArray[np.int32]
    qvalues: npt.NDArray[np.float32]
    root_value: npt.NDArray[np.float32]
    tree: Tree
    improved_value: npt.NDArray[np.float32] = field(kw_only=True)


RESULT_ARRAYS = tuple(found.name for found in fields(SearchResult) if found.name != "tree")
"""The fields of a `SearchResult` that are arrays with one row per root."""


@dataclass(frozen=True, eq=False, repr=False)
class SearchProblem(ArrayHolder):
    """Holds one validated search in the form both backends take.

    The policies make it. By hand it is of use only for `mcts._reference.ReferenceSearch`, which trusts it.

    Attributes:
        prior_logits: [B, A] float32, noise included, -inf where forbidden.
        value: [B] float32, the network's root values.
        invalid_actions: [B, A] bool, True = forbidden at the root; at least one False per row.
        num_simulations: S.
        max_depth: longest path in edges, at least the depth of the kept tree.
        qtransform: Q-transform of all nodes.
        exploration: [V + 1] float64, PUCT's factor `sqrt(n) * (c1 + ln((n + c2 + 1) / c2))` by visit count n; no node
            has more than V visits, pending and kept ones included.
        root_scores: [B, A] float64, Gumbel noise + logits - max legal logit; None selects PUCT at every node.
        considered_visits: [B, S] int32, sequential halving schedule of each root; None with PUCT.
        leaves_per_step: K, leaves that each root selects before the network is called.
        virtual_loss: PUCT only: the transformed Q-value of an action with n > 0 completed and o pending visits is
            multiplied by n / (n + virtual_loss * o); with n = 0 it is that of an unvisited action.
        kept: PUCT only: the trees to go on with, None for fresh ones. Its node 0 holds this search's prediction,
            1 + sum of the children's visits and the value sum that belongs to them; the root's children hold the new
            prior, forbidden ones are gone. Every column is used as it stands; a `source` is not read any more.
    """

    prior_logits: npt.NDArray[np.float32]
    value: npt.NDArray[np.float32]
    invalid_actions: npt.NDArray[np.bool_]
    num_simulations: int
    max_depth: int
    qtransform: QTransform
    exploration: npt.NDArray[np.float64]
    root_scores: npt.NDArray[np.float64] | None = None
    considered_visits: npt.NDArray[np.int32] | None = None
    leaves_per_step: int = 1
    virtual_loss: float = 0.0
    kept: KeptTree | None = None

    @property
    def first_node(self) -> int:
        """Returns the node that simulation 0 makes: 1, or the number of slots of the kept tree."""
        return 1 if self.kept is None else self.kept.tree.num_nodes

    @property
    def num_nodes(self) -> int:
        """Returns N, the number of node slots of each root."""
        return self.first_node + self.num_simulations

    def leaves_at(self, simulation: int) -> int:
        """Returns how many leaves the step that begins with a simulation selects: the last takes what is left."""
        return min(self.leaves_per_step, self.num_simulations - simulation)
