"""What holds for every search: one leaf per step or several, from nothing or from a kept tree, on both backends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mcts
from mcts.tree import NODE_DTYPE

from . import oracles
from .models import RandomModel
from .scenarios import POLICIES, scenarios, without_numbers

QUIET = {"puct": {"dirichlet_fraction": 0.0, "temperature": 0.0}, "gumbel": {"gumbel_scale": 0.0}}
PUBLIC_FIELDS = [name for name in NODE_DTYPE.names if not name.startswith("_")]
RESULT_FIELDS = ("action", "action_weights", "visit_counts", "qvalues", "root_value", "improved_value")

policies = pytest.mark.parametrize("policy", POLICIES)
kinds = pytest.mark.parametrize(
    ("policy", "kind"),
    [("puct", "plain"), ("gumbel", "plain"), ("puct", "loss"), ("gumbel", "leaves"), ("puct", "kept")],
)
fast = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


@kinds
@fast
@given(data=st.data())
def test_visits_masks_and_weights(policy, kind, backend, data):
    played = data.draw(scenarios(kind)).play(policy, backend)
    result, invalid, rows = played.result, played.invalid_actions, np.arange(len(played.invalid_actions))
    expected = np.full(len(rows), played.num_simulations)
    if played.kept is not None:
        tree = played.kept.tree
        for row, node in zip(*np.nonzero(tree.parents == 0), strict=True):
            if not invalid[row, tree.actions_from_parent[row, node]]:
                expected[row] += tree.node_visits[row, node]
    np.testing.assert_array_equal(result.visit_counts.sum(axis=1), expected)
    np.testing.assert_array_equal(result.tree.node_visits[:, 0], expected + 1)
    assert not result.visit_counts[invalid].any()
    assert not result.action_weights[invalid].any()
    assert not invalid[rows, result.action].any()
    assert (result.visit_counts[rows, result.action] > 0).all()
    np.testing.assert_allclose(result.action_weights.sum(axis=1), 1, rtol=1e-5)
    assert not result.qvalues[result.visit_counts == 0].any()


@kinds
@fast
@given(data=st.data())
def test_the_tree_is_what_its_visits_and_predictions_make_it(policy, kind, backend, data):
    scenario = data.draw(scenarios(kind))
    played = scenario.play(policy, backend)
    tree = played.result.tree
    first = 1 if played.kept is None else played.kept.tree.num_nodes
    assert tree.num_nodes == first + played.num_simulations
    for row in range(tree.num_roots):
        visits, parents = tree.node_visits[row].tolist(), tree.parents[row].tolist()
        arguments = (array[row].tolist() for array in (tree.raw_values, tree.parents, tree.rewards, tree.discounts))
        sums, qvalues, own = oracles.recompute(visits, *arguments)
        np.testing.assert_allclose(tree.value_sums[row], sums, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(tree.qvalues_from_parent[row], qvalues, rtol=1e-9, atol=1e-9)
        used = [node for node in range(tree.num_nodes) if visits[node]]
        assert min(own[node] for node in used) >= 1
        assert own[0] == 1
        for node in set(range(tree.num_nodes)) - set(used):
            assert parents[node] == -1
            assert not tree.prior_logits[row, node].any()
        # Every slot without a node is an evaluation that another node had again.
        empty = sum(visits[node] == 0 for node in range(first, tree.num_nodes))
        if first == 1:
            assert empty == sum(own[node] - 1 for node in used)
        if scenario.leaves_per_step == 1 and scenario.arguments["max_depth"] is None:
            assert empty == 0
        # A mean lies between the smallest and the largest number it is made of.
        lowest, highest = list(tree.raw_values[row]), list(tree.raw_values[row])
        for node in reversed(used[1:]):
            ends = tree.rewards[row, node] + tree.discounts[row, node] * np.array([lowest[node], highest[node]])
            assert ends.min() - 1e-6 <= qvalues[node] <= ends.max() + 1e-6
            lowest[parents[node]] = min(lowest[parents[node]], ends.min())
            highest[parents[node]] = max(highest[parents[node]], ends.max())
        assert lowest[0] - 1e-6 <= played.result.root_value[row] <= highest[0] + 1e-6


@kinds
@fast
@given(data=st.data())
def test_the_model_is_asked_for_the_edges_of_the_tree_once(policy, kind, backend, data):
    scenario = data.draw(scenarios(kind))
    played = scenario.play(policy, backend)
    tree, leaves, num_roots = played.result.tree, scenario.leaves_per_step, len(scenario.worlds)
    first = tree.num_nodes - played.num_simulations
    steps = range(first, tree.num_nodes, leaves)
    assert [node for *_, node in played.model.asked] == list(steps)
    for parent, action, node_index in played.model.asked:
        assert len(parent) == len(action) == num_roots * min(leaves, tree.num_nodes - node_index)
        made = {root: {} for root in range(num_roots)}
        for row, edge in enumerate(zip(parent.tolist(), action.tolist(), strict=True)):
            leaf, root = divmod(row, num_roots)
            slot = node_index + leaf
            if tree.node_visits[root, slot]:
                assert (tree.parents[root, slot], tree.actions_from_parent[root, slot]) == edge
                made[root][edge] = slot
            elif edge not in made[root]:  # not a leaf of this step again, so the depth limit was met
                (again,) = np.flatnonzero((tree.parents[root] == edge[0]) & (tree.actions_from_parent[root] == edge[1]))
                assert again < node_index
                depth = 1
                while tree.parents[root, again]:
                    again, depth = tree.parents[root, again], depth + 1
                assert depth == scenario.arguments["max_depth"]


@kinds
@fast
@given(data=st.data())
def test_a_batch_equals_single_searches_bit_for_bit(policy, kind, backend, data):
    scenario = data.draw(scenarios(kind))
    together = scenario.play(policy, backend).result
    for row in range(len(scenario.worlds)):
        one = slice(row, row + 1)
        alone = scenario.play(policy, backend, one).result
        for field in RESULT_FIELDS:
            np.testing.assert_array_equal(getattr(together, field)[one], getattr(alone, field))
        # The numbers of new nodes follow the largest kept tree of the batch; all the rest is the same.
        assert without_numbers(together.tree.to_dict(row)) == without_numbers(alone.tree.to_dict())


@kinds
@fast
@given(data=st.data(), num_threads=st.integers(2, 6))
def test_threads_do_not_change_the_result(policy, kind, backend, data, num_threads):
    scenario = data.draw(scenarios(kind))
    one = scenario.play(policy, backend).result
    several = scenario.play(policy, backend, num_threads=num_threads).result
    for name in PUBLIC_FIELDS:
        np.testing.assert_array_equal(one.tree.nodes[name], several.tree.nodes[name])
    for field in RESULT_FIELDS:
        np.testing.assert_array_equal(getattr(one, field), getattr(several, field))


@kinds
@fast
@given(world=st.integers(0, 2**31), num_actions=st.sampled_from([2, 5, 9, 30]), data=st.data())
def test_renaming_the_actions_renames_the_result(policy, kind, backend, world, num_actions, data):
    """Without noise, permuting the actions of the world and of the mask permutes the search."""
    permutation = np.array(data.draw(st.permutations(range(num_actions))))
    invalid = np.array([data.draw(st.lists(st.booleans(), min_size=num_actions, max_size=num_actions))])
    invalid[0, data.draw(st.integers(0, num_actions - 1))] = False
    arguments = {"backend": backend, "leaves_per_step": 1 if kind == "plain" else 4, **QUIET[policy]}
    if kind == "loss":
        arguments["virtual_loss"] = 1.0
    results, move = [], None
    for order in (np.arange(num_actions), permutation):
        model = RandomModel([world], num_actions, permutation=order)
        result = POLICIES[policy](model.root(), model, 25, rng=0, invalid_actions=invalid[:, order], **arguments)
        if kind == "kept":
            move = int(result.visit_counts[0].argmax()) if move is None else int(np.flatnonzero(order == move)[0])
            kept = result.tree.keep([move])
            model.go_on(kept.source, np.array([[move]]))
            result = mcts.muzero_policy(model.root(), model, 25, rng=0, kept=kept, **arguments)
        results.append(result)
    plain, renamed = results
    np.testing.assert_array_equal(renamed.visit_counts[0], plain.visit_counts[0][permutation])
    np.testing.assert_allclose(renamed.qvalues[0], plain.qvalues[0][permutation], rtol=1e-6)
    if np.unique(plain.visit_counts).size == num_actions:  # the acted-on action is unique
        assert permutation[renamed.action[0]] == plain.action[0]


@fast
@given(data=st.data())
def test_one_leaf_per_step_has_no_virtual_loss(backend, data):
    scenario = data.draw(scenarios("plain"))
    one = scenario.play("puct", backend).result
    other = scenario.play("puct", backend, virtual_loss=data.draw(st.sampled_from([0.0, 1e6]))).result
    for name in PUBLIC_FIELDS:
        np.testing.assert_array_equal(one.tree.nodes[name], other.tree.nodes[name])


@fast
@given(data=st.data())
def test_keeping_preserves_every_statistic_below(backend, data):
    scenario = data.draw(scenarios("plain"))
    tree = scenario.play("puct", backend).result.tree
    before = tree.nodes.tobytes(), tree.prior_logits.tobytes()
    moves = scenario.moves[0]
    kept = tree.keep(moves)
    sizes = []
    for row, path in enumerate(moves.tolist()):
        entry = tree.to_dict(row)
        for move in path:
            entry = next((child for child in entry["children"] if child["action"] == move), None) if entry else None
        sizes.append(1 if entry is None else count(entry))
        if entry is None:
            assert kept.source[row].tolist() == [-1] * kept.tree.num_nodes
            assert not kept.tree.node_visits[row].any()
            continue
        below = kept.tree.to_dict(row)
        assert {key: below[key] for key in ("visits", "value", "raw_value")} == {
            key: entry[key] for key in ("visits", "value", "raw_value")
        }
        compare_below(entry, below, kept.source[row], tree.prior_logits[row], kept.tree.prior_logits[row], len(path))
    assert kept.tree.num_nodes == max(sizes)
    reached = kept.source[:, 0] >= 0
    np.testing.assert_array_equal((kept.source >= 0).sum(axis=1)[reached], np.array(sizes)[reached])
    assert (np.diff(kept.source, axis=1)[kept.source[:, 1:] >= 0] > 0).all()
    assert (tree.nodes.tobytes(), tree.prior_logits.tobytes()) == before


def count(entry):
    return 1 + sum(count(child) for child in entry["children"])


def compare_below(old, new, source, old_logits, new_logits, steps):
    """Compares two exported trees node by node."""
    assert source[new["node"]] == old["node"]
    assert new["depth"] == old["depth"] - steps
    np.testing.assert_array_equal(new_logits[new["node"]], old_logits[old["node"]])
    assert len(old["children"]) == len(new["children"])
    for before, after in zip(old["children"], new["children"], strict=True):
        for key in before.keys() - {"node", "depth", "children"}:
            assert before[key] == after[key]
        compare_below(before, after, source, old_logits, new_logits, steps)
