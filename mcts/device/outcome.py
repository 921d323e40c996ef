"""What a search found, read off its trees in Triton: the twin of `mcts._twin.finish_gumbel` and `finish_puct`."""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from mcts.device.formulas import (
    BY_TREE,
    COMPLETED,
    FORBIDDEN,
    INF,
    LARGEST,
    LOWEST_SCORE,
    completing_value,
    look,
    lowest_action_of,
    statistics,
    transform,
)


class Outcome(NamedTuple):
    """Holds the fields of `mcts.SearchResult`: action [B], and so on."""

    action: Any
    action_weights: Any
    visit_counts: Any
    qvalues: Any
    root_value: Any
    improved_value: Any


@triton.jit
def _to_float(x):
    return tl.minimum(tl.maximum(x, -LARGEST), LARGEST).to(tl.float32)


@triton.jit
def _store_children(outcome, row, inside, counts, q, mean, root):
    tl.store(outcome.visit_counts + row, counts, mask=inside)
    tl.store(outcome.qvalues + row, _to_float(q), mask=inside)
    tl.store(outcome.root_value + root, _to_float(mean))


@triton.jit
def _final_bounds(tree, root, num_nodes, num_actions, BLOCK: tl.constexpr):
    """Returns the bounds over a whole tree as it stands at the end, the root's raw value included."""
    low = tl.load(tree.raw_values + root * num_nodes).to(tl.float64)
    high = low
    first = num_nodes * 0
    while first < num_nodes:
        nodes = first + tl.arange(0, BLOCK)
        there = nodes < num_nodes
        parent = tl.load(tree.parents + root * num_nodes + nodes, mask=there, other=-1)
        action = tl.load(tree.actions + root * num_nodes + nodes, mask=there, other=0)
        edge = (root * num_nodes + parent) * num_actions + action
        q = tl.load(tree.qvalues + edge, mask=parent >= 0, other=0.0)
        low = tl.minimum(low, tl.min(tl.where(parent >= 0, q, INF), axis=0))
        high = tl.maximum(high, tl.max(tl.where(parent >= 0, q, -INF), axis=0))
        first += BLOCK
    return low, high


@triton.jit
def finish_gumbel(
    tree, rules, outcome, num_nodes, num_actions,
    KIND: tl.constexpr, RESCALE: tl.constexpr, MIXED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Writes softmax(logits + transformed q) over the legal actions, its value, and the survivor of the halving."""
    root = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    inside = lanes < num_actions
    row = root * num_actions + lanes
    child, logits, prior, counts, q = look(tree, root, 0, num_nodes, num_actions, lanes, inside)
    _, total, mean, raw, low, high = statistics(tree, root, 0, num_nodes)
    if KIND == BY_TREE:
        low, high = _final_bounds(tree, root, num_nodes, num_actions, BLOCK)
    visited = child >= 0
    legal = child != FORBIDDEN
    lower, factor, span, unvisited = transform(
        rules.constants, q, counts, prior, visited, total, num_actions, mean, raw, low, high, KIND, RESCALE, MIXED
    )
    moved = tl.where(visited, factor * ((q - lower) / span), unvisited / span)
    most = tl.max(tl.where(legal, counts, 0), axis=0)
    scores = tl.load(rules.scores + row, mask=inside, other=-INF) + moved
    action = lowest_action_of(tl.maximum(scores, LOWEST_SCORE), legal & (counts == most))
    weight = tl.where(legal, logits.to(tl.float64) + moved, -INF)
    weight = tl.exp(weight - tl.max(weight, axis=0))
    weight = weight / tl.sum(weight, axis=0)
    completing = raw
    if KIND == COMPLETED:
        completing = completing_value(raw, q, prior, visited, total, MIXED)
    improved = tl.sum(tl.where(legal, weight * tl.where(visited, q, completing), 0.0), axis=0)
    _store_children(outcome, row, inside, counts, q, mean, root)
    tl.store(outcome.action + root, action)
    tl.store(outcome.action_weights + row, weight.to(tl.float32), mask=inside)
    tl.store(outcome.improved_value + root, _to_float(improved))


@triton.jit
def finish_puct(tree, outcome, noise, temperature, num_nodes, num_actions, BLOCK: tl.constexpr):
    """Writes the shares of the visits, their value, and an action drawn from visits ** (1 / temperature).

    `noise` is [B, A] float64, standard Gumbel; `temperature` [B] float64.
    """
    root = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    inside = lanes < num_actions
    row = root * num_actions + lanes
    _, _, _, counts, q = look(tree, root, 0, num_nodes, num_actions, lanes, inside)
    _, total, mean, _, _, _ = statistics(tree, root, 0, num_nodes)
    count = counts.to(tl.float64)
    heat = tl.load(temperature + root)
    scores = count
    if heat != 0.0:
        scores = (tl.log(tl.maximum(count, 1.0)) - tl.log(tl.max(count, axis=0))) / heat
        scores += tl.load(noise + row, mask=inside, other=0.0)
    _store_children(outcome, row, inside, counts, q, mean, root)
    tl.store(outcome.action + root, lowest_action_of(scores, inside & (count > 0)))
    tl.store(outcome.action_weights + row, (count / total).to(tl.float32), mask=inside)
    tl.store(outcome.improved_value + root, _to_float(tl.sum(count * q, axis=0) / total))
