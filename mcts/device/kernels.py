"""The tree in Triton: how a search begins, and one simulation of it.

One program works on one root. What it writes and reads again within a launch is kept apart by a barrier.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mcts.device.formulas import (
    FORBIDDEN,
    INF,
    LARGEST,
    LOWEST_LOGIT,
    LOWEST_SCORE,
    NO_ACTION,
    OPEN,
    look,
    lowest_action_of,
    statistics,
    transform,
)


@triton.jit
def _choose(
    tree, rules, root, node, num_nodes, num_actions, lanes,
    GUMBEL: tl.constexpr, KIND: tl.constexpr, RESCALE: tl.constexpr, MIXED: tl.constexpr,
):  # fmt: skip
    """Returns the action that PUCT, or a Gumbel search below its root, goes on with.

    Source: MuZero (arXiv:1911.08265), appendix B, equation 2; "Policy improvement by planning with Gumbel", section 5,
    equation 14.
    """
    inside = lanes < num_actions
    child, logits, prior, counts, q = look(tree, root, node, num_nodes, num_actions, lanes, inside)
    visits, total, mean, raw, low, high = statistics(tree, root, node, num_nodes)
    visited = child >= 0
    is_open = child == OPEN
    lower, factor, span, unvisited = transform(
        rules.constants, q, counts, prior, visited, total, num_actions, mean, raw, low, high, KIND, RESCALE, MIXED
    )
    # Unvisited actions share one Q-value, so the largest prior wins among them.
    best_open = lowest_action_of(tl.maximum(logits.to(tl.float64), LOWEST_LOGIT), is_open)
    contends = visited | (lanes == best_open)
    if GUMBEL:
        scale = factor / span
        weight = logits.to(tl.float64) + tl.where(visited, (q - lower) * scale, unvisited / span)
        weight = tl.where(inside, weight, -INF)
        weight = tl.exp(weight - tl.max(weight, axis=0))
        scores = weight / tl.sum(weight, axis=0) - counts.to(tl.float64) * (1.0 / (1.0 + total))
    else:
        exploration = tl.load(rules.exploration + visits) * span
        scores = tl.where(visited, (q - lower) * factor, unvisited) + exploration * prior * (
            1.0 / (1.0 + counts.to(tl.float64))
        )
    return lowest_action_of(scores, contends)


@triton.jit
def _choose_at_root(
    tree, rules, root, simulation, num_simulations, num_nodes, num_actions, lanes,
    KIND: tl.constexpr, RESCALE: tl.constexpr, MIXED: tl.constexpr,
):  # fmt: skip
    """Returns the action that sequential halving considers next: "Policy improvement ...", algorithm 1."""
    inside = lanes < num_actions
    child, _, prior, counts, q = look(tree, root, 0, num_nodes, num_actions, lanes, inside)
    _, total, mean, raw, low, high = statistics(tree, root, 0, num_nodes)
    visited = child >= 0
    lower, factor, span, unvisited = transform(
        rules.constants, q, counts, prior, visited, total, num_actions, mean, raw, low, high, KIND, RESCALE, MIXED
    )
    scores = tl.load(rules.scores + root * num_actions + lanes, mask=inside, other=-INF)
    scores += tl.where(visited, (q - lower) * (factor / span), unvisited / span)
    considered = tl.load(rules.schedule + root * num_simulations + simulation)
    among = (child != FORBIDDEN) & (counts == considered)
    return lowest_action_of(tl.maximum(scores, LOWEST_SCORE), among)


@triton.jit
def _select(
    tree, rules, edges, root, simulation, num_simulations, num_nodes, num_actions, num_roots, max_depth, lanes,
    GUMBEL: tl.constexpr, KIND: tl.constexpr, RESCALE: tl.constexpr, MIXED: tl.constexpr,
):  # fmt: skip
    """Walks down from a root to an edge to evaluate: an unvisited one, or the last that the depth limit allows."""
    node = simulation * 0
    depth = simulation * 0 + 1
    if GUMBEL:
        action = _choose_at_root(
            tree, rules, root, simulation, num_simulations, num_nodes, num_actions, lanes, KIND, RESCALE, MIXED
        )
    else:
        action = _choose(tree, rules, root, node, num_nodes, num_actions, lanes, GUMBEL, KIND, RESCALE, MIXED)
    lost = action == NO_ACTION
    action = tl.where(lost, 0, action)
    child = tl.load(tree.children + (root * num_nodes + node) * num_actions + action)
    while (child >= 0) & (depth < max_depth) & (not lost):
        node = child
        depth += 1
        action = _choose(tree, rules, root, node, num_nodes, num_actions, lanes, GUMBEL, KIND, RESCALE, MIXED)
        lost = action == NO_ACTION
        action = tl.where(lost, 0, action)
        child = tl.load(tree.children + (root * num_nodes + node) * num_actions + action)
    if lost:
        tl.store(tree.failures + root, -1 - simulation)
    tl.store(edges.parents + root, node)
    tl.store(edges.actions + root, action.to(tl.int64))
    tl.store(edges.nodes + root, tl.where(child >= 0, child, simulation + 1))
    tl.store(edges.rows + root, node.to(tl.int64) * num_roots + root)


@triton.jit
def _put_node(tree, answer, root, node, num_nodes, num_actions, lanes):
    """Writes the network's prediction into a node; returns its value and visits, or a negative number of visits."""
    inside = lanes < num_actions
    at_node = root * num_nodes + node
    logits = tl.load(answer.prior_logits + root * num_actions + lanes, mask=inside, other=-INF)
    value = tl.load(answer.value + root)
    top = tl.max(logits, axis=0)
    weight = tl.exp(logits.to(tl.float64) - top.to(tl.float64))
    numbers = tl.min((logits < INF).to(tl.int32), axis=0) == 1  # false for NaN as well
    usable = numbers & (top > -INF) & (tl.abs(value) <= LARGEST)
    visits = tl.load(tree.visits + at_node) + 1
    if usable:
        tl.store(tree.logits + at_node * num_actions + lanes, logits, mask=inside)
        tl.store(tree.priors + at_node * num_actions + lanes, weight / tl.sum(weight, axis=0), mask=inside)
        tl.store(tree.raw_values + at_node, value)
        # a repeated evaluation replaces the first, as in mctx
        tl.store(tree.value_sums + at_node, value.to(tl.float64) * visits.to(tl.float64))
        tl.store(tree.visits + at_node, visits)
    return value, tl.where(usable, visits, -1)


@triton.jit
def _expand(tree, edges, answer, root, num_nodes, num_actions, lanes, simulation):
    """Makes a node of the network's answer and backs its value up; a number that is not usable ends this tree."""
    parent = tl.load(edges.parents + root)
    action = tl.load(edges.actions + root).to(tl.int32)
    node = tl.load(edges.nodes + root)
    reward = tl.load(answer.reward + root)
    discount = tl.load(answer.discount + root)
    value, visits = _put_node(tree, answer, root, node, num_nodes, num_actions, lanes)
    usable = (visits >= 0) & (tl.abs(reward) <= LARGEST) & (tl.abs(discount) <= 1.0)
    if usable:
        at_node = root * num_nodes + node
        tl.store(tree.children + (root * num_nodes + parent) * num_actions + action, node)
        tl.store(tree.parents + at_node, parent)
        tl.store(tree.actions + at_node, action)
        tl.store(tree.rewards + at_node, reward)
        tl.store(tree.discounts + at_node, discount)
        _back_up(tree, root, parent, action, reward, discount, value, visits, num_nodes, num_actions)
    else:
        tl.store(tree.failures + root, 1 + simulation)


@triton.jit
def _back_up(tree, root, parent, action, reward, discount, value, visits, num_nodes, num_actions):
    """Adds a value to every node up to the root, and renews the visits and Q-values of the edges in between."""
    low = tl.load(tree.bounds + 2 * root)
    high = tl.load(tree.bounds + 2 * root + 1)
    ret = value.to(tl.float64)
    mean = ret
    while parent >= 0:
        at_parent = root * num_nodes + parent
        q = reward.to(tl.float64) + discount.to(tl.float64) * mean
        ret = reward.to(tl.float64) + discount.to(tl.float64) * ret
        tl.store(tree.counts + at_parent * num_actions + action, visits)
        tl.store(tree.qvalues + at_parent * num_actions + action, q)
        low = tl.minimum(low, q)
        high = tl.maximum(high, q)
        value_sum = tl.load(tree.value_sums + at_parent) + ret
        visits = tl.load(tree.visits + at_parent) + 1
        tl.store(tree.value_sums + at_parent, value_sum)
        tl.store(tree.visits + at_parent, visits)
        mean = value_sum / visits.to(tl.float64)
        action = tl.load(tree.actions + at_parent)
        reward = tl.load(tree.rewards + at_parent)
        discount = tl.load(tree.discounts + at_parent)
        parent = tl.load(tree.parents + at_parent)
    tl.store(tree.bounds + 2 * root, low)
    tl.store(tree.bounds + 2 * root + 1, high)


@triton.jit
def plant(
    tree, rules, edges, answer, invalid, num_simulations, num_nodes, num_actions, num_roots, max_depth,
    GUMBEL: tl.constexpr, KIND: tl.constexpr, RESCALE: tl.constexpr, MIXED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Empties the trees, puts the roots into them and selects the first edges.

    `answer` holds the prediction at the roots, -inf where forbidden; its reward and discount are not read. `invalid` is
    [B, A] int8, 1 where forbidden.
    """
    root = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    inside = lanes < num_actions
    node = num_nodes * 0
    while node < num_nodes:
        at_node = root * num_nodes + node
        row = at_node * num_actions + lanes
        tl.store(tree.children + row, tl.full([BLOCK], OPEN, tl.int32), mask=inside)
        tl.store(tree.counts + row, tl.zeros([BLOCK], tl.int32), mask=inside)
        tl.store(tree.qvalues + row, tl.zeros([BLOCK], tl.float64), mask=inside)
        tl.store(tree.logits + row, tl.zeros([BLOCK], tl.float32), mask=inside)
        tl.store(tree.visits + at_node, 0)
        tl.store(tree.parents + at_node, -1)
        tl.store(tree.actions + at_node, -1)
        tl.store(tree.value_sums + at_node, 0.0)
        node += 1
    tl.debug_barrier()
    forbidden = tl.load(invalid + root * num_actions + lanes, mask=inside, other=1) != 0
    first = root * num_nodes * num_actions + lanes
    tl.store(tree.children + first, tl.where(forbidden, FORBIDDEN, OPEN), mask=inside)
    tl.store(tree.failures + root, 0)
    value, visits = _put_node(tree, answer, root, num_nodes * 0, num_nodes, num_actions, lanes)
    tl.store(tree.bounds + 2 * root, value.to(tl.float64))
    tl.store(tree.bounds + 2 * root + 1, value.to(tl.float64))
    tl.debug_barrier()
    if visits >= 0:
        _select(
            tree, rules, edges, root, num_nodes * 0, num_simulations, num_nodes, num_actions, num_roots, max_depth,
            lanes, GUMBEL, KIND, RESCALE, MIXED,
        )  # fmt: skip
    else:
        tl.store(tree.failures + root, 1 + num_simulations)
        tl.store(edges.actions + root, (root * 0))
        tl.store(edges.rows + root, root)


@triton.jit(do_not_specialize=["simulation"])
def grow(
    tree, rules, edges, answer, simulation, num_simulations, num_nodes, num_actions, num_roots, max_depth,
    GUMBEL: tl.constexpr, KIND: tl.constexpr, RESCALE: tl.constexpr, MIXED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Takes the answers of one simulation into the trees and selects the next edges; nothing where one failed."""
    root = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    if tl.load(tree.failures + root) == 0:
        _expand(tree, edges, answer, root, num_nodes, num_actions, lanes, simulation)
        tl.debug_barrier()
        if (simulation + 1 < num_simulations) & (tl.load(tree.failures + root) == 0):
            _select(
                tree, rules, edges, root, simulation + 1, num_simulations, num_nodes, num_actions, num_roots,
                max_depth, lanes, GUMBEL, KIND, RESCALE, MIXED,
            )  # fmt: skip
