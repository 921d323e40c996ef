"""Keeping the part of a search tree that the moves played lead to, so that the next search goes on from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mcts.tree import Tree


@dataclass(frozen=True)
class KeptTree:
    """Holds what is left of B search trees after some moves, for the `kept` argument of `mcts.muzero_policy`.

    Attributes:
        tree: the kept nodes, renumbered from 0 without gaps and in their old order; node 0 is the node reached. Rows
            with fewer nodes than M end in unused slots.
        source: [B, M] int32, the old number of every node, -1 for an unused slot. Whoever owns the states moves them by
            `pool[m] = pool[source[m]]`. Where the moves were never searched, only slot 0 is left, and its source is -1.
    """

    tree: Tree
    source: npt.NDArray[np.int32]


def keep(tree: Tree, moves: npt.ArrayLike) -> KeptTree:
    """Copies the part of every tree that lies below a path of actions; see `mcts.Tree.keep`."""
    actions = _check_moves(moves, tree)
    new_root = _follow(tree, actions)
    new_index = _number_below(tree, new_root)
    num_kept = int(new_index.max()) + 1 if (new_index >= 0).any() else 1
    source = np.full((tree.num_roots, num_kept), -1, np.int32)
    rows, old = np.nonzero(new_index >= 0)
    new = new_index[rows, old]
    source[rows, new] = old
    kept = tree.allocate(tree.num_roots, num_kept, tree.num_actions)
    kept.nodes[:] = np.zeros((), kept.nodes.dtype)
    kept.nodes["parent"] = kept.nodes["action"] = -1
    kept.prior_logits[:] = 0.0
    for name in kept.nodes.dtype.names or ():
        if not name.startswith("_"):
            kept.nodes[name][rows, new] = tree.nodes[name][rows, old]
    kept.prior_logits[rows, new] = tree.prior_logits[rows, old]
    inner = new > 0
    kept.nodes["parent"][rows[inner], new[inner]] = new_index[rows[inner], tree.parents[rows[inner], old[inner]]]
    for name in _EDGE_FIELDS:  # nothing leads into a root
        kept.nodes[name][:, 0] = -1 if name in ("parent", "action") else 0
    return KeptTree(kept, source)


_EDGE_FIELDS = ("qvalue", "prior_prob", "parent", "reward", "discount", "prior_logit", "action")


def _check_moves(moves: npt.ArrayLike, tree: Tree) -> npt.NDArray[np.integer]:
    """Returns the moves as [B, D]."""
    array = np.asarray(moves)
    if array.dtype.kind not in "iu":
        raise TypeError(f"moves: expected integers, got dtype {array.dtype}")
    if array.ndim not in (1, 2) or len(array) != tree.num_roots:
        raise ValueError(f"moves: expected shape ({tree.num_roots},) or ({tree.num_roots}, D), got {array.shape}")
    wrong = array[(array < -1) | (array >= tree.num_actions)]
    if wrong.size:
        raise ValueError(f"moves: expected actions in [0, {tree.num_actions}) or -1, got {wrong[0]}")
    return array.reshape(tree.num_roots, -1)


def _follow(tree: Tree, actions: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    """Returns the node that each path leads to, [B], -1 where it leaves the tree."""
    node = np.zeros(tree.num_roots, np.int32)
    for taken in actions.T:
        leads = (tree.parents == node[:, None]) & (tree.actions_from_parent == taken[:, None])
        leads &= (node >= 0)[:, None]
        node = np.where(leads.any(axis=1), leads.argmax(axis=1), -1).astype(np.int32)
    return node


def _number_below(tree: Tree, new_root: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Numbers the nodes at and below a node of each tree in their old order, [B, N], -1 elsewhere."""
    rows = np.arange(tree.num_roots)
    below = np.zeros((tree.num_roots, tree.num_nodes), np.bool_)
    for node in range(tree.num_nodes):  # parents come before their children
        parent = tree.parents[:, node]
        below[:, node] = (new_root == node) | ((parent >= 0) & below[rows, parent])
    return np.where(below, below.cumsum(axis=1) - 1, -1).astype(np.int32)
