"""What a kept tree must be before a search goes on with it, whatever hand made it; the rest of `mcts.checks`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mcts.checks import LARGEST, MAX_INDEX
from mcts.nodes import NODE_DTYPE, TreeArrays

_MANY_VISITS = 2**24  # of a root; there are tables by visits, and every evaluation of a node in vain counts as one


def kept_shape(tree: TreeArrays, shape: tuple[int, ...]) -> None:
    """Raises TypeError or ValueError unless kept trees are arrays for as many roots and actions as `shape` (B, A)."""
    for name, array, dtype in (
        ("nodes", tree.nodes, NODE_DTYPE),
        ("prior_logits", tree.prior_logits, np.dtype(np.float32)),
    ):
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            expected = "mcts.tree.NODE_DTYPE" if name == "nodes" else dtype
            raise TypeError(f"kept: expected tree.{name} of dtype {expected}, got {kind}")
    nodes, logits = np.shape(tree.nodes), np.shape(tree.prior_logits)
    if len(logits) != 3 or (logits[0], logits[2]) != shape:
        found = (logits[0], logits[2]) if len(logits) == 3 else logits
        raise ValueError(f"kept: expected trees of (B, A) = {shape} like root.prior_logits, got {found}")
    if nodes != logits[:2] or nodes[1] == 0:
        raise ValueError(
            f"kept: expected tree.nodes [B, M] and tree.prior_logits [B, M, A], M >= 1, got {nodes} and {logits}"
        )


def kept_nodes(tree: TreeArrays, num_simulations: int) -> None:
    """Raises unless a search can go on with kept trees, whatever hand made them.

    Nothing is asked of node 0, which gets the new prediction, nor of what the search does not read.

    Args:
        tree: the kept nodes, of the right types and shapes.
        num_simulations: S of the new search.

    Raises:
        ValueError: a node, which is named, does not fit to the others, or holds an unusable number.
    """
    _kept_links(tree.nodes, tree.num_actions, num_simulations)
    _kept_numbers(tree.nodes, tree.prior_logits)


def _kept_links(nodes: npt.NDArray[np.void], num_actions: int, num_simulations: int) -> None:
    """Checks parents, actions and visits of kept trees."""
    num_roots, num_nodes = nodes.shape
    parent, action, visits = nodes["parent"], nodes["action"], nodes["visits"]
    wrong = (parent < -1) | (parent >= np.arange(num_nodes))
    _refuse_node(wrong, "a parent among the nodes before it, or -1", parent)
    used = parent >= 0
    rows, below = np.nonzero(used)
    above = rows * num_nodes + parent[rows, below]
    taken = action[rows, below]
    if taken.size and not 0 <= taken.min() <= taken.max() < num_actions:
        _refuse_node(used & ((action < 0) | (action >= num_actions)), f"an action in [0, {num_actions})", action)
    children = np.bincount(above, visits[rows, below], num_roots * num_nodes).reshape(nodes.shape)
    own = visits - children
    wrong = np.where(used, own < 1, (visits != 0) | (own != 0))
    wrong[:, 0] = False
    _refuse_node(wrong, "at least one visit more than its children have together, and none without a parent", visits)
    most = min(max(_MANY_VISITS, num_nodes), MAX_INDEX - num_simulations)
    if children[:, 0].max() > most:
        row = int(children[:, 0].argmax())
        raise ValueError(f"kept: root {row}: expected at most {most:,} visits, got {int(children[row, 0]):,}")
    edges = above * num_actions + taken
    ordered = np.sort(edges)
    twice = ordered[1:] == ordered[:-1]
    if twice.any():
        again = np.zeros(nodes.shape, np.bool_)
        again.flat[(rows * num_nodes + below)[edges == ordered[1:][twice][0]][1:]] = True
        _refuse_node(again, "an edge that leads to no other node", action)


def _kept_numbers(nodes: npt.NDArray[np.void], logits: npt.NDArray[np.float32]) -> None:
    """Checks values, rewards, discounts and priors of the nodes below the roots of kept trees."""
    used = nodes["parent"] >= 0
    mean = nodes["value_sum"] / np.maximum(nodes["visits"], 1)
    qvalue, reward, raw_value, discount = (nodes[name] for name in ("qvalue", "reward", "raw_value", "discount"))
    # NaN and infinity show in the largest of a row; where there are none, one look at all rows is faster.
    top = np.zeros(used.shape) if np.isfinite(logits).all() else logits.max(axis=2)
    size = np.abs(mean) + np.abs(qvalue) + np.abs(reward) + np.abs(raw_value)
    sound = (size <= LARGEST) & (np.abs(discount) <= 1.0) & np.isfinite(top)
    if (sound | ~used).all():
        return
    small = f"in [-{LARGEST / 4:g}, {LARGEST / 4:g}]"
    for what, numbers in (("mean value", mean), ("qvalue", qvalue), ("reward", reward), ("raw_value", raw_value)):
        wrong = used & ~(np.abs(numbers.astype(np.float64)) <= LARGEST / 4)
        _refuse_node(wrong, f"a {what} {small}", numbers)
    _refuse_node(used & ~(np.abs(discount) <= 1.0), "a discount in [-1, 1]", discount)
    _refuse_node(used & ~np.isfinite(top), "prior logits below infinity, at least one of them finite", top)


def _refuse_node(wrong: npt.NDArray[np.bool_], expected: str, found: npt.NDArray[Any]) -> None:
    """Raises ValueError where some node of a kept tree is wrong, [B, M]."""
    if wrong.any():
        root, node = (int(index[0]) for index in np.nonzero(wrong))
        raise ValueError(f"kept: root {root}, node {node}: expected {expected}, got {found[root, node]}")


def kept_depth(depth: int, max_depth: int) -> None:
    """Raises ValueError where a kept tree is deeper than the search may go."""
    if depth > max_depth:
        raise ValueError(f"max_depth: expected at least the kept tree's depth, {depth}, got {max_depth}")
