"""What the improved policy is worth, beside the mean of what was backed up."""

from __future__ import annotations

import math

import numpy as np
import pytest

import mcts

from . import oracles
from .models import Bandit, ConstantModel, RandomModel, random_masks

B, A = 3, 7


def test_one_winning_action_of_seven(backend):
    """Exploring seven actions drags the mean down; the policy that the search recommends wins."""
    rewards = [-1.0] * 7
    rewards[4] = 1.0
    bandit = Bandit([0.0] * 7, 0.0, rewards)
    options = {"rng": 0, "gumbel_scale": 0.0, "backend": backend}
    result = mcts.gumbel_muzero_policy(bandit.root(), bandit, 32, **options)
    assert result.action.tolist() == [4]
    assert result.visit_counts[0, 4] == 12
    assert result.root_value[0] == pytest.approx((12 - 20) / 33)
    lead = math.exp((50 + 12) * 0.1)  # over each of the six others
    assert result.improved_value[0] == pytest.approx((lead - 6) / (lead + 6))
    certain = mcts.qtransform_completed_by_mix_value(value_scale=1.0)
    result = mcts.gumbel_muzero_policy(bandit.root(), bandit, 32, qtransform=certain, **options)
    assert result.improved_value[0] == pytest.approx(1.0)
    assert result.root_value[0] == pytest.approx(-0.24, abs=0.01)
    assert result.improved_value.dtype == np.float32
    assert result.improved_value.shape == (1,)


def test_puct_weighs_by_visits(backend):
    """By hand: two visits of 1, one of -1; the root's own 9 counts in the mean only."""
    bandit = Bandit(np.log([0.4, 0.6]), 0.0, [1.0, -1.0])
    options = {"rng": 0, "dirichlet_fraction": 0.0, "temperature": 0.0, "backend": backend}
    result = mcts.muzero_policy(bandit.root(), bandit, 3, **options)
    assert result.visit_counts.tolist() == [[2, 1]]
    assert result.improved_value[0] == pytest.approx((2 * 1 + 1 * -1) / 3)
    assert result.root_value[0] == pytest.approx((0 + 2 * 1 + 1 * -1) / 4)


TRANSFORMS = {
    "mixed": (mcts.qtransform_completed_by_mix_value(rescale_values=False), "mixed"),
    "raw": (mcts.qtransform_completed_by_mix_value(rescale_values=False, use_mixed_value=False), "raw"),
    "min-max": (mcts.qtransform_by_min_max(min_value=-8, max_value=8), "raw"),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("num_simulations", [1, 4, 40])
@pytest.mark.parametrize("masked", [False, True])
def test_gumbel_against_the_formula(name, num_simulations, masked, backend, seed):
    transform, fill = TRANSFORMS[name]
    rng = np.random.default_rng((seed, num_simulations))
    model = RandomModel(rng.integers(2**31, size=B), A)
    root = model.root()
    root.prior_logits[:, 2] = -np.inf  # an action of zero weight
    invalid = random_masks(rng, B, A) if masked else np.zeros((B, A), np.bool_)
    invalid[:, :2] = False
    result = mcts.gumbel_muzero_policy(
        root, model, num_simulations, rng=seed, invalid_actions=invalid, qtransform=transform, backend=backend
    )
    for row in range(B):
        visits, q = result.visit_counts[row].tolist(), result.qvalues[row].tolist()

        def sigma(completed, visits=visits, q=q):
            if name == "min-max":
                return [(q[a] + 8) / 16 if visits[a] else 0.0 for a in range(A)]
            return [(50 + max(visits)) * 0.1 * x for x in completed]

        arguments = root.prior_logits[row].tolist(), float(root.value[row]), visits, q, (~invalid[row]).tolist()
        expected = oracles.improved_value(*arguments, fill, sigma)
        assert result.improved_value[row] == pytest.approx(expected, rel=1e-4, abs=1e-4)
        if fill == "raw":
            completed = np.where(result.visit_counts[row] > 0, result.qvalues[row], root.value[row])
            weighted = (result.action_weights[row] * completed).sum()
            assert result.improved_value[row] == pytest.approx(weighted, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("leaves_per_step", [1, 5])
def test_puct_with_kept_trees_and_masks(leaves_per_step, backend, seed):
    rng = np.random.default_rng(seed)
    model, kept = RandomModel(rng.integers(2**31, size=B), A), None
    for _ in range(3):
        invalid = random_masks(rng, B, A)
        result = mcts.muzero_policy(
            model.root(),
            model,
            25,
            rng=seed,
            invalid_actions=invalid,
            kept=kept,
            leaves_per_step=leaves_per_step,
            backend=backend,
        )
        for row in range(B):
            children = result.tree.to_dict(row)["children"]
            total = sum(child["visits"] for child in children)
            expected = math.fsum(child["visits"] * child["qvalue"] for child in children) / total
            assert result.improved_value[row] == pytest.approx(expected, rel=1e-5, abs=1e-6)
        moves = result.action[:, None]
        kept = result.tree.keep(moves)
        model.go_on(kept.source, moves)


@pytest.mark.parametrize("policy", [mcts.muzero_policy, mcts.gumbel_muzero_policy])
def test_an_equal_world_is_worth_what_it_is(policy, backend):
    model = ConstantModel(2, 5, reward=0.0, discount=1.0, value=0.75)
    result = policy(model.root(), model, 20, rng=0, backend=backend)
    np.testing.assert_allclose(result.improved_value, 0.75, rtol=1e-6)
    np.testing.assert_allclose(result.root_value, 0.75, rtol=1e-6)


def test_values_beyond_float32_are_limited(backend):
    largest = np.finfo(np.float32).max
    answer = mcts.RecurrentOutput(np.full(2, largest), np.ones(2), np.zeros((2, 3)), np.full(2, largest))
    for policy in (mcts.muzero_policy, mcts.gumbel_muzero_policy):
        result = policy(mcts.RootOutput(np.zeros((2, 3)), np.zeros(2)), lambda *_: answer, 8, rng=0, backend=backend)
        assert (result.improved_value == largest).all()
