"""What a search tree is in memory: one row per root, one column per node, one record per node and the edge into it.

Node 0 is the root and simulation i makes node i + 1 (after a kept tree of M slots, node M + i), so that a node's number
is also the place of its latent state in whatever pool the owner of the network keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from mcts._holder import ArrayHolder

CACHE_LINE = 64

NODE_DTYPE = np.dtype(
    [
        ("value_sum", np.float64),
        ("qvalue", np.float64),
        ("prior_prob", np.float64),
        ("_open_prob", np.float64),
        ("visits", np.int32),
        ("parent", np.int32),
        ("_first_child", np.int32),
        ("_next_sibling", np.int32),
        ("_target", np.int32),
        ("reward", np.float32),
        ("discount", np.float32),
        ("prior_logit", np.float32),
        ("_normaliser", np.float64),
        ("_memory", np.float64, 3),
        ("raw_value", np.float32),
        ("_log_ref", np.float32),
        ("action", np.int32),
        ("_num_children", np.int32),
        ("_best_open", np.int32),
        ("_slot", np.int32),
        ("_pending", np.int32),
        ("_depth", np.int32),
    ]
)
"""One node and the edge into it: two cache lines, laid out as the native core's `Node`, which owns the `_` fields."""


class TreeSummary(NamedTuple):
    """Holds the statistics of the roots.

    Attributes:
        visit_counts: [B, A] int32.
        visit_probs: [B, A] float32, visit counts divided by their sum.
        qvalues: [B, A] float64, 0 where unvisited.
        value: [B] float64, mean value of the root.
    """

    visit_counts: npt.NDArray[np.int32]
    visit_probs: npt.NDArray[np.float32]
    qvalues: npt.NDArray[np.float64]
    value: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class TreeArrays(ArrayHolder):
    """Holds the arrays of B search trees; `mcts.Tree` says what they are and adds what can be done with them."""

    nodes: npt.NDArray[np.void]
    prior_logits: npt.NDArray[np.float32]

    @classmethod
    def allocate(cls, num_roots: int, num_nodes: int, num_actions: int) -> Self:
        """Makes the arrays of a tree and leaves them uninitialised.

        Args:
            num_roots: B.
            num_nodes: N.
            num_actions: A.

        Returns:
            A tree to be filled.
        """
        size = num_roots * num_nodes * NODE_DTYPE.itemsize
        buffer = np.empty(size + CACHE_LINE, np.uint8)
        begin = -buffer.ctypes.data % CACHE_LINE
        nodes = buffer[begin : begin + size].view(NODE_DTYPE).reshape(num_roots, num_nodes)
        return cls(nodes, np.empty((num_roots, num_nodes, num_actions), np.float32))

    @property
    def node_visits(self) -> npt.NDArray[np.int32]:
        """Returns [B, N] int32, evaluations of each node plus simulations that went on below it."""
        return self.nodes["visits"]

    @property
    def value_sums(self) -> npt.NDArray[np.float64]:
        """Returns [B, N] float64, sums of the values backed up to each node, its own evaluation included."""
        return self.nodes["value_sum"]

    @property
    def raw_values(self) -> npt.NDArray[np.float32]:
        """Returns [B, N] float32, the network's values."""
        return self.nodes["raw_value"]

    @property
    def parents(self) -> npt.NDArray[np.int32]:
        """Returns [B, N] int32, the node each node was reached from; -1 at the root."""
        return self.nodes["parent"]

    @property
    def actions_from_parent(self) -> npt.NDArray[np.int32]:
        """Returns [B, N] int32, the action each node was reached by; -1 at the root."""
        return self.nodes["action"]

    @property
    def qvalues_from_parent(self) -> npt.NDArray[np.float64]:
        """Returns [B, N] float64, reward + discount * mean value of each node; 0 at the root."""
        return self.nodes["qvalue"]

    @property
    def rewards(self) -> npt.NDArray[np.float32]:
        """Returns [B, N] float32, on the edge into each node."""
        return self.nodes["reward"]

    @property
    def discounts(self) -> npt.NDArray[np.float32]:
        """Returns [B, N] float32, on the edge into each node."""
        return self.nodes["discount"]

    @property
    def num_roots(self) -> int:
        """Returns B."""
        return self.prior_logits.shape[0]

    @property
    def num_nodes(self) -> int:
        """Returns N, the number of node slots of each root."""
        return self.prior_logits.shape[1]

    @property
    def num_actions(self) -> int:
        """Returns A."""
        return self.prior_logits.shape[2]

    def node_values(self) -> npt.NDArray[np.float64]:
        """Returns the mean value of every node, [B, N] float64; 0 for unused slots."""
        return self.value_sums / np.maximum(self.node_visits, 1)

    def summary(self) -> TreeSummary:
        """Returns the statistics of the roots as dense arrays over actions."""
        rows, nodes = np.nonzero(self.parents == 0)
        actions = self.actions_from_parent[rows, nodes]
        visit_counts = np.zeros((self.num_roots, self.num_actions), np.int32)
        qvalues = np.zeros((self.num_roots, self.num_actions), np.float64)
        visit_counts[rows, actions] = self.node_visits[rows, nodes]
        qvalues[rows, actions] = self.qvalues_from_parent[rows, nodes]
        totals = np.maximum(visit_counts.sum(axis=1, keepdims=True), 1)
        return TreeSummary(
            visit_counts=visit_counts,
            visit_probs=(visit_counts / totals).astype(np.float32),
            qvalues=qvalues,
            value=self.node_values()[:, 0],
        )
