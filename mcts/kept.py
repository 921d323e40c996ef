"""Keeping the part of a search tree that the moves played lead to, so that the next search goes on from there."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mcts import checks
from mcts.nodes import TreeArrays

TreeT = TypeVar("TreeT", bound=TreeArrays)


def keep(tree: TreeT, moves: npt.ArrayLike) -> tuple[TreeT, npt.NDArray[np.int32]]:
    """Copies the part of every tree that lies below a path of actions; see `mcts.Tree.keep`."""
    actions = checks.moves(moves, tree.num_roots, tree.num_actions)
    new_root = _follow(tree, actions)
    new_index = _number_below(tree, new_root)
    num_kept = int(new_index.max()) + 1 if (new_index >= 0).any() else 1
    source = np.full((tree.num_roots, num_kept), -1, np.int32)
    rows, old = np.nonzero(new_index >= 0)
    new = new_index[rows, old]
    source[rows, new] = old
    kept = tree.allocate(tree.num_roots, num_kept, tree.num_actions)
    _clear(kept, slice(None))
    for name in kept.nodes.dtype.names or ():
        if not name.startswith("_"):
            kept.nodes[name][rows, new] = tree.nodes[name][rows, old]
    kept.prior_logits[rows, new] = tree.prior_logits[rows, old]
    inner = new > 0
    kept.nodes["parent"][rows[inner], new[inner]] = new_index[rows[inner], tree.parents[rows[inner], old[inner]]]
    for name in _EDGE_FIELDS:  # nothing leads into a root
        kept.nodes[name][:, 0] = -1 if name in ("parent", "action") else 0
    return kept, source


def replant(
    old: TreeT,
    prior_logits: npt.NDArray[np.float32],
    prior_probs: npt.NDArray[np.float64],
    value: npt.NDArray[np.float32],
    invalid_actions: npt.NDArray[np.bool_],
) -> TreeT:
    """Returns kept trees whose roots hold a new prediction, without the actions that are forbidden there.

    Args:
        old: what was kept; it is not changed.
        prior_logits: [B, A] float32, noise included, -inf where forbidden.
        prior_probs: [B, A] float64, their softmax.
        value: [B] float32, the network's values of the roots.
        invalid_actions: [B, A] bool, True = forbidden.

    Returns:
        Trees in which the visits and the value sum of node 0 are those of its prediction and its remaining children.
        What was dropped leaves unused slots, so that the numbers of nodes hold on.
    """
    tree = old.allocate(old.num_roots, old.num_nodes, old.num_actions)
    tree.nodes[:] = old.nodes
    tree.prior_logits[:] = old.prior_logits
    rows, children = np.nonzero(tree.parents == 0)
    forbidden = invalid_actions[rows, tree.actions_from_parent[rows, children]]
    if forbidden.any():
        top = np.zeros(tree.parents.shape, np.bool_)
        top[rows[forbidden], children[forbidden]] = True
        dropped = _spread(tree, top)
        _clear(tree, dropped)
        rows, children = rows[~forbidden], children[~forbidden]
    actions = tree.actions_from_parent[rows, children]
    tree.prior_logits[:, 0] = prior_logits
    tree.nodes["prior_logit"][rows, children] = prior_logits[rows, actions]
    tree.nodes["prior_prob"][rows, children] = prior_probs[rows, actions]
    visits, value_sum = np.ones(len(value), np.int64), value.astype(np.float64)
    np.add.at(visits, rows, tree.node_visits[rows, children])
    np.add.at(value_sum, rows, tree.node_visits[rows, children] * tree.qvalues_from_parent[rows, children])
    tree.nodes["visits"][:, 0] = visits
    tree.nodes["value_sum"][:, 0] = value_sum
    tree.nodes["raw_value"][:, 0] = value
    return tree


def depth(tree: TreeArrays) -> int:
    """Returns the number of edges from the roots to the deepest node of all trees."""
    rows = np.arange(tree.num_roots)
    depths = np.zeros(tree.parents.shape, np.int64)
    for node in range(1, tree.num_nodes):  # parents come before their children
        parent = tree.parents[:, node]
        depths[:, node] = np.where(parent >= 0, depths[rows, parent] + 1, 0)
    return int(depths.max())


def _clear(tree: TreeArrays, which: npt.NDArray[np.bool_] | slice) -> None:
    """Empties node slots."""
    tree.nodes[which] = np.zeros((), tree.nodes.dtype)
    tree.parents[which] = tree.actions_from_parent[which] = -1
    tree.prior_logits[which] = 0.0


_EDGE_FIELDS = ("qvalue", "prior_prob", "parent", "reward", "discount", "prior_logit", "action")


def _follow(tree: TreeArrays, actions: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    """Returns the node that each path leads to, [B], -1 where it leaves the tree."""
    node = np.zeros(tree.num_roots, np.int32)
    for taken in actions.T:
        leads = (tree.parents == node[:, None]) & (tree.actions_from_parent == taken[:, None])
        leads &= (node >= 0)[:, None]
        node = np.where(leads.any(axis=1), leads.argmax(axis=1), -1).astype(np.int32)
    return node


def _number_below(tree: TreeArrays, new_root: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Numbers the nodes at and below a node of each tree in their old order, [B, N], -1 elsewhere."""
    top = np.arange(tree.num_nodes) == new_root[:, None]
    below = _spread(tree, top)
    return np.where(below, below.cumsum(axis=1) - 1, -1).astype(np.int32)


def _spread(tree: TreeArrays, marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Marks everything below the marked nodes, too, [B, N]."""
    rows = np.arange(tree.num_roots)
    below = marked.copy()
    for node in range(1, tree.num_nodes):  # parents come before their children
        parent = tree.parents[:, node]
        below[:, node] |= (parent >= 0) & below[rows, parent]
    return below
