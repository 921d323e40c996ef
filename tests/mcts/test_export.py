"""Trees to look at: dictionaries, JSON and Graphviz."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import mcts
from mcts.export import DEEPEST_JSON

from .models import ConstantModel, RandomModel
from .test_kept import hand_made

POLICIES = {"puct": mcts.muzero_policy, "gumbel": mcts.gumbel_muzero_policy}
policies = pytest.mark.parametrize("policy", POLICIES)


def nodes(entry):
    return [entry, *(node for child in entry["children"] for node in nodes(child))]


@policies
def test_to_dict_is_limited_and_plain(policy, backend, seed):
    model = RandomModel([seed, seed + 1], 6)
    tree = POLICIES[policy](model.root(), model, 60, rng=0, backend=backend).tree
    full = tree.to_dict(1)
    assert json.loads(tree.to_json(1)) == json.loads(tree.to_json(1, indent=2)) == full
    assert len(nodes(full)) == 61
    assert full["visits"] == 61
    assert max(node["depth"] for node in nodes(tree.to_dict(1, max_depth=2))) == 2
    assert all(node["visits"] >= 5 for node in nodes(tree.to_dict(1, min_visits=5)))
    assert nodes(tree.to_dict(1, max_depth=0)) == [{**full, "children": []}]
    summary = tree.summary()
    for child in full["children"]:
        assert child["visits"] == summary.visit_counts[1, child["action"]]
        assert child["qvalue"] == summary.qvalues[1, child["action"]]
    assert full["value"] == summary.value[1]
    for entry in nodes(full):
        for child in entry["children"]:
            logits = tree.prior_logits[1, entry["node"]].astype(np.float64)
            probs = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            assert child["prior_prob"] == pytest.approx(probs[child["action"]], rel=1e-12)


@policies
def test_slots_without_a_node_are_left_out(policy, backend):
    model = RandomModel([1], 2)
    tree = POLICIES[policy](model.root(), model, 40, rng=0, leaves_per_step=8, max_depth=2, backend=backend).tree
    assert len(nodes(tree.to_dict())) == np.count_nonzero(tree.node_visits[0]) < 41
    assert len(re.findall(r"->", tree.to_graphviz())) == np.count_nonzero(tree.node_visits[0]) - 1


def test_json_has_no_infinities():
    tree = hand_made()
    tree.nodes["prior_logit"][0, 1] = -np.inf
    entry = json.loads(tree.to_json(), parse_constant=pytest.fail)
    assert entry["children"][0]["prior_logit"] is None
    assert tree.to_dict()["children"][0]["prior_logit"] == -np.inf


def test_a_tree_too_deep_for_json_says_so():
    """The same with every Python, whatever its own json would hold."""
    model = ConstantModel(1, 1)
    tree = mcts.muzero_policy(model.root(), model, 1500, rng=0).tree
    for max_depth in (None, DEEPEST_JSON + 1):
        deep = 1500 if max_depth is None else max_depth
        message = rf"max_depth: expected at most 400, .* got {max_depth} for a tree {deep} edges deep"
        with pytest.raises(ValueError, match=message):
            tree.to_json(max_depth=max_depth)
    for indent in (None, 2):
        text = tree.to_json(max_depth=DEEPEST_JSON, indent=indent)
        entry = json.loads(text)
        assert entry["visits"] == 1501
        for _ in range(DEEPEST_JSON):
            (entry,) = entry["children"]
        assert entry["children"] == []
        assert entry["visits"] == 1501 - DEEPEST_JSON
    assert tree.to_graphviz().count("->") == 1500


def test_graphviz_by_hand():
    drawing = hand_made().to_graphviz(max_depth=2, min_visits=2, action_names=["up", 'say "\\hi"\nloud'])
    assert drawing.splitlines() == [
        "digraph search {",
        '  node [shape=box, style=rounded, fontname="Helvetica", fontsize=10];',
        '  edge [fontname="Helvetica", fontsize=9];',
        r'  n0 [label="N 6\nv 11.729\nraw 0.000", tooltip="node 0"];',
        r'  n0 -> n1 [label="say \"\\hi\"\nloud\np 0.300\nq 14.075\nr 10", penwidth=4.33];',
        r'  n1 [label="N 5\nv 8.150\nraw 1.000", tooltip="node 1"];',
        r'  n1 -> n3 [label="say \"\\hi\"\nloud\np 0.300\nq 12.917\nr 10", penwidth=3.00];',
        r'  n3 [label="N 3\nv 5.833\nraw 3.000", tooltip="node 3"];',
        "}",
    ]
    assert 'label="0\\np 0.700' in hand_made().to_graphviz()


@pytest.mark.parametrize("export", ["to_dict", "to_json", "to_graphviz"])
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"root": 1}, r"root: expected a number in \[0, 1\), got 1"),
        ({"root": -1}, r"root: expected a number in \[0, 1\), got -1"),
        ({"max_depth": -1}, "max_depth: expected None or a number >= 0, got -1"),
        ({"min_visits": -1}, "min_visits: expected a number >= 0, got -1"),
    ],
)
def test_wrong_limits_are_named(export, kwargs, message):
    with pytest.raises(ValueError, match=message):
        getattr(hand_made(), export)(**kwargs)


def test_wrong_names_are_counted():
    with pytest.raises(ValueError, match="action_names: expected 2 names, got 3"):
        hand_made().to_graphviz(action_names="abc")
