"""What must hold for every finished search, checked in a few dozen array operations."""

from __future__ import annotations

from typing import Any

import numpy as np

import mcts
from tests.native.cases import FLOAT_MAX, Case


class ViolationError(AssertionError):
    """Says what does not hold."""


def require(holds: Any, what: str) -> None:
    """Raises ViolationError unless something holds.

    Args:
        holds: a truth value, or an array of them that must all be true.
        what: what is told if it does not.
    """
    if not (holds.all() if isinstance(holds, np.ndarray) else holds):
        raise ViolationError(what)


def check(case: Case, result: mcts.SearchResult) -> None:
    """Checks everything that can be checked without searching again.

    Args:
        case: what went in.
        result: what came out.

    Raises:
        ViolationError: something does not hold.
    """
    max_depth = case.arguments.get("max_depth")
    limit = max_depth if max_depth is not None and max_depth < case.num_simulations else None
    simulations = case.num_simulations + kept_visits(case)
    check_result(case, result, simulations)
    once = limit is None and case.arguments.get("leaves_per_step", 1) == 1 and "kept" not in case.arguments
    check_tree(result.tree, simulations, limit, once)
    check_numbers(case, result.tree, once)


def kept_visits(case: Case) -> Any:
    """Returns the visits of the root's allowed actions that an earlier search left, [B]."""
    if "kept" not in case.arguments:
        return 0
    tree, invalid = case.arguments["kept"].tree, case.arguments.get("invalid_actions")
    counts = tree.summary().visit_counts
    return (counts if invalid is None else np.where(invalid, 0, counts)).sum(axis=1)


def check_result(case: Case, result: mcts.SearchResult, simulations: Any) -> None:
    """Checks the arrays of a result: shapes, sums, masks, finite numbers.

    Args:
        case: what went in.
        result: what came out.
        simulations: sum of the visits of each root's actions, [B] or one for all.

    Raises:
        ViolationError: something does not hold.
    """
    num_roots, num_actions = case.root.prior_logits.shape
    invalid = case.arguments.get("invalid_actions")
    visits, weights, action = result.visit_counts, result.action_weights, result.action
    rows = np.arange(num_roots)
    for name, array, shape in (
        ("action", action, (num_roots,)),
        ("action_weights", weights, (num_roots, num_actions)),
        ("visit_counts", visits, (num_roots, num_actions)),
        ("qvalues", result.qvalues, (num_roots, num_actions)),
        ("root_value", result.root_value, (num_roots,)),
        ("improved_value", result.improved_value, (num_roots,)),
    ):
        require(array.shape == shape, f"{name}: shape {array.shape}")
    require(bool((visits >= 0).all()) and (visits.sum(axis=1) == simulations).all(), "visit_counts: sum")
    require(((action >= 0) & (action < num_actions)).all(), "action: out of range")
    require(visits[rows, action] > 0, "action: was never visited")
    require(np.isfinite(weights).all() and (weights >= 0).all(), "action_weights: not finite or negative")
    require(np.abs(weights.sum(axis=1, dtype=np.float64) - 1) < 1e-4, "action_weights: sum")
    require(np.isfinite(result.qvalues), "qvalues: not finite")
    require(np.isfinite(result.root_value), "root_value: not finite")
    require(np.isfinite(result.improved_value), "improved_value: not finite")
    require(~result.qvalues.any(where=visits == 0), "qvalues: not 0 where unvisited")
    if invalid is not None:
        require(not visits[invalid].any(), "visit_counts: a forbidden action was visited")
        require(not weights[invalid].any(), "action_weights: a forbidden action has some")


def check_tree(tree: mcts.Tree, simulations: Any, max_depth: int | None, once: bool) -> None:
    """Checks that visits, values, parents and depths of every tree fit together.

    Args:
        tree: of the search.
        simulations: through each root, [B] or one for all.
        max_depth: longest path; None if nothing limits it.
        once: whether no node can have been evaluated twice.

    Raises:
        ViolationError: something does not hold.
    """
    visits, parents, actions = tree.node_visits, tree.parents, tree.actions_from_parent
    num_roots, num_nodes = visits.shape
    used = visits > 0
    require(visits[:, 0] == simulations + 1, "tree: visits of the root")
    require((parents[:, 0] == -1).all() and (actions[:, 0] == -1).all(), "tree: the root has a parent")
    require(visits >= 0, "tree: negative visits")
    below = used[:, 1:]
    require((parents[:, 1:] >= 0) == below, "tree: used slots have parents, others none")
    require(parents < np.arange(num_nodes) + (np.arange(num_nodes) == 0), "tree: a parent is younger than its child")
    rows, nodes = np.nonzero(below)
    nodes = nodes + 1
    from_parent, action = parents[rows, nodes], actions[rows, nodes]
    require(((action >= 0) & (action < tree.num_actions)).all(), "tree: action out of range")
    require(used[rows, from_parent], "tree: a node hangs on an unused slot")
    edges = (rows * num_nodes + from_parent) * tree.num_actions + action
    require(len(np.unique(edges)) == len(edges), "tree: two nodes on one edge")
    children = np.bincount(rows * num_nodes + from_parent, visits[rows, nodes], num_roots * num_nodes)
    own = visits - children.reshape(visits.shape)
    require(own[used] == 1 if once else own[used] >= 1, "tree: visits are not those of the children and its own")
    if max_depth is not None:
        depth = np.zeros((num_roots, num_nodes), np.int64)
        for node in range(1, num_nodes):
            depth[:, node] = depth[np.arange(num_roots), parents[:, node]] + 1
        require(depth[used].max() <= max_depth, "tree: deeper than max_depth")
    with np.errstate(under="ignore"):
        qvalues = tree.rewards + tree.discounts.astype(np.float64) * tree.node_values()
    require(np.isfinite(tree.value_sums), "tree: a sum of values is not finite")
    expected, found = qvalues[rows, nodes], tree.qvalues_from_parent[rows, nodes]
    scale = np.abs(tree.rewards[rows, nodes]) + np.abs(expected) + 1e-300
    require(np.abs(found - expected) <= 1e-9 * scale, "tree: qvalue is not reward + discount * value")


def check_numbers(case: Case, tree: mcts.Tree, once: bool) -> None:
    """Checks that the numbers of the network stand in the tree unchanged.

    Args:
        case: what the network said.
        tree: of the search.
        once: whether no node can have been evaluated twice; of others only nodes with one visit are looked at.

    Raises:
        ViolationError: a number differs.
    """
    new = slice(case.first_node, None)
    fresh = tree.parents[:, new] >= 0
    if not once:
        fresh &= tree.node_visits[:, new] == 1
    for name, stored in (("reward", tree.rewards), ("discount", tree.discounts), ("value", tree.raw_values)):
        given = getattr(case, name).T
        require((stored[:, new] == given)[fresh], f"tree: {name} is not what the network said")
    logits = case.prior_logits.transpose(1, 0, 2)
    require((tree.prior_logits[:, new] == logits)[fresh], "tree: prior_logits are not what the network said")
    require(np.abs(tree.raw_values) <= FLOAT_MAX, "tree: a raw value is not finite")
    invalid = case.arguments.get("invalid_actions")
    if invalid is not None:
        require(np.isneginf(tree.prior_logits[:, 0][invalid]), "tree: the root's forbidden actions have a prior")
