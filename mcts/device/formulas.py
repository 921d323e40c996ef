"""The formulas of the search in Triton: one program per root, actions across its lanes, in double precision.

Each is that of `mcts._reference`, over the same dense arrays. Numbers that a formula takes are read from memory and not
passed as arguments: Triton would round them to float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

# Kinds of Q-transforms, as in mcts.qtransforms.
BY_MIN_MAX = tl.constexpr(0)
BY_SIBLINGS = tl.constexpr(1)
BY_TREE = tl.constexpr(2)
COMPLETED = tl.constexpr(3)

# What `Tree.children` holds where no node is.
OPEN = tl.constexpr(-1)
FORBIDDEN = tl.constexpr(-2)

TINY = tl.constexpr(1.1754943508222875e-38)  # mcts.qtransforms.TINY
LOWEST_SCORE = tl.constexpr(-1e9)
LOWEST_LOGIT = tl.constexpr(-1e300)  # stands for -inf where the largest of some is looked for
LARGEST = tl.constexpr(3.4028234663852886e38)  # of float32
NO_ACTION = tl.constexpr(1 << 30)
INF = tl.constexpr(float("inf"))


class TreePointers(NamedTuple):
    """Holds the arrays of the trees; `mcts.device.arrays` says what they are."""

    children: Any
    logits: Any
    priors: Any
    counts: Any
    qvalues: Any
    visits: Any
    parents: Any
    actions: Any
    value_sums: Any
    raw_values: Any
    rewards: Any
    discounts: Any
    bounds: Any
    failures: Any


class Edges(NamedTuple):
    """Holds the selected edges, [B] each: parents, actions, the nodes they lead to, and rows of the latent pool."""

    parents: Any
    actions: Any
    nodes: Any
    rows: Any


class Answer(NamedTuple):
    """Holds the network's answers to the selected edges: [B], [B], [B, A], [B] float32."""

    reward: Any
    discount: Any
    prior_logits: Any
    value: Any


class Rules(NamedTuple):
    """Holds what is chosen by: Q-transform's numbers, PUCT's factors, Gumbel's scores [B, A] and schedules [B, S]."""

    constants: Any
    exploration: Any
    scores: Any
    schedule: Any


@triton.jit
def lowest_action_of(scores, among):
    """Returns the action with the largest score, the lowest in a tie; NO_ACTION where no score is a number."""
    # what is not a number would win, or lose, by its place
    best, action = tl.max(
        tl.where(among & (scores == scores), scores, -INF),
        axis=0,
        return_indices=True,
        return_indices_tie_break_left=True,
    )
    return tl.where(best == -INF, NO_ACTION, action)


@triton.jit
def completing_value(raw, q, prior, visited, total, MIXED: tl.constexpr):
    """Returns the value that unvisited actions get: "Policy improvement by planning with Gumbel", equation 33."""
    if MIXED:
        weight = tl.where(visited, tl.maximum(prior, TINY), 0.0)
        weight_sum = tl.maximum(tl.sum(weight, axis=0), TINY)
        weighted_q = tl.sum(tl.where(visited, weight * q, 0.0), axis=0) / weight_sum
        mixed = (raw + total * weighted_q) * (1.0 / (1.0 + total))
        return tl.where(total > 0.0, mixed, raw)
    else:
        return raw


@triton.jit
def transform(
    constants, q, counts, prior, visited, total, num_actions, mean, raw, low, high,
    KIND: tl.constexpr, RESCALE: tl.constexpr, MIXED: tl.constexpr,
):  # fmt: skip
    """Returns lower, factor, span and what unvisited actions have: the transformed q is (q - lower) * factor / span."""
    epsilon = tl.load(constants)
    one = epsilon * 0.0 + 1.0
    zero = epsilon * 0.0
    smallest = tl.min(tl.where(visited, q, INF), axis=0)
    largest = tl.max(tl.where(visited, q, -INF), axis=0)
    if KIND == BY_MIN_MAX:
        lower = tl.load(constants + 1)
        return lower, one, tl.load(constants + 2) - lower, zero
    elif KIND == BY_SIBLINGS:
        lower = tl.minimum(mean, smallest)
        return lower, one, tl.maximum(tl.maximum(mean, largest) - lower, epsilon), zero
    elif KIND == BY_TREE:
        return low, one, tl.maximum(high - low, epsilon), zero
    else:
        completing = completing_value(raw, q, prior, visited, total, MIXED)
        most = tl.max(counts, axis=0).to(tl.float64)
        factor = (tl.load(constants + 2) + most) * tl.load(constants + 1)
        lower = zero
        span = one
        if RESCALE:
            all_visited = tl.sum(visited.to(tl.int32), axis=0) == num_actions
            lower = tl.where(all_visited, smallest, tl.minimum(smallest, completing))
            upper = tl.where(all_visited, largest, tl.maximum(largest, completing))
            span = tl.maximum(upper - lower, epsilon)
        return lower, factor, span, (completing - lower) * factor


@triton.jit
def look(tree, root, node, num_nodes, num_actions, lanes, inside):
    """Reads what is known of a node's actions: children, logits, prior, visits and Q-values."""
    at_node = root * num_nodes + node
    row = at_node * num_actions + lanes
    child = tl.load(tree.children + row, mask=inside, other=FORBIDDEN)
    logits = tl.load(tree.logits + row, mask=inside, other=-INF)
    counts = tl.load(tree.counts + row, mask=inside, other=0)
    q = tl.load(tree.qvalues + row, mask=inside, other=0.0)
    prior = tl.load(tree.priors + row, mask=inside, other=0.0)
    return child, logits, prior, counts, q


@triton.jit
def statistics(tree, root, node, num_nodes):
    """Reads what a Q-transform wants to know of a node itself.

    These are its visits, the visits of all its children, its mean and its raw value, and the bounds of the tree.
    """
    at_node = root * num_nodes + node
    visits = tl.load(tree.visits + at_node)
    mean = tl.load(tree.value_sums + at_node) / visits.to(tl.float64)
    raw = tl.load(tree.raw_values + at_node).to(tl.float64)
    low = tl.load(tree.bounds + 2 * root)
    high = tl.load(tree.bounds + 2 * root + 1)
    # a node that has children was evaluated once
    return visits, (visits - 1).to(tl.float64), mean, raw, low, high
