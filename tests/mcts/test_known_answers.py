"""Answers known from the papers, from public implementations or by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

import mcts
from mcts import _random
from mcts.qtransforms import NodeStatistics
from mcts.seq_halving import considered_visits, considered_visits_by_root

from .models import Bandit, ConstantModel, TicTacToe


@pytest.mark.parametrize(
    ("num_considered", "num_simulations", "expected"),
    [
        (8, 24, [0] * 8 + [1] * 4 + [2] * 4 + [3, 3, 4, 4, 5, 5, 6, 6]),
        (1, 4, [0, 1, 2, 3]),
        (0, 3, [0, 1, 2]),
        (2, 5, [0, 0, 1, 1, 2]),
        (4, 4, [0, 0, 0, 0]),
        (16, 6, [0] * 6),
        # An odd field: 5 actions, three phases of 15 / (3 * 5), 15 / (3 * 2), ... visits each.
        (5, 15, [0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]),
    ],
)
def test_halving_schedule(num_considered, num_simulations, expected):
    assert considered_visits(num_considered, num_simulations) == expected


def test_every_root_gets_its_schedule():
    num_considered = np.array([3, 1, 9, 3, 2])
    schedules = considered_visits_by_root(num_considered, 30)
    assert schedules.tolist() == [considered_visits(m, 30) for m in num_considered.tolist()]


def test_splitmix64():
    """The first numbers of the published generator with seed 0: hashes of the multiples of its increment."""
    increments = np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert _random._mix(increments).tolist() == expected


def test_gumbel_bandit(backend):
    bandit = Bandit([0, -1, 2, 3], -5, [20, 3, -1, 10])
    result = mcts.gumbel_muzero_policy(
        bandit.root(),
        bandit,
        17,
        rng=0,
        invalid_actions=np.array([[True, False, False, True]]),
        gumbel_scale=0.0,
        qtransform=mcts.qtransform_completed_by_mix_value(value_scale=0.05, maxvisit_init=60, rescale_values=True),
        backend=backend,
    )
    assert result.visit_counts.tolist() == [[0, 9, 8, 0]]
    assert result.action.tolist() == [1]
    # The weights by hand. Rescaling takes in the value that completes the two forbidden actions.
    p1, p2 = math.exp(-1), math.exp(2)
    v_mix = (-5 + 17 * (p1 * 3 + p2 * -1) / (p1 + p2)) / 18
    low, high = min(3, -1, v_mix), max(3, -1, v_mix)
    scale = (60 + 9) * 0.05
    x1, x2 = -1 + scale * (3 - low) / (high - low), 2 + scale * (-1 - low) / (high - low)
    w1 = 1 / (1 + math.exp(x2 - x1))
    np.testing.assert_allclose(result.action_weights, [[0, w1, 1 - w1, 0]], rtol=1e-6)
    np.testing.assert_array_equal(result.qvalues, [[0, 3, -1, 0]])
    assert result.root_value[0] == pytest.approx((-5 + 9 * 3 + 8 * -1) / 18)


def test_gumbel_bandit_unscaled_completes_the_unvisited(backend):
    """Two of three actions are visited; the third gets v_mix, made from the raw and not the averaged root value."""
    bandit = Bandit([1.0, 0.5, -4.0], 2.0, [1.0, -1.0, 0.0])
    result = mcts.gumbel_muzero_policy(
        bandit.root(),
        bandit,
        6,
        rng=0,
        gumbel_scale=0.0,
        max_num_considered_actions=2,
        qtransform=mcts.qtransform_completed_by_mix_value(value_scale=0.1, maxvisit_init=4, rescale_values=False),
        backend=backend,
    )
    assert result.visit_counts.tolist() == [[3, 3, 0]]
    p0, p1 = math.exp(1.0), math.exp(0.5)
    v_mix = (2.0 + 6 * (p0 * 1 + p1 * -1) / (p0 + p1)) / 7
    logits = np.array([1.0, 0.5, -4.0]) + (4 + 3) * 0.1 * np.array([1.0, -1.0, v_mix])
    np.testing.assert_allclose(result.action_weights[0], np.exp(logits) / np.exp(logits).sum(), rtol=1e-6)


NODE = NodeStatistics(
    qvalues=np.array([[2.0, 99.0, -1.0, 99.0]]),  # 99 stands where nothing was visited
    visit_counts=np.array([[3, 0, 1, 0]]),
    prior_probs=np.array([[0.1, 0.2, 0.3, 0.4]]),
    node_value=np.array([0.5]),
    raw_value=np.array([3.0]),
    tree_min=np.array([-2.0]),
    tree_max=np.array([6.0]),
)


def test_qtransform_by_min_max():
    transformed = mcts.qtransform_by_min_max(min_value=-4, max_value=4)(NODE)
    np.testing.assert_allclose(transformed, [[6 / 8, 0, 3 / 8, 0]])


def test_qtransform_by_parent_and_siblings():
    transformed = mcts.qtransform_by_parent_and_siblings()(NODE)
    np.testing.assert_allclose(transformed, [[1, 0, 0, 0]])
    low_node = NodeStatistics(**{**NODE.__dict__, "node_value": np.array([-2.0])})
    np.testing.assert_allclose(mcts.qtransform_by_parent_and_siblings()(low_node), [[1, 0, 0.25, 0]])


def test_qtransform_by_tree_min_max():
    np.testing.assert_allclose(mcts.qtransform_by_tree_min_max()(NODE), [[4 / 8, 0, 1 / 8, 0]])


def test_qtransform_completed_by_mix_value():
    v_mix = (3.0 + 4 * (0.1 * 2 + 0.3 * -1) / 0.4) / 5
    scale = (50 + 3) * 0.1
    plain = mcts.qtransform_completed_by_mix_value(rescale_values=False)(NODE)
    np.testing.assert_allclose(plain, scale * np.array([[2, v_mix, -1, v_mix]]))
    rescaled = mcts.qtransform_completed_by_mix_value()(NODE)
    np.testing.assert_allclose(rescaled, scale * (np.array([[2, v_mix, -1, v_mix]]) + 1) / 3)
    raw = mcts.qtransform_completed_by_mix_value(use_mixed_value=False)(NODE)
    np.testing.assert_allclose(raw, scale * (np.array([[2, 3, -1, 3]]) + 1) / 4)


def test_qtransform_epsilon_is_the_smallest_range_that_is_stretched():
    near = NodeStatistics(**{**NODE.__dict__, "qvalues": np.array([[0.5, 0, 0.49, 0]]), "raw_value": np.array([0.5])})
    scale = (50 + 3) * 0.1
    stretched = mcts.qtransform_completed_by_mix_value()(near)
    assert np.ptp(stretched) == pytest.approx(scale)
    held = mcts.qtransform_completed_by_mix_value(epsilon=0.1)(near)
    assert np.ptp(held) == pytest.approx(scale * 0.01 / 0.1)


def test_puct_first_simulations_by_hand(backend):
    """Three simulations on two actions whose Q-values are known, scores computed on paper.

    Fresh root: the larger prior (action 1). Then Q(1) = -1 < root value, so action 1 normalises to 0 and the score is
    sqrt(2) * c * P / (1 + N): 0.4 / 1 against 0.6 / 2 lets action 0 win, with Q(0) = 1. From then on Q(0) is the best.
    """
    logits = np.log([0.4, 0.6])
    bandit = Bandit(logits, 0.0, [1.0, -1.0])
    kwargs = {"rng": 0, "dirichlet_fraction": 0.0, "temperature": 0.0, "backend": backend}
    assert mcts.muzero_policy(bandit.root(), bandit, 1, **kwargs).visit_counts.tolist() == [[0, 1]]
    assert mcts.muzero_policy(bandit.root(), bandit, 2, **kwargs).visit_counts.tolist() == [[1, 1]]
    result = mcts.muzero_policy(bandit.root(), bandit, 3, **kwargs)
    assert result.visit_counts.tolist() == [[2, 1]]
    assert result.root_value[0] == pytest.approx((0 - 1 + 1 + 1) / 4)
    np.testing.assert_allclose(result.action_weights, [[2 / 3, 1 / 3]])


def test_values_back_up_with_rewards_and_discounts(backend):
    """One action: a chain of three nodes, reward 1, discount 0.5, network value 8 everywhere."""
    model = ConstantModel(1, 1, reward=1.0, discount=0.5, value=8.0)
    result = mcts.muzero_policy(model.root(), model, 3, rng=0, backend=backend)
    leaf_first = [8.0, 1 + 0.5 * 8, 1 + 0.5 * 5, 1 + 0.5 * 3.5]  # the return seen from each height above the leaf
    assert result.root_value[0] == pytest.approx(np.mean(leaf_first))
    assert result.qvalues[0, 0] == pytest.approx(1 + 0.5 * np.mean(leaf_first[:3]))
    assert result.tree.node_visits.tolist() == [[4, 3, 2, 1]]


@pytest.mark.parametrize("policy", [mcts.muzero_policy, mcts.gumbel_muzero_policy])
@pytest.mark.parametrize(
    ("board", "answer"),
    [
        ([1, 1, 0, -1, -1, 0, 0, 0, 0], 2),  # completes its own line
        ([-1, -1, 0, 1, 0, 0, 0, 0, 1], 2),  # stops the opponent's
        ([0, 0, 0, 0, 1, -1, -1, 0, 1], 0),  # wins on the diagonal
        ([0, 1, 0, 0, -1, 0, -1, 0, 1], 2),  # the anti-diagonal must be stopped
    ],
)
def test_tictactoe_with_true_rules_wins_and_blocks(policy, board, answer, backend):
    model = TicTacToe(board)
    quiet = {"dirichlet_fraction": 0.0, "temperature": 0.0} if policy is mcts.muzero_policy else {"gumbel_scale": 0.0}
    qtransform = (
        mcts.qtransform_by_min_max(min_value=-1, max_value=1)
        if policy is mcts.muzero_policy
        else mcts.qtransform_completed_by_mix_value(value_scale=1.0, rescale_values=False)
    )
    result = policy(
        model.root(),
        model,
        150,
        rng=0,
        invalid_actions=model.invalid_actions,
        qtransform=qtransform,
        backend=backend,
        **quiet,
    )
    assert result.action.tolist() == [answer]
