"""Containers of arrays can be compared, hashed and shown without a word about their numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import mcts
from mcts.qtransforms import NodeStatistics
from mcts.types import SearchProblem

from .models import ConstantModel


def searched():
    model = ConstantModel(2, 3)
    return mcts.muzero_policy(model.root(), model, 400, rng=0)


def containers():
    result, again = searched(), searched()
    arrays = dict.fromkeys((field.name for field in dataclasses.fields(NodeStatistics)), np.zeros((2, 3)))
    transform = mcts.qtransform_by_tree_min_max()
    problem = SearchProblem(np.zeros((2, 3)), np.zeros(2), np.zeros((2, 3), bool), 4, 4, transform, np.zeros(5))
    return {
        "SearchResult": (result, again),
        "Tree": (result.tree, again.tree),
        "KeptTree": (result.tree.keep([0, 0]), again.tree.keep([0, 0])),
        "NodeStatistics": (NodeStatistics(**arrays), NodeStatistics(**arrays)),
        "SearchProblem": (problem, dataclasses.replace(problem)),
    }


CONTAINERS = containers()


@pytest.mark.parametrize("name", CONTAINERS)
def test_only_the_same_object_is_equal(name):
    one, other = CONTAINERS[name]
    same = one
    assert type(one).__name__ == name
    assert one == same
    assert one != other
    assert one not in [other, None]
    assert len({one, same, other}) == 2


@pytest.mark.parametrize("name", CONTAINERS)
def test_what_is_shown_is_short(name):
    text = repr(CONTAINERS[name][0])
    assert text.startswith(f"{name}(")
    assert len(text) < 600
    assert "array(" not in text
    assert "\n" not in text


def test_what_is_shown():
    result = searched()
    assert repr(result.tree) == "Tree(nodes=record[2, 401], prior_logits=float32[2, 401, 3])"
    assert repr(result) == (
        "SearchResult(action=int32[2], action_weights=float32[2, 3], visit_counts=int32[2, 3], qvalues=float32[2, 3], "
        f"root_value=float32[2], tree={result.tree}, improved_value=float32[2])"
    )
    kept = result.tree.keep([-1, -1])
    assert repr(kept) == "KeptTree(tree=Tree(nodes=record[2, 1], prior_logits=float32[2, 1, 3]), source=int32[2, 1])"


def test_every_public_dataclass_of_arrays_is_covered():
    public = {getattr(mcts, name) for name in mcts.__all__} - {mcts.RecurrentFn}
    holders = {kind for kind in public if dataclasses.is_dataclass(kind) and "NDArray" in str(kind.__annotations__)}
    assert {kind.__name__ for kind in holders} <= CONTAINERS.keys()
    assert mcts.SearchResult in holders
