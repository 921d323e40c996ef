"""UCT with random rollouts on the true rules, in Numba, for any board game: an opponent that has learnt nothing."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from muzero_wm.envs.boards.board import BoardGame, States
from muzero_wm.envs.boards.kernels import (
    IN_PLAY,
    LEGAL,
    PLIES,
    RANDOM,
    STATUS,
    STEP,
    compiled,
    next_random,
    pointer,
    result_of,
)

EXPLORATION = math.sqrt(2.0)
ILLEGAL, UNTRIED = -2, -1


def uct_visits(game: BoardGame, states: States, keys: NDArray[np.uint64], num_simulations: int) -> NDArray[np.int32]:
    """Searches every position and returns how often each move was tried.

    Source: Kocsis and Szepesvari, "Bandit based Monte-Carlo planning" (2006): score = mean + sqrt(2)·sqrt(ln N / n),
    with the mean result of the player who chooses, from -1 to 1.

    Args:
        game: the true rules.
        states: [n, W] rows in play.
        keys: [n] types.uint64, the random stream of each search.
        num_simulations: playouts per position, >= 1.

    Returns:
        [n, A] int32 visits of the moves at the root, 0 where illegal.
    """
    nodes = num_simulations + 1
    visits = np.zeros((len(states), game.num_actions), np.int32)
    _search(
        game.step, game.legal, next_random, np.ascontiguousarray(states, np.int64), keys.copy(), num_simulations,
        np.empty((nodes, game.num_actions), np.int32), np.empty(nodes, np.int32), np.empty(nodes, np.float64),
        np.empty(game.max_plies + 2, np.int32), visits,
    )  # fmt: skip
    return visits


@njit
def _random_choice(draw, streams, i, values, wanted):
    """Returns a uniformly random index at which `values` equals `wanted`, -1 if there is none."""
    count = 0
    for a in range(values.shape[0]):
        count += values[a] == wanted
    if count == 0:
        return -1
    left = types.int64(((draw(streams, i) >> types.uint64(32)) * types.uint64(count)) >> types.uint64(32))
    for a in range(values.shape[0]):
        if values[a] == wanted:
            if left == 0:
                return a
            left -= 1
    return -1


@njit
def _best_child(children, visits, values, node):
    """Returns the move of the highest upper confidence bound; all legal moves have been tried."""
    log_visits = math.log(visits[node])
    best, best_score = -1, -math.inf
    for a in range(children.shape[1]):
        child = children[node, a]
        if child >= 0:
            score = values[child] / visits[child] + EXPLORATION * math.sqrt(log_visits / visits[child])
            if score > best_score:
                best, best_score = a, score
    return best


@njit
def _add_node(legal, row, mask, children, visits, values, node):
    visits[node] = 0
    values[node] = 0.0
    legal(row, mask)
    for a in range(children.shape[1]):
        children[node, a] = UNTRIED if mask[a] and row[STATUS] == IN_PLAY else ILLEGAL


@njit
def _rollout(step, legal, draw, streams, i, row, mask):
    """Plays random moves to the end."""
    while row[STATUS] == IN_PLAY:
        legal(row, mask)
        step(row, _random_choice(draw, streams, i, mask, True))


@compiled(
    types.void(
        pointer(STEP), pointer(LEGAL), pointer(RANDOM), types.int64[:, ::1], types.uint64[::1], types.int64,
        types.int32[:, ::1], types.int32[::1], types.float64[::1], types.int32[::1], types.int32[:, ::1],
    )
)  # fmt: skip
def _search(step, legal, draw, states, streams, num_simulations, children, visits, values, path, root_visits):
    """Fills in `root_visits`; the tree arrays are scratch.

    `values[k]` sums the results for the player whose move led to node k.
    """
    row = np.empty(states.shape[1], np.int64)
    mask = np.empty(children.shape[1], np.bool_)
    for i in range(states.shape[0]):
        _add_node(legal, states[i], mask, children, visits, values, 0)
        size = 1
        for _ in range(num_simulations):
            row[:] = states[i]
            node, depth = 0, 0
            path[0] = 0
            while row[STATUS] == IN_PLAY:
                action = _random_choice(draw, streams, i, children[node], UNTRIED)
                is_new = action >= 0
                if not is_new:
                    action = _best_child(children, visits, values, node)
                step(row, action)
                if is_new:
                    children[node, action] = size
                    _add_node(legal, row, mask, children, visits, values, size)
                    size += 1
                node = children[node, action]
                depth += 1
                path[depth] = node
                if is_new:
                    break
            plies_at_leaf = row[PLIES]
            _rollout(step, legal, draw, streams, i, row, mask)
            result = result_of(row)
            if (row[PLIES] - plies_at_leaf) & 1:
                result = -result
            while depth >= 0:
                visits[path[depth]] += 1
                values[path[depth]] += result
                result = -result
                depth -= 1
        for a in range(children.shape[1]):
            root_visits[i, a] = visits[children[0, a]] if children[0, a] >= 0 else 0
