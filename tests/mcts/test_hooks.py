"""The hooks of the reference: how actions are selected, data of one's own, Q-transforms of one's own."""

from __future__ import annotations

import numpy as np
import pytest

import mcts
from mcts._reference import ReferenceSearch
from mcts.settings import exploration_table
from mcts.types import SearchProblem

from .models import ConstantModel, RandomModel, random_masks
from .test_reference import PUBLIC_FIELDS

B, A, S = 3, 5, 40


def problem_of(model, **changes):
    root = model.root()
    logits = np.array(root.prior_logits, np.float32)
    invalid = changes.pop("invalid_actions", np.zeros(logits.shape, np.bool_))
    fields = {
        "prior_logits": np.where(invalid, np.float32(-np.inf), logits),
        "value": np.array(root.value, np.float32),
        "invalid_actions": invalid,
        "num_simulations": S,
        "max_depth": S + 1,
        "qtransform": mcts.qtransform_by_parent_and_siblings(),
        "exploration": exploration_table(S + 1, 1.25, 19652.0),
    }
    return SearchProblem(**fields | changes)


def best(tree, node, depth):
    return int(np.argmax(tree.scores(node)))


@pytest.mark.parametrize("leaves_per_step", [1, 7])
@pytest.mark.parametrize("hooks", [{}, {"root_action_selection_fn": best, "interior_action_selection_fn": best}])
def test_selecting_as_the_search_does_is_the_search(hooks, leaves_per_step, seed):
    rng = np.random.default_rng(seed)
    worlds, invalid = rng.integers(2**31, size=B), random_masks(rng, B, A)
    model = RandomModel(worlds, A)
    expected = mcts.muzero_policy(
        model.root(),
        model,
        S,
        rng=0,
        invalid_actions=invalid,
        dirichlet_fraction=0.0,
        leaves_per_step=leaves_per_step,
        virtual_loss=0.0,
    ).tree
    model = RandomModel(worlds, A)
    problem = problem_of(model, invalid_actions=invalid, leaves_per_step=leaves_per_step)
    tree = ReferenceSearch(problem, **hooks).grow(model)
    for name in PUBLIC_FIELDS:
        np.testing.assert_allclose(tree.nodes[name], expected.nodes[name], rtol=1e-12, err_msg=name)


def test_hooks_are_told_where_they_are_and_whose_tree_it_is(seed):
    asked = []

    def select(tree, node, depth):
        asked.append((tree.row, tree.extra_data, node, depth))
        assert tree.allowed(node).all()
        above, steps = node, 0
        while above:
            above, steps = tree.edge_into[above][0], steps + 1
        assert steps == depth
        return (node + depth) % A

    model = RandomModel(range(B), A)
    search = ReferenceSearch(
        problem_of(model), root_action_selection_fn=select, interior_action_selection_fn=select, extra_data="xyz"
    )
    tree = search.grow(model)
    assert {(row, extra) for row, extra, _, _ in asked} == {(0, "x"), (1, "y"), (2, "z")}
    assert all((node == 0) == (depth == 0) for _, _, node, depth in asked)
    assert [root.extra_data for root in search.roots] == ["x", "y", "z"]
    # One path: node k was reached from node k - 1, whose depth is k - 1 too.
    assert tree.parents[:, 1:].tolist() == [list(range(S))] * B
    assert tree.actions_from_parent[0, 1:].tolist() == [2 * k % A for k in range(S)]


def test_only_the_interior_may_be_changed(seed):
    """A root that selects by PUCT over interiors that take turns."""
    model = RandomModel([seed], 2)

    def in_turn(tree, node, depth):
        return int(tree.visit_counts(node).argmin())

    tree = ReferenceSearch(problem_of(model), interior_action_selection_fn=in_turn).grow(model)
    children = [tree.node_visits[0, np.flatnonzero(tree.parents[0] == node)] for node in range(1, S)]
    assert all(np.ptp(visits) <= 1 for visits in children if len(visits) == 2)
    assert any(len(visits) == 2 for visits in children)


class ByRank(mcts.QTransform):
    """Visited actions score by the rank of their Q-values: a formula that is not affine."""

    def __call__(self, nodes):
        visited = nodes.visit_counts > 0
        ranks = np.where(visited, nodes.qvalues, -np.inf).argsort(axis=1).argsort(axis=1)
        return np.where(visited, ranks / nodes.qvalues.shape[1], 0.0)


@pytest.mark.parametrize("policy", [mcts.muzero_policy, mcts.gumbel_muzero_policy])
def test_a_q_transform_of_ones_own(policy, seed):
    """Only ranks count, so that stretching all values changes nothing."""

    def search(scale):
        model = ConstantModel(B, A)
        rewards = np.random.default_rng(seed).normal(size=(200, B))

        def network(parent_index, action, node_index):
            model(parent_index, action, node_index)
            return model.output._replace(reward=scale * rewards[node_index], discount=np.zeros(B))

        return policy(model.root(), network, S, rng=0, qtransform=ByRank(), backend="python")

    narrow, wide = search(1.0), search(1000.0)
    np.testing.assert_array_equal(narrow.visit_counts, wide.visit_counts)
    np.testing.assert_allclose(1000.0 * narrow.improved_value, wide.improved_value, rtol=1e-4, atol=1e-4)
    assert len(np.unique(narrow.visit_counts)) > 1


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (5, ValueError, r"root_action_selection_fn: expected an allowed action in \[0, 5\), got 5"),
        (-1, ValueError, r"root_action_selection_fn: expected an allowed action in \[0, 5\), got -1"),
        (2, ValueError, r"root_action_selection_fn: expected an allowed action in \[0, 5\), got 2"),
        (1.0, TypeError, "root_action_selection_fn: expected an int, got float"),
        (None, TypeError, "root_action_selection_fn: expected an int, got NoneType"),
    ],
)
def test_what_a_hook_returns_is_checked(returned, error, message):
    model = ConstantModel(B, A)
    invalid = np.zeros((B, A), np.bool_)
    invalid[:, 2] = True
    problem = problem_of(model, invalid_actions=invalid)
    with pytest.raises(error, match=message):
        ReferenceSearch(problem, root_action_selection_fn=lambda *_: returned).grow(model)


def test_wrong_data_and_wrong_answers_are_named():
    model = ConstantModel(B, A)
    with pytest.raises(ValueError, match="extra_data: expected one for each of 3 roots, got 2"):
        ReferenceSearch(problem_of(model), extra_data=[1, 2])
    for name, wrong, message in (
        ("value", np.full(B, np.nan), "simulation 0, row 0: value: expected a finite number, got nan"),
        ("reward", np.zeros(2), r"simulation 0: reward: expected shape \(3,\), got \(2,\)"),
    ):
        answer = model.output._replace(**{name: wrong})
        with pytest.raises(ValueError, match=message):
            ReferenceSearch(problem_of(model)).grow(lambda *_, answer=answer: answer)
