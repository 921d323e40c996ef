"""UCT with random rollouts over copies of an environment: plain and slow, for whatever can be copied.

A move need not pass the turn, rewards may come before the end, and an environment need not say how large they are:
every simulation adds up the rewards of both seats, and every node remembers who chooses there.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs.slots.single import SingleEnv

EXPLORATION = math.sqrt(2.0)
MOST_ROLLOUT_MOVES = 2000


@dataclass(slots=True)
class _Node:
    """A position with the moves that have been tried there.

    Attributes:
        to_play: who chooses here.
        untried: moves without a child, in random order.
        children: what follows the others.
        visits: simulations that came through.
        total: sum of their results, for seat 0.
    """

    to_play: int
    untried: list[int]
    children: dict[int, _Node] = field(default_factory=dict)
    visits: int = 0
    total: float = 0.0


def copy_visits(
    env: SingleEnv, legal_actions: NDArray[np.bool_], to_play: int, num_simulations: int, seed: int
) -> NDArray[np.int32]:
    """Searches the present position of an environment and returns how often each action was tried.

    Source: Kocsis and Szepesvari, "Bandit based Monte-Carlo planning" (2006): score = mean + sqrt(2)·sqrt(ln N / n),
    with the mean result of the player who chooses there, from -1 to 1 (larger and smaller results in proportion).

    Args:
        env: of two players, its rules without chance; it is copied and not played itself.
        legal_actions: [A] bool, what is legal now.
        to_play: whose turn it is now.
        num_simulations: playouts, >= 1.
        seed: of the random choices.

    Returns:
        [A] int32 visits of the actions at the root, 0 where illegal.

    Raises:
        EnvError: the environment cannot be copied.
    """
    rng = random.Random(seed)
    num_actions = env.spec.num_actions
    root = _Node(to_play, _shuffled(legal_actions, num_actions, rng))
    low, high = env.spec.value_bounds or (0.0, 0.0)
    bounded = env.spec.value_bounds is not None
    for _ in range(num_simulations):
        scale = (high - low) / 2 or 1.0
        path, result = _simulate(env.clone(), root, scale, rng)
        for node in path:
            node.visits += 1
            node.total += result
        if not bounded:  # as far apart as the results seen so far
            low, high = (result, result) if root.visits == 1 else (min(low, result), max(high, result))
    visits = np.zeros(num_actions, np.int32)
    for action, child in root.children.items():
        visits[action] = child.visits
    return visits


def _simulate(env: SingleEnv, root: _Node, scale: float, rng: random.Random) -> tuple[list[_Node], float]:
    """Plays a copy to its end, adding one node; returns the path in the tree and the result for seat 0."""
    node, path, result, over = root, [root], 0.0, False
    while not over:
        is_new = bool(node.untried)
        action = node.untried.pop() if is_new else _best_action(node, scale)
        moment = env.step(action)
        result += moment.reward if node.to_play == 0 else -moment.reward
        over = moment.terminated or moment.truncated
        if is_new:
            untried = [] if over else _shuffled(moment.legal_actions, env.spec.num_actions, rng)
            node.children[action] = _Node(moment.to_play, untried)
        node = node.children[action]
        path.append(node)
        if is_new:
            break
    legal = node.untried
    to_play = node.to_play
    for _ in range(MOST_ROLLOUT_MOVES):
        if over:
            break
        moment = env.step(rng.choice(legal))
        result += moment.reward if to_play == 0 else -moment.reward
        over = moment.terminated or moment.truncated
        if not over:
            to_play, legal = moment.to_play, _legal(moment.legal_actions, env.spec.num_actions)
    env.close()
    return path, result


def _best_action(node: _Node, scale: float) -> int:
    """Returns the action of the highest upper confidence bound; all legal actions have been tried."""
    log_visits = math.log(node.visits)
    sign = 1.0 if node.to_play == 0 else -1.0

    def bound(action: int) -> float:
        child = node.children[action]
        mean = sign * child.total / child.visits
        return mean + EXPLORATION * scale * math.sqrt(log_visits / child.visits)

    return max(node.children, key=bound)


def _legal(mask: Any, num_actions: int) -> list[int]:
    found: list[int] = list(range(num_actions)) if mask is None else np.flatnonzero(mask).tolist()
    return found


def _shuffled(mask: Any, num_actions: int, rng: random.Random) -> list[int]:
    actions = _legal(mask, num_actions)
    rng.shuffle(actions)
    return actions
