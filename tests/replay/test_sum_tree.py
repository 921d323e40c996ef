"""Sum tree against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muzero_wm.replay.sum_tree import SumTree


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=70), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_total_and_draws_match_a_cumulative_sum(priorities: list[float], seed: int) -> None:
    values = np.array(priorities)
    tree = SumTree(len(values))
    tree.update(np.arange(len(values)), values)
    assert tree.total == pytest.approx(values.sum())
    if values.sum() == 0:
        with pytest.raises(ValueError, match="all priorities are 0"):
            tree.sample(np.array([0.5]))
        return
    uniforms = np.random.default_rng(seed).random(200)
    drawn = tree.sample(uniforms)
    assert np.all(values[drawn] > 0)
    below = np.concatenate([[0.0], np.cumsum(values)])
    slack = 1e-9 * values.sum()
    assert np.all(below[drawn] - slack <= uniforms * values.sum())
    assert np.all(uniforms * values.sum() <= below[drawn + 1] + slack)


def test_draws_follow_the_priorities(seed: int) -> None:
    tree = SumTree(5)
    tree.update(np.arange(5), np.array([0.0, 1.0, 2.0, 3.0, 4.0]))
    drawn = tree.sample(np.random.default_rng(seed).random(20_000))
    assert np.bincount(drawn, minlength=5) / 20_000 == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=0.02)


def test_many_updates_leave_no_drift(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tree, values = SumTree(300), np.zeros(300)
    for _ in range(500):
        leaves, fresh = rng.choice(300, 16, replace=False), rng.random(16) * 10.0 ** rng.integers(-8, 8)
        values[leaves] = fresh
        tree.update(leaves, fresh)
    assert tree.total == pytest.approx(values.sum(), rel=1e-14)
    assert np.array_equal(tree.get(np.arange(300)), values)


@pytest.mark.parametrize(
    ("leaves", "priorities", "message"),
    [([5], [1.0], "expected 0 .. 4"), ([-1], [1.0], "expected 0 .. 4"), ([0], [-1.0], ">= 0"), ([0], [np.nan], ">= 0")],
)
def test_bad_updates_are_refused(leaves: list[int], priorities: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SumTree(5).update(np.array(leaves), np.array(priorities))


def test_the_largest_is_that_of_the_leaves_in_use() -> None:
    tree = SumTree(5)
    assert tree.largest == 0.0
    tree.update(np.arange(5), np.array([0.5, 4.0, 2.0, 3.0, 1.0]))
    assert tree.largest == 4.0
    tree.update(np.array([1]), np.array([0.1]))
    assert tree.largest == 3.0
