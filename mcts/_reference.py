"""The search in readable NumPy: dense arrays, one root at a time, every formula as it stands in the papers.

It is slow on purpose. The tests hold the native core against it, and MCTS_BACKEND=python runs it where no compiler is.
For research it has the hooks of mctx: how actions are selected, data of one's own, any Q-transform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mcts import checks
from mcts.qtransforms import NodeStatistics
from mcts.tree import Tree
from mcts.types import RecurrentFn, RecurrentOutput, SearchProblem

NO_CHILD = -1

FloatArray = npt.NDArray[np.float64]

ActionSelection: TypeAlias = "Callable[[RootSearch, int, int], int]"
"""Called as `fn(tree, node, depth)` on the way down the tree of one root; returns an action. At the root depth is 0."""


class ReferenceSearch:
    """Searches B roots, each in a tree of its own; the counterpart of `mcts._core.NativeSearch`.

    Source: the hooks are those of mctx.search.

    Args:
        problem: the validated search; the arrays may be shared with it.
        root_action_selection_fn: selects at the roots; None as the problem says (PUCT, or sequential halving).
        interior_action_selection_fn: selects at all other nodes; None as the problem says.
        extra_data: [B] whatever the two want to know of each root; found again as `RootSearch.extra_data`.

    Attributes:
        parent_index: [R] int32, where the selected edges start; row k * B + b is leaf k of root b.
        action: [R] int32, the selected edges.
        roots: [B] the searches of the single roots.
    """

    def __init__(
        self,
        problem: SearchProblem,
        *,
        root_action_selection_fn: ActionSelection | None = None,
        interior_action_selection_fn: ActionSelection | None = None,
        extra_data: Sequence[Any] | None = None,
    ) -> None:
        self._problem = problem
        num_roots = len(problem.value)
        if extra_data is not None and len(extra_data) != num_roots:
            raise ValueError(f"extra_data: expected one for each of {num_roots} roots, got {len(extra_data)}")
        hooks = root_action_selection_fn, interior_action_selection_fn
        self.roots = [
            RootSearch(problem, row, *hooks, None if extra_data is None else extra_data[row])
            for row in range(num_roots)
        ]
        self.parent_index = np.zeros(problem.leaves_at(0) * len(self.roots), np.int32)
        self.action = np.zeros_like(self.parent_index)
        self._received: tuple[Any, Any, Any, Any]

    def grow(self, recurrent_fn: RecurrentFn) -> Tree:
        """Makes the whole search.

        Args:
            recurrent_fn: the network; see `mcts.RecurrentFn`.

        Returns:
            The trees.

        Raises:
            TypeError: an answer of the network, or of a selection function, is not of the right type.
            ValueError: an answer has the wrong shape or unusable numbers, or a selected action is forbidden.
        """
        num_roots, num_actions = self._problem.prior_logits.shape
        self.start()
        for simulation in range(0, self._problem.num_simulations, self._problem.leaves_per_step):
            num_rows = num_roots * self._problem.leaves_at(simulation)
            edges = self.parent_index[:num_rows].copy(), self.action[:num_rows].copy()
            answer = RecurrentOutput(*recurrent_fn(*edges, self._problem.first_node + simulation))
            shapes = (num_rows,), (num_rows,), (num_rows, num_actions), (num_rows,)
            where = f"recurrent_fn, simulation {simulation}"
            arrays = [
                checks.as_float32(f"{where}: {name}", field, shape)
                for name, field, shape in zip(answer._fields, answer, shapes, strict=True)
            ]
            self.receive(*arrays)
            row = self.step(simulation, 0, num_roots)
            if row >= 0:
                raise ValueError(f"{where}, row {row}: {checks.describe_bad_answer(*(array[row] for array in arrays))}")
        return self.finish()

    def start(self) -> None:
        """Selects the first leaves of every root."""
        for root in range(len(self.roots)):
            self._select(root, 0)

    def receive(self, reward: Any, discount: Any, prior_logits: Any, value: Any) -> None:
        """Takes the arrays that the next `step` reads."""
        self._received = (reward, discount, prior_logits, value)

    def step(self, simulation: int, begin: int, end: int, worker: int = 0) -> int:
        """Expands and backs up the leaves of one step and selects those of the next, for the roots in [begin, end).

        Args:
            simulation: number of the first simulation the received arrays answer, from 0.
            begin: first root.
            end: one past the last root.
            worker: number of the thread; nothing is shared here.

        Returns:
            The first row whose received numbers are not usable, or -1.
        """
        num_roots = len(self.roots)
        num_leaves = self._problem.leaves_at(simulation)
        for leaf in range(num_leaves):
            for row in range(leaf * num_roots + begin, leaf * num_roots + end):
                reward, discount, prior_logits, value = (array[row] for array in self._received)
                if not _is_usable(reward, discount, prior_logits, value):
                    return row
                self.roots[row % num_roots].expand(
                    int(self.parent_index[row]),
                    int(self.action[row]),
                    float(reward),
                    float(discount),
                    prior_logits,
                    float(value),
                )
        for root in range(begin, end):
            self._select(root, simulation + num_leaves)
        return -1

    def _select(self, root: int, simulation: int) -> None:
        for leaf in range(self._problem.leaves_at(simulation)):
            row = leaf * len(self.roots) + root
            self.parent_index[row], self.action[row] = self.roots[root].select(simulation + leaf)

    def finish(self) -> Tree:
        """Returns the trees in the common form."""
        num_roots, num_actions = self._problem.prior_logits.shape
        tree = Tree.allocate(num_roots, self._problem.num_nodes, num_actions)
        tree.nodes[:] = np.zeros((), tree.nodes.dtype)
        tree.nodes["parent"] = tree.nodes["action"] = -1
        for row, root in enumerate(self.roots):
            tree.prior_logits[row] = root.prior_logits
            nodes = tree.nodes[row]
            nodes["visits"] = root.node_visits
            nodes["value_sum"] = root.value_sums
            nodes["raw_value"] = root.raw_values
            for child, (parent, action) in root.edge_into.items():
                nodes["parent"][child] = parent
                nodes["action"][child] = action
                nodes["qvalue"][child] = root.qvalue(parent, action)
                nodes["reward"][child] = root.rewards[parent, action]
                nodes["discount"][child] = root.discounts[parent, action]
                nodes["prior_logit"][child] = root.prior_logits[parent, action]
                nodes["prior_prob"][child] = root.prior_probs(parent)[action]
        return tree


class RootSearch:
    """Holds and grows the tree of one root.

    Attributes:
        row: which of the B roots it is.
        extra_data: what was given to the search for this root.
        node_visits: [N] evaluations of each node plus simulations that went on below it.
        value_sums: [N] sums of the values backed up to each node.
        raw_values: [N] the network's values.
        prior_logits: [N, A] the network's logits, at the root -inf where forbidden.
        children_index: [N, A] node that each edge leads to, NO_CHILD if none yet.
        edge_into: the node and the action that each node below the root was reached by.
        rewards: [N, A] rewards on the edges.
        discounts: [N, A] discounts on the edges.
        pending: [N] simulations that were selected through each node, or for it, and are not backed up yet.
    """

    def __init__(
        self,
        problem: SearchProblem,
        row: int,
        root_action_selection_fn: ActionSelection | None = None,
        interior_action_selection_fn: ActionSelection | None = None,
        extra_data: Any = None,
    ) -> None:
        num_nodes, num_actions = problem.num_nodes, problem.prior_logits.shape[1]
        self.node_visits = np.zeros(num_nodes, np.int64)
        self.value_sums = np.zeros(num_nodes)
        self.raw_values = np.zeros(num_nodes)
        self.prior_logits = np.zeros((num_nodes, num_actions), np.float32)
        self.children_index = np.full((num_nodes, num_actions), NO_CHILD)
        self.edge_into: dict[int, tuple[int, int]] = {}
        self.rewards = np.zeros((num_nodes, num_actions))
        self.discounts = np.zeros((num_nodes, num_actions))
        self.pending = np.zeros(num_nodes, np.int64)
        self.row = row
        self.extra_data = extra_data
        self._problem = problem
        self._root_action_selection_fn = root_action_selection_fn
        self._interior_action_selection_fn = interior_action_selection_fn
        # A float of Python: beside a float32 of NumPy, numbers would be compared after rounding to float32.
        self.raw_values[0] = self.value_sums[0] = self._tree_min = self._tree_max = float(problem.value[row])
        self.node_visits[0] = 1
        if problem.kept is not None:
            self._plant(problem.kept.tree)
        self.prior_logits[0] = problem.prior_logits[row]

    def _plant(self, kept: Tree) -> None:
        """Copies the nodes of an earlier search."""
        nodes, num_kept = kept.nodes[self.row], kept.num_nodes
        self.node_visits[:num_kept] = nodes["visits"]
        self.value_sums[:num_kept] = nodes["value_sum"]
        self.raw_values[:num_kept] = nodes["raw_value"]
        self.prior_logits[:num_kept] = kept.prior_logits[self.row]
        for child in np.flatnonzero(nodes["parent"] >= 0).tolist():
            edge = int(nodes["parent"][child]), int(nodes["action"][child])
            self._attach(*edge, child)
            self.rewards[edge] = nodes["reward"][child]
            self.discounts[edge] = nodes["discount"][child]
            self._widen_bounds(*edge)

    def _attach(self, parent: int, action: int, child: int) -> None:
        self.children_index[parent, action] = child
        self.edge_into[child] = (parent, action)

    # What the tree knows about a node ---------------------------------------------------------------------------------

    def node_value(self, node: int) -> float:
        """Returns the mean of the values backed up to a node."""
        return float(self.value_sums[node] / self.node_visits[node])

    def qvalue(self, node: int, action: int) -> float:
        """Returns reward + discount * child value of a visited edge, seen by the player who acts."""
        child = self.children_index[node, action]
        return float(self.rewards[node, action] + self.discounts[node, action] * self.node_value(child))

    def visit_counts(self, node: int) -> npt.NDArray[np.int64]:
        """Returns the simulations through each edge that are backed up, [A]."""
        children = self.children_index[node]
        return np.where(children == NO_CHILD, 0, self.node_visits[children])

    def pending_counts(self, node: int) -> npt.NDArray[np.int64]:
        """Returns the simulations through each edge that are not backed up yet, [A]."""
        children = self.children_index[node]
        return np.where(children == NO_CHILD, 0, self.pending[children])

    def allowed(self, node: int) -> npt.NDArray[np.bool_]:
        """Returns which actions may be taken, [A]: the mask of the root, and logits above -inf."""
        allowed = self.prior_logits[node] > -np.inf
        return allowed & ~self._problem.invalid_actions[self.row] if node == 0 else allowed

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

    def select(self, simulation: int) -> tuple[int, int]:
        """Walks down from the root to an edge to evaluate, and counts the walk as pending on every node it meets.

        The edge is an unvisited one, one whose evaluation is pending already, or the last that max_depth allows.

        Args:
            simulation: number of the simulation, which names the node that a new edge leads to.

        Returns:
            The node the edge starts from, and its action.
        """
        walk = [0]
        while True:
            node = walk[-1]
            action = self._choose(node, depth=len(walk) - 1)
            if self.children_index[node, action] == NO_CHILD:
                self._attach(node, action, self._problem.first_node + simulation)
            child = int(self.children_index[node, action])
            walk.append(child)
            if self.node_visits[child] == 0 or len(walk) > self._problem.max_depth:
                self.pending[walk] += 1
                return node, action

    def _choose(self, node: int, depth: int) -> int:
        at_root = node == 0
        select = self._root_action_selection_fn if at_root else self._interior_action_selection_fn
        if select is None:
            return int(np.argmax(self.scores(node)))  # the lowest action wins a tie
        name = "root_action_selection_fn" if at_root else "interior_action_selection_fn"
        action = checks.integer(name, select(self, node, depth))
        num_actions = self.prior_logits.shape[1]
        if not 0 <= action < num_actions or (at_root and self._problem.invalid_actions[self.row, action]):
            raise ValueError(f"{name}: expected an allowed action in [0, {num_actions}), got {action}")
        return action

    def scores(self, node: int) -> FloatArray:
        """Returns what the search itself selects the largest of, [A]; -inf where an action is out of the question."""
        if node == 0 and self._problem.root_scores is not None:
            return self._halving_scores()
        scores = self._puct_scores(node) if self._problem.root_scores is None else self._improved_policy_scores(node)
        # Unvisited actions share one Q-value, so the largest prior wins among them. Said outright, because in a sum
        # with a large Q-value small priors would be rounded to a tie.
        contenders = self.children_index[node] != NO_CHILD
        open_actions = ~contenders
        if node == 0:
            open_actions &= ~self._problem.invalid_actions[self.row]
        if open_actions.any():
            contenders[np.flatnonzero(open_actions)[self.prior_logits[node][open_actions].argmax()]] = True
        return np.where(contenders, scores, -np.inf)

    # Pending simulations count like visits: "Watch the Unobserved" (arXiv:1810.11755), equation 4.

    def _puct_scores(self, node: int) -> FloatArray:
        """Source: MuZero (arXiv:1911.08265), appendix B, equation 2."""
        visit_counts, pending = self.visit_counts(node), self.pending_counts(node)
        exploration = self._problem.exploration[self.node_visits[node] + self.pending[node]]
        prior_term = exploration * self.prior_probs(node) / (1 + visit_counts + pending)
        # Without a completed visit there is no Q-value that a virtual loss could lower.
        completed = np.maximum(visit_counts, 1)
        lost = np.where(visit_counts > 0, self._problem.virtual_loss * pending, 0.0)
        return self.transformed_qvalues(node) * (completed / (completed + lost)) + prior_term

    def _halving_scores(self) -> FloatArray:
        """Source: "Policy improvement by planning with Gumbel", algorithm 1; a floor keeps -inf logits eligible."""
        assert self._problem.root_scores is not None and self._problem.considered_visits is not None
        counts = self.visit_counts(0) + self.pending_counts(0)
        considered = self._problem.considered_visits[self.row, counts.sum()]
        scores = np.maximum(self._problem.root_scores[self.row] + self.transformed_qvalues(0), -1e9)
        eligible = (counts == considered) & ~self._problem.invalid_actions[self.row]
        return np.where(eligible, scores, -np.inf)

    def _improved_policy_scores(self, node: int) -> FloatArray:
        """Source: "Policy improvement by planning with Gumbel", section 5, equation 14."""
        counts = self.visit_counts(node) + self.pending_counts(node)
        improved = _softmax(self.prior_logits[node] + self.transformed_qvalues(node))
        return improved - counts / (1 + counts.sum())

    # Expand and back up -----------------------------------------------------------------------------------------------

    def expand(
        self,
        parent: int,
        action: int,
        reward: float,
        discount: float,
        prior_logits: npt.NDArray[np.float32],
        value: float,
    ) -> None:
        """Puts the answer to a selected edge into the tree and backs its value up to the root.

        Args:
            parent: node the edge starts from.
            action: the edge.
            reward: on the edge.
            discount: on the edge.
            prior_logits: [A] float32, logits at the node it leads to.
            value: the network's value of that node.
        """
        path = [*self._path_to(parent), (parent, action)]
        leaf = int(self.children_index[parent, action])
        self.rewards[parent, action] = reward
        self.discounts[parent, action] = discount
        self.prior_logits[leaf] = prior_logits
        self.raw_values[leaf] = value
        self.node_visits[leaf] += 1
        self.pending[leaf] -= 1
        self.value_sums[leaf] = value * self.node_visits[leaf]  # a repeated evaluation replaces the first
        backed_up = value
        for node, taken in reversed(path):
            backed_up = self.rewards[node, taken] + self.discounts[node, taken] * backed_up
            self.value_sums[node] += backed_up
            self.node_visits[node] += 1
            self.pending[node] -= 1
        for node, taken in path:
            self._widen_bounds(node, taken)

    def _widen_bounds(self, node: int, action: int) -> None:
        self._tree_min = min(self._tree_min, self.qvalue(node, action))
        self._tree_max = max(self._tree_max, self.qvalue(node, action))

    def _path_to(self, node: int) -> list[tuple[int, int]]:
        """Lists the edges from the root to a node."""
        path: list[tuple[int, int]] = []
        while node != 0:
            path.insert(0, self.edge_into[node])
            node = self.edge_into[node][0]
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
