"""Trees kept between moves: answers by hand, and what the next search makes of them."""

from __future__ import annotations

import numpy as np
import pytest

import mcts

from .models import ConstantModel, RandomModel

QUIET = {"dirichlet_fraction": 0.0, "temperature": 0.0}


LOGITS = np.log(np.array([0.7, 0.3], np.float32))


def hand_made():
    """Two actions; action 1 pays 10; discount 0.5; a node's raw value is its number. 0 -1-> 1 -0-> 2, 1 -1-> 3, ...

    Node 3 was worth 3, then 0 + 4 / 2 and 10 + 5 / 2.
    """
    tree = mcts.Tree.allocate(1, 6, 2)
    tree.nodes[:] = 0
    tree.prior_logits[:] = LOGITS
    columns = {
        "parent": [-1, 0, 1, 1, 3, 3],
        "action": [-1, 1, 0, 1, 0, 1],
        "visits": [6, 5, 1, 3, 1, 1],
        "raw_value": [0, 1, 2, 3, 4, 5],
        "value_sum": [70.375, 40.75, 2, 17.5, 4, 5],
        "qvalue": [0, 14.075, 1, 10 + 0.5 * 17.5 / 3, 2, 12.5],
        "reward": [0, 10, 0, 10, 0, 10],
        "discount": [0, 0.5, 0.5, 0.5, 0.5, 0.5],
        "prior_prob": [0, 0.3, 0.7, 0.3, 0.7, 0.3],
    }
    for name, column in columns.items():
        tree.nodes[name][0] = column
    tree.nodes["prior_logit"][0, 1:] = LOGITS[columns["action"][1:]]
    return tree


def prediction(value):
    return mcts.RootOutput(LOGITS[None], np.array([value]))


def answer(parent_index, action, node_index):
    return mcts.RecurrentOutput(10.0 * action, np.full(1, 0.5), LOGITS[None], np.array([float(node_index)]))


def test_keeping_by_hand():
    tree = hand_made()
    kept = tree.keep([[1, 1]])
    assert kept.source.tolist() == [[3, 4, 5]]
    assert kept.source.dtype == np.int32
    assert kept.tree.parents.tolist() == [[-1, 0, 0]]
    assert kept.tree.actions_from_parent.tolist() == [[-1, 0, 1]]
    assert kept.tree.node_visits.tolist() == [[3, 1, 1]]
    assert kept.tree.value_sums.tolist() == [[17.5, 4, 5]]
    assert kept.tree.raw_values.tolist() == [[3, 4, 5]]
    assert kept.tree.qvalues_from_parent.tolist() == [[0, 2, 12.5]]
    assert kept.tree.rewards.tolist() == [[0, 0, 10]]
    assert kept.tree.discounts.tolist() == [[0, 0.5, 0.5]]
    # One step after the other leads to the same.
    again = tree.keep([1]).tree.keep([1])
    np.testing.assert_array_equal(again.tree.nodes, kept.tree.nodes)
    np.testing.assert_array_equal(tree.keep([1]).source[0][again.source[0]], kept.source[0])


def test_searching_on_by_hand(backend):
    """The new prediction replaces the old one; one more simulation makes node 3 and adds to what was there."""
    kept = hand_made().keep([[1, 1]])
    qtransform = mcts.qtransform_by_min_max(min_value=-1, max_value=1)
    result = mcts.muzero_policy(
        prediction(-6.0), answer, 1, rng=0, kept=kept, qtransform=qtransform, backend=backend, **QUIET
    )
    assert result.tree.parents.tolist() == [[-1, 0, 0, 2]]  # Q is 12.5 against 2
    assert result.visit_counts.tolist() == [[1, 2]]
    # Node 3 is worth 3, node 2 then (5 + 0 + 3 / 2) / 2, and the root has -6, 2 and twice the Q-value of action 1.
    assert result.qvalues[0].tolist() == [2.0, 10 + 0.5 * 3.25]
    assert result.root_value[0] == pytest.approx((-6 + 2 + 2 * 11.625) / 4)
    np.testing.assert_allclose(result.action_weights, [[1 / 3, 2 / 3]])
    np.testing.assert_allclose(result.tree.prior_logits[0, 0], np.log([0.7, 0.3]), rtol=1e-6)
    # What was kept is not changed: it can be searched on again.
    assert kept.tree.node_visits.tolist() == [[3, 1, 1]]


def test_forbidden_actions_take_along_what_they_contributed(backend):
    kept = hand_made().keep([1])
    assert kept.tree.node_visits.tolist() == [[5, 1, 3, 1, 1]]
    invalid = np.array([[False, True]])
    result = mcts.muzero_policy(
        prediction(2.0), answer, 2, rng=0, kept=kept, invalid_actions=invalid, backend=backend, **QUIET
    )
    assert result.tree.node_visits[0, 2:5].tolist() == [0, 0, 0]
    assert result.tree.parents[0, 2:5].tolist() == [-1, -1, -1]
    assert result.visit_counts.tolist() == [[3, 0]]
    assert result.tree.node_visits[0, 0] == 4
    entry = result.tree.to_dict()
    assert [child["action"] for child in entry["children"]] == [0]
    assert entry["visits"] * entry["value"] == pytest.approx(2.0 + 3 * entry["children"][0]["qvalue"])


def test_a_path_that_was_never_searched_starts_anew(backend):
    model = RandomModel([3, 4, 5], 4)
    tree = mcts.muzero_policy(model.root(), model, 6, rng=0, backend=backend).tree
    unseen = int(np.flatnonzero(tree.summary().visit_counts[1] == 0)[0])
    seen = tree.summary().visit_counts.argmax(axis=1)
    moves = np.array([-1, unseen, seen[2]])
    kept = tree.keep(moves)
    assert kept.source[:2, 0].tolist() == [-1, -1]
    assert kept.source[2, 0] > 0
    assert kept.tree.summary().value[:2].tolist() == [0, 0]
    assert kept.tree.to_dict(0)["visits"] == 0
    model.go_on(kept.source, moves[:, None])
    result = mcts.muzero_policy(model.root(), model, 9, rng=0, kept=kept, backend=backend)
    model = RandomModel([3, 4, 5], 4)  # the same positions, searched from nothing
    model.go_on(np.full((3, 1), -1), moves[:, None])
    anew = mcts.muzero_policy(model.root(), model, 9, rng=0, backend=backend)
    for field in ("action", "action_weights", "visit_counts", "qvalues", "root_value", "improved_value"):
        np.testing.assert_array_equal(getattr(result, field)[:2], getattr(anew, field)[:2])
    assert result.visit_counts[2].sum() == 9 + kept.tree.node_visits[2, 0] - 1


def test_no_moves_keep_everything_and_searching_on_is_searching_longer(backend):
    """Without noise, 30 simulations and then 30 more are 60 simulations."""
    model = RandomModel([11, 12], 6, discount=-1.0)
    half = mcts.muzero_policy(model.root(), model, 30, rng=0, backend=backend, **QUIET)
    moves = np.empty((2, 0), int)
    kept = half.tree.keep(moves)
    assert kept.source.tolist() == [list(range(31))] * 2
    model.go_on(kept.source, moves)
    both = mcts.muzero_policy(model.root(), model, 30, rng=0, kept=kept, backend=backend, **QUIET)
    model = RandomModel([11, 12], 6, discount=-1.0)
    whole = mcts.muzero_policy(model.root(), model, 60, rng=0, backend=backend, **QUIET)
    np.testing.assert_array_equal(both.visit_counts, whole.visit_counts)
    np.testing.assert_array_equal(both.tree.parents, whole.tree.parents)
    np.testing.assert_allclose(both.qvalues, whole.qvalues, rtol=1e-6)
    np.testing.assert_allclose(both.tree.nodes["prior_prob"], whole.tree.nodes["prior_prob"], rtol=1e-12)


def test_noise_is_mixed_into_the_new_root(backend):
    model = ConstantModel(1, 4, prior_logits=[2, 1, 0, -1])
    kept = mcts.muzero_policy(model.root(), model, 40, rng=0, backend=backend, **QUIET).tree.keep([0])
    tree = mcts.muzero_policy(model.root(), model, 5, rng=0, kept=kept, backend=backend).tree
    noisy = np.exp(tree.prior_logits[0, 0].astype(np.float64))
    assert noisy.sum() == pytest.approx(1)
    assert np.abs(noisy - np.exp([2, 1, 0, -1]) / np.exp([2, 1, 0, -1]).sum()).max() > 1e-3
    for node in np.flatnonzero(tree.parents[0] == 0):
        action = tree.actions_from_parent[0, node]
        assert tree.nodes["prior_prob"][0, node] == pytest.approx(noisy[action], rel=1e-6)
        assert tree.nodes["prior_logit"][0, node] == tree.prior_logits[0, 0, action]


def searched(num_simulations=20, **kwargs):
    model = ConstantModel(2, 3, prior_logits=[5, 0, 0])
    return mcts.muzero_policy(model.root(), model, num_simulations, rng=0, **{"dirichlet_fraction": 0.0, **kwargs})


@pytest.mark.parametrize(
    ("moves", "error", "message"),
    [
        ([0.0, 1.0], TypeError, "moves: expected integers, got dtype float64"),
        ([True, False], TypeError, "moves: expected integers, got dtype bool"),
        ([0, 1, 2], ValueError, r"moves: expected shape \(2,\) or \(2, D\), got \(3,\)"),
        (1, ValueError, r"moves: expected shape \(2,\) or \(2, D\), got \(\)"),
        ([[[0]], [[0]]], ValueError, r"moves: expected shape .*, got \(2, 1, 1\)"),
        ([0, 3], ValueError, r"moves: expected actions in \[0, 3\) or -1, got 3"),
        ([[0, -2], [0, 0]], ValueError, r"moves: expected actions in \[0, 3\) or -1, got -2"),
    ],
)
def test_wrong_moves_are_named(moves, error, message):
    with pytest.raises(error, match=message):
        searched().tree.keep(moves)


def test_wrong_kept_trees_are_named():
    result = searched()
    model = ConstantModel(1, 3)
    with pytest.raises(TypeError, match=r"kept: expected what mcts.Tree.keep returns, got Tree"):
        searched(kept=result.tree)
    with pytest.raises(ValueError, match=r"kept: expected trees of \(B, A\) = \(1, 3\) .*, got \(2, 3\)"):
        mcts.muzero_policy(model.root(), model, 4, rng=0, kept=result.tree.keep([0, 0]))
    with pytest.raises(ValueError, match=r"max_depth: expected at least the kept tree's depth, \d+, got 1"):
        searched(kept=searched(60).tree.keep([0, 0]), max_depth=1)
    with pytest.raises(ValueError, match="num_simulations: a search of 2 roots"):
        searched(2**33, kept=result.tree.keep([0, 0]))


def spoilt(**columns):
    """The tree made by hand, with other numbers in some nodes: `field={node: number}`."""
    tree = hand_made()
    for name, numbers in columns.items():
        for node, number in numbers.items():
            if name == "prior_logits":
                tree.prior_logits[0, node] = number
            else:
                tree.nodes[name][0, node] = number
    return mcts.KeptTree(tree, np.arange(6, dtype=np.int32)[None])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"parent": {2: 2}}, "node 2: expected a parent among the nodes before it, or -1, got 2"),
        ({"parent": {2: 5}}, "node 2: expected a parent among the nodes before it, or -1, got 5"),
        ({"parent": {5: 10**9}}, "node 5: expected a parent among the nodes before it, or -1, got 1000000000"),
        ({"parent": {5: -2}}, "node 5: expected a parent among the nodes before it, or -1, got -2"),
        ({"parent": {0: 0}}, "node 0: expected a parent among the nodes before it, or -1, got 0"),
        ({"action": {4: 2}}, r"node 4: expected an action in \[0, 2\), got 2"),
        ({"action": {4: -1}}, r"node 4: expected an action in \[0, 2\), got -1"),
        ({"action": {5: 0}}, "node 5: expected an edge that leads to no other node, got 0"),
        ({"visits": {4: 0}}, "node 4: expected at least one visit more than its children have together, .* got 0"),
        ({"visits": {3: 2}}, "node 3: expected at least one visit more than its children have together, .* got 2"),
        ({"visits": {4: -5}}, "node 4: expected at least one visit more"),
        ({"parent": {5: -1}}, "node 5: .* and none without a parent, got 1"),
        ({"parent": {1: -1}, "visits": {1: 0}}, "node 1: .* and none without a parent, got 0"),
        ({"visits": {1: 2**30}}, ": expected at most 16,777,216 visits, got 1,073,741,824"),
        ({"visits": {1: 2**31 - 1}}, ": expected at most 16,777,216 visits, got 2,147,483,647"),
        ({"value_sum": {2: np.nan}}, r"node 2: expected a mean value in \[-2.5e\+49, 2.5e\+49\], got nan"),
        ({"value_sum": {2: 1e308}}, r"node 2: expected a mean value in .* got 1e\+308"),
        ({"qvalue": {5: -np.inf}}, r"node 5: expected a qvalue in \[-2.5e\+49, 2.5e\+49\], got -inf"),
        ({"reward": {1: np.nan}}, "node 1: expected a reward in .*, got nan"),
        ({"raw_value": {1: np.inf}}, "node 1: expected a raw_value in .*, got inf"),
        ({"discount": {3: 1.5}}, r"node 3: expected a discount in \[-1, 1\], got 1.5"),
        ({"discount": {3: np.nan}}, r"node 3: expected a discount in \[-1, 1\], got nan"),
        ({"prior_logits": {3: [np.nan, 0]}}, "node 3: expected prior logits below infinity, .*, got nan"),
        ({"prior_logits": {3: [0, np.inf]}}, "node 3: expected prior logits below infinity, .*, got inf"),
        ({"prior_logits": {3: -np.inf}}, "node 3: expected prior logits .* at least one of them finite, got -inf"),
    ],
)
def test_kept_trees_that_do_not_hang_together_are_refused_by_node(columns, message, backend):
    with pytest.raises(ValueError, match=rf"^kept: root 0.*{message}"):
        mcts.muzero_policy(prediction(0.0), answer, 20, rng=0, kept=spoilt(**columns), backend=backend, **QUIET)


def test_of_kept_roots_and_unused_slots_nothing_is_asked(backend):
    """Node 0 gets the new prediction; nobody reads the numbers of a slot that no node is in."""
    whole = mcts.muzero_policy(prediction(0.0), answer, 20, rng=0, kept=spoilt(), backend=backend, **QUIET)
    odd = spoilt(visits={0: 99}, value_sum={0: np.nan}, qvalue={0: np.inf}, prior_logits={0: np.nan})
    result = mcts.muzero_policy(prediction(0.0), answer, 20, rng=0, kept=odd, backend=backend, **QUIET)
    np.testing.assert_array_equal(result.tree.node_visits, whole.tree.node_visits)
    np.testing.assert_array_equal(result.root_value, whole.root_value)
    slot = spoilt(parent={5: -1}, action={5: 10**6}, visits={5: 0, 3: 2}, discount={5: np.nan}, reward={5: np.inf})
    result = mcts.muzero_policy(prediction(0.0), answer, 20, rng=0, kept=slot, backend=backend, **QUIET)
    assert result.visit_counts.sum() == 5 + 20


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda n, p: (n["parent"], p), TypeError, r"tree.nodes of dtype mcts.tree.NODE_DTYPE"),
        (lambda n, p: (n, p.astype(np.float64)), TypeError, "tree.prior_logits of dtype float32, got float64"),
        (lambda n, p: (n, p.tolist()), TypeError, "tree.prior_logits of dtype float32, got list"),
        (lambda n, p: (n[:, :3], p), ValueError, r"tree.nodes \[B, M\] and .*, got \(1, 3\) and \(1, 6, 2\)"),
        (lambda n, p: (n, p[:, :0]), ValueError, r"tree.nodes \[B, M\] and .*, got \(1, 6\) and \(1, 0, 2\)"),
        (lambda n, p: (n[:, :0], p[:, :0]), ValueError, r"M >= 1, got \(1, 0\) and \(1, 0, 2\)"),
        (lambda n, p: (n[0], p[0]), ValueError, r"kept: expected trees of \(B, A\) = \(1, 2\) .*, got \(6, 2\)"),
    ],
)
def test_kept_arrays_of_the_wrong_kind_are_named(change, error, message):
    tree = hand_made()
    kept = mcts.KeptTree(mcts.Tree(*change(tree.nodes, tree.prior_logits)), np.zeros((1, 6), np.int32))
    with pytest.raises(error, match=message):
        mcts.muzero_policy(prediction(0.0), answer, 4, rng=0, kept=kept, **QUIET)
    with pytest.raises(TypeError, match=r"kept.tree: expected a mcts.Tree, got ndarray"):
        mcts.muzero_policy(prediction(0.0), answer, 4, rng=0, kept=mcts.KeptTree(tree.nodes, kept.source), **QUIET)
