"""The search in readable NumPy: dense arrays, one root at a time, every formula as it stands in the papers.

It is slow on purpose. The tests hold the native core against it, and MCTS_BACKEND=python runs it where no compiler is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mcts.qtransforms import NodeStatistics
from mcts.tree import Tree
from mcts.types import SearchProblem

UNVISITED = -1

FloatArray = npt.NDArray[np.float64]


class ReferenceSearch:
    """Searches B roots, each in a tree of its own; the counterpart of `mcts._core.NativeSearch`.

    Attributes:
        parent_index: [B] int32, where the selected edges start.
        action: [B] int32, the selected edges.
    """

    def __init__(self, problem: SearchProblem) -> None:
        self.parent_index = np.zeros(len(problem.value), np.int32)
        self.action = np.zeros(len(problem.value), np.int32)
        self._problem = problem
        self._roots = [RootSearch(problem, row) for row in range(len(problem.value))]
        self._received: tuple[Any, Any, Any, Any]

    def start(self) -> None:
        """Selects the first edge of every root."""
        for row in range(len(self._roots)):
            self._select(row)

    def receive(self, reward: Any, discount: Any, prior_logits: Any, value: Any) -> None:
        """Takes the arrays that the next `step` reads."""
        self._received = (reward, discount, prior_logits, value)

    def step(self, simulation: int, begin: int, end: int) -> int:
        """Expands and backs up one simulation and selects the next, for the roots in [begin, end).

        Args:
            simulation: number of the simulation the received arrays answer, from 0.
            begin: first root.
            end: one past the last root.

        Returns:
            The first root whose received numbers are not usable, or -1.
        """
        for row in range(begin, end):
            reward, discount, prior_logits, value = (array[row] for array in self._received)
            if not _is_usable(reward, discount, prior_logits, value):
                return row
            self._roots[row].expand(
                int(self.parent_index[row]),
                int(self.action[row]),
                simulation + 1,
                float(reward),
                float(discount),
                prior_logits,
                float(value),
            )
            if simulation + 1 < self._problem.num_simulations:
                self._select(row)
        return -1

    def finish(self) -> Tree:
        """Returns the trees in the common form."""
        num_roots, num_actions = self._problem.prior_logits.shape
        tree = Tree.allocate(num_roots, self._problem.num_simulations + 1, num_actions)
        tree.nodes[:] = np.zeros((), tree.nodes.dtype)
        tree.nodes["parent"] = tree.nodes["action"] = -1
        for row, root in enumerate(self._roots):
            tree.prior_logits[row] = root.prior_logits
            nodes = tree.nodes[row]
            nodes["visits"] = root.node_visits
            nodes["value_sum"] = root.value_sums
            nodes["raw_value"] = root.raw_values
            for parent, action in np.argwhere(root.children_index != UNVISITED):
                child = nodes[root.children_index[parent, action] :][:1]
                child["parent"] = parent
                child["action"] = action
                child["qvalue"] = root.qvalue(parent, action)
                child["reward"] = root.rewards[parent, action]
                child["discount"] = root.discounts[parent, action]
                child["prior_logit"] = root.prior_logits[parent, action]
                child["prior_prob"] = root.prior_probs(parent)[action]
        return tree

    def _select(self, row: int) -> None:
        self.parent_index[row], self.action[row] = self._roots[row].select()


class RootSearch:
    """Holds and grows the tree of one root.

    Attributes:
        node_visits: [N] evaluations of each node plus simulations that went on below it.
        value_sums: [N] sums of the values backed up to each node.
        raw_values: [N] the network's values.
        prior_logits: [N, A] the network's logits, at the root -inf where forbidden.
        children_index: [N, A] node that each edge leads to, UNVISITED if none yet.
        rewards: [N, A] rewards on the edges.
        discounts: [N, A] discounts on the edges.
    """

    def __init__(self, problem: SearchProblem, row: int) -> None:
        num_nodes, num_actions = problem.num_simulations + 1, problem.prior_logits.shape[1]
        self.node_visits = np.zeros(num_nodes, np.int64)
        self.value_sums = np.zeros(num_nodes)
        self.raw_values = np.zeros(num_nodes)
        self.prior_logits = np.zeros((num_nodes, num_actions), np.float32)
        self.children_index = np.full((num_nodes, num_actions), UNVISITED)
        self.rewards = np.zeros((num_nodes, num_actions))
        self.discounts = np.zeros((num_nodes, num_actions))
        self._problem = problem
        self._row = row
        self.prior_logits[0] = problem.prior_logits[row]
        self.raw_values[0] = self.value_sums[0] = self._tree_min = self._tree_max = problem.value[row]
        self.node_visits[0] = 1

    # What the tree knows about a node ---------------------------------------------------------------------------------

    def node_value(self, node: int) -> float:
        """Returns the mean of the values backed up to a node."""
        return float(self.value_sums[node] / self.node_visits[node])

    def qvalue(self, node: int, action: int) -> float:
        """Returns reward + discount * child value of a visited edge, seen by the player who acts."""
        child = self.children_index[node, action]
        return float(self.rewards[node, action] + self.discounts[node, action] * self.node_value(child))

    def visit_counts(self, node: int) -> npt.NDArray[np.int64]:
        """Returns the simulations through each edge, [A]."""
        children = self.children_index[node]
        return np.where(children == UNVISITED, 0, self.node_visits[children])

    def prior_probs(self, node: int) -> FloatArray:
        """Returns the softmax of a node's logits, [A]."""
        return _softmax(self.prior_logits[node].astype(np.float64))

    def transformed_qvalues(self, node: int) -> FloatArray:
        """Applies the Q-transform to a node, [A]."""
        visit_counts = self.visit_counts(node)
        qvalues = np.zeros(visit_counts.shape)
        for action in np.flatnonzero(visit_counts):
            qvalues[action] = self.qvalue(node, int(action))
        statistics = NodeStatistics(
            qvalues=qvalues[None],
            visit_counts=visit_counts[None],
            prior_probs=self.prior_probs(node)[None],
            node_value=np.array([self.node_value(node)]),
            raw_value=self.raw_values[node : node + 1],
            tree_min=np.array([self._tree_min]),
            tree_max=np.array([self._tree_max]),
        )
        return self._problem.qtransform(statistics)[0]

    # Simulate ---------------------------------------------------------------------------------------------------------

    def select(self) -> tuple[int, int]:
        """Walks down from the root to an edge to evaluate: an unvisited one, or the last that max_depth allows."""
        node, depth = 0, 0
        while True:
            action = int(np.argmax(self._scores(node)))  # the lowest action wins a tie
            depth += 1
            child = int(self.children_index[node, action])
            if child == UNVISITED or depth >= self._problem.max_depth:
                return node, action
            node = child

    def _scores(self, node: int) -> FloatArray:
        if node == 0 and self._problem.root_scores is not None:
            return self._halving_scores()
        scores = self._puct_scores(node) if self._problem.root_scores is None else self._improved_policy_scores(node)
        # Unvisited actions share one Q-value, so the largest prior wins among them. Said outright, because in a sum
        # with a large Q-value small priors would be rounded to a tie.
        open_actions = self.children_index[node] == UNVISITED
        if node == 0:
            open_actions &= ~self._problem.invalid_actions[self._row]
        contenders = self.children_index[node] != UNVISITED
        if open_actions.any():
            contenders[np.flatnonzero(open_actions)[self.prior_logits[node][open_actions].argmax()]] = True
        return np.where(contenders, scores, -np.inf)

    def _puct_scores(self, node: int) -> FloatArray:
        """Source: MuZero (arXiv:1911.08265), appendix B, equation 2."""
        exploration = self._problem.exploration[self.node_visits[node]]
        prior_term = exploration * self.prior_probs(node) / (1 + self.visit_counts(node))
        return self.transformed_qvalues(node) + prior_term

    def _halving_scores(self) -> FloatArray:
        """Source: "Policy improvement by planning with Gumbel", algorithm 1; a floor keeps -inf logits eligible."""
        assert self._problem.root_scores is not None and self._problem.considered_visits is not None
        visit_counts = self.visit_counts(0)
        considered = self._problem.considered_visits[self._row, visit_counts.sum()]
        scores = np.maximum(self._problem.root_scores[self._row] + self.transformed_qvalues(0), -1e9)
        eligible = (visit_counts == considered) & ~self._problem.invalid_actions[self._row]
        return np.where(eligible, scores, -np.inf)

    def _improved_policy_scores(self, node: int) -> FloatArray:
        """Source: "Policy improvement by planning with Gumbel", section 5, equation 14."""
        visit_counts = self.visit_counts(node)
        improved = _softmax(self.prior_logits[node] + self.transformed_qvalues(node))
        return improved - visit_counts / (1 + visit_counts.sum())

    # Expand and back up -----------------------------------------------------------------------------------------------

    def expand(
        self,
        parent: int,
        action: int,
        new_node: int,
        reward: float,
        discount: float,
        prior_logits: npt.NDArray[np.float32],
        value: float,
    ) -> None:
        """Puts an evaluated edge into the tree and backs its value up to the root.

        Args:
            parent: node the edge starts from.
            action: the edge.
            new_node: number of the node it leads to, if it was not visited before.
            reward: on the edge.
            discount: on the edge.
            prior_logits: [A] float32, logits at the node.
            value: the network's value of the node.
        """
        path = [*self._path_to(parent), (parent, action)]
        if self.children_index[parent, action] == UNVISITED:
            self.children_index[parent, action] = new_node
        leaf = int(self.children_index[parent, action])
        self.rewards[parent, action] = reward
        self.discounts[parent, action] = discount
        self.prior_logits[leaf] = prior_logits
        self.raw_values[leaf] = value
        self.node_visits[leaf] += 1
        self.value_sums[leaf] = value * self.node_visits[leaf]  # a repeated evaluation replaces the first
        backed_up = value
        for node, taken in reversed(path):
            backed_up = self.rewards[node, taken] + self.discounts[node, taken] * backed_up
            self.value_sums[node] += backed_up
            self.node_visits[node] += 1
        for node, taken in path:
            self._tree_min = min(self._tree_min, self.qvalue(node, taken))
            self._tree_max = max(self._tree_max, self.qvalue(node, taken))

    def _path_to(self, node: int) -> list[tuple[int, int]]:
        """Lists the edges from the root to a node."""
        path: list[tuple[int, int]] = []
        while node != 0:
            ((parent, action),) = np.argwhere(self.children_index == node)
            path.insert(0, (int(parent), int(action)))
            node = int(parent)
        return path


def _is_usable(reward: float, discount: float, prior_logits: npt.NDArray[np.float32], value: float) -> bool:
    return bool(
        np.isfinite(reward)
        and np.isfinite(value)
        and -1.0 <= discount <= 1.0
        and (prior_logits < np.inf).all()
        and (prior_logits > -np.inf).any()
    )


def _softmax(logits: FloatArray) -> FloatArray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()
