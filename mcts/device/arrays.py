"""The trees of a search in the memory of a device, as dense arrays, and their way to the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mcts.device.formulas import TreePointers
from mcts.tree import Tree

_PER_ACTION = {
    "children": torch.int32,
    "logits": torch.float32,
    "priors": torch.float64,
    "counts": torch.int32,
    "qvalues": torch.float64,
}
_PER_NODE = {
    "visits": torch.int32,
    "parents": torch.int32,
    "actions": torch.int32,
    "value_sums": torch.float64,
    "raw_values": torch.float32,
    "rewards": torch.float32,
    "discounts": torch.float32,
}


@dataclass(eq=False)
class DeviceTrees:
    """Holds B trees of N nodes with A actions.

    Attributes:
        children: [B, N, A] int32, the node an edge leads to; -1 where there is none, -2 where an action is forbidden.
        logits: [B, N, A] float32, of the prior; at the root with its noise, -inf where forbidden.
        priors: [B, N, A] float64, their softmax.
        counts: [B, N, A] int32, simulations through an edge.
        qvalues: [B, N, A] float64, reward + discount * child value of an edge; 0 where unvisited.
        visits: [B, N] int32, evaluations of a node plus simulations that went on below it.
        parents: [B, N] int32, -1 at the root and in unused slots.
        actions: [B, N] int32, likewise.
        value_sums: [B, N] float64.
        raw_values: [B, N] float32, the network's values.
        rewards: [B, N] float32, on the edge into a node.
        discounts: [B, N] float32, likewise.
        bounds: [B, 2] float64, the smallest and the largest Q-value so far, the root's raw value included.
        failures: [B] int32, 0, or what went wrong, see `mcts.device.result`.
        version: how many searches have been made in this memory.
    """

    children: torch.Tensor
    logits: torch.Tensor
    priors: torch.Tensor
    counts: torch.Tensor
    qvalues: torch.Tensor
    visits: torch.Tensor
    parents: torch.Tensor
    actions: torch.Tensor
    value_sums: torch.Tensor
    raw_values: torch.Tensor
    rewards: torch.Tensor
    discounts: torch.Tensor
    bounds: torch.Tensor
    failures: torch.Tensor
    version: int = 0

    @classmethod
    def allocate(cls, num_roots: int, num_nodes: int, num_actions: int, device: torch.device) -> DeviceTrees:
        """Makes the arrays and leaves them uninitialised."""
        sizes = num_roots, num_nodes, num_actions
        arrays: dict[str, Any] = {
            name: torch.empty(sizes, dtype=dtype, device=device) for name, dtype in _PER_ACTION.items()
        }
        arrays |= {name: torch.empty(sizes[:2], dtype=dtype, device=device) for name, dtype in _PER_NODE.items()}
        return cls(
            **arrays,
            bounds=torch.empty((num_roots, 2), dtype=torch.float64, device=device),
            failures=torch.zeros(num_roots, dtype=torch.int32, device=device),
        )

    @staticmethod
    def bytes_per_root(num_nodes: int, num_actions: int) -> int:
        """Returns the bytes that the trees take for each root."""
        per_action = sum(dtype.itemsize for dtype in _PER_ACTION.values())
        per_node = sum(dtype.itemsize for dtype in _PER_NODE.values())
        return num_nodes * (num_actions * per_action + per_node) + 20

    def pointers(self) -> TreePointers:
        """Returns the arrays as the kernels take them."""
        return TreePointers(**{name: getattr(self, name) for name in TreePointers._fields})

    def to_host(self) -> Tree:
        """Returns a copy as an ordinary `mcts.Tree`; waits for the device."""
        num_roots, num_nodes, num_actions = self.logits.shape
        tree = Tree.allocate(num_roots, num_nodes, num_actions)
        tree.nodes[:] = np.zeros((), tree.nodes.dtype)
        tree.prior_logits[:] = self.logits.cpu().numpy()
        nodes = tree.nodes
        nodes["parent"] = parents = self.parents.cpu().numpy()
        nodes["action"] = actions = self.actions.cpu().numpy()
        nodes["visits"] = self.visits.cpu().numpy()
        nodes["value_sum"] = self.value_sums.cpu().numpy()
        used = nodes["visits"] > 0
        nodes["raw_value"][used] = self.raw_values.cpu().numpy()[used]
        below = parents >= 0
        edge = np.nonzero(below)[0], parents[below], actions[below]
        nodes["reward"][below] = self.rewards.cpu().numpy()[below]
        nodes["discount"][below] = self.discounts.cpu().numpy()[below]
        nodes["qvalue"][below] = self.qvalues.cpu().numpy()[edge]
        nodes["prior_logit"][below] = tree.prior_logits[edge]
        nodes["prior_prob"][below] = self.priors.cpu().numpy()[edge]
        return tree
