"""Several leaves per step: answers by hand, and what the network is asked."""

from __future__ import annotations

import numpy as np
import pytest

import mcts

from .models import Bandit, RandomModel

POLICIES = {"puct": mcts.muzero_policy, "gumbel": mcts.gumbel_muzero_policy}


@pytest.mark.parametrize(
    ("leaves_per_step", "virtual_loss", "visits"),
    [(1, 3.0, [4, 0]), (2, 0.0, [3, 1]), (2, 0.5, [3, 1]), (2, 1.0, [2, 2]), (2, 3.0, [2, 2])],
)
def test_virtual_loss_by_hand(leaves_per_step, virtual_loss, visits, backend):
    """Two actions, priors 0.6 and 0.4, normalised Q-values 1 and 0.6, exploration factor sqrt(N).

    One leaf at a time, action 0 is always best. Two at a time, the first step: 0.6 against 0.4, then with one waiting
    0.6 * sqrt(2) / 2 = 0.42 against 0.4 * sqrt(2) = 0.57. The second step: action 0, then, N = 3 + 1, action 0 has
    1 / (1 + loss) + 0.6 * 2 / 3 and action 1 has 0.6 + 0.4 * 2 / 2 = 1: 1.4, 1.07, 0.9, 0.65 against 1.
    """
    bandit = Bandit(np.log([0.6, 0.4]), 0.0, [1.0, 0.2])
    result = mcts.muzero_policy(
        bandit.root(),
        bandit,
        4,
        rng=0,
        dirichlet_fraction=0.0,
        pb_c_init=1.0,
        pb_c_base=1e12,
        qtransform=mcts.qtransform_by_min_max(min_value=-1, max_value=1),
        leaves_per_step=leaves_per_step,
        virtual_loss=virtual_loss,
        backend=backend,
    )
    assert result.visit_counts.tolist() == [visits]
    assert result.root_value[0] == pytest.approx((visits[0] * 1.0 + visits[1] * 0.2) / 5)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_leaf_that_is_waited_for_is_evaluated_again(policy, backend):
    """One action only: all three leaves of a step want the same edge. Then the search goes on below it."""
    model = RandomModel([4], 1, terminal=0.0)
    result = POLICIES[policy](model.root(), model, 5, rng=0, leaves_per_step=3, backend=backend)
    asked = [(parent.tolist(), action.tolist(), node) for parent, action, node in model.asked]
    assert asked == [([0, 0, 0], [0, 0, 0], 1), ([1, 1], [0, 0], 4)]
    tree = result.tree
    assert tree.node_visits.tolist() == [[6, 5, 0, 0, 2, 0]]
    assert tree.parents.tolist() == [[-1, 0, -1, -1, 1, -1]]
    raw, reward, discount = tree.raw_values[0], tree.rewards[0], tree.discounts[0]
    below = 2 * (reward[4] + discount[4] * raw[4])
    assert tree.value_sums[0, 1] == pytest.approx(3 * raw[1] + below)
    assert tree.value_sums[0, 0] == pytest.approx(raw[0] + 5 * reward[1] + discount[1] * (3 * raw[1] + below))


def test_sequential_halving_keeps_its_schedule(backend):
    """Four actions, eight simulations: each once, then the best two twice more, also in steps of four."""
    bandit = Bandit([0.0, 0.1, 0.2, 0.3], 0.0, [0.9, -0.5, 0.8, -0.9])
    asked = []

    def model(parent_index, action, node_index):
        asked.append((parent_index.tolist(), action.tolist(), node_index))
        return bandit(parent_index, action, node_index)

    result = mcts.gumbel_muzero_policy(
        bandit.root(),
        model,
        8,
        rng=0,
        gumbel_scale=0.0,
        leaves_per_step=4,
        qtransform=mcts.qtransform_completed_by_mix_value(value_scale=1.0),
        backend=backend,
    )
    assert asked[0] == ([0, 0, 0, 0], [3, 2, 1, 0], 1)  # by falling logit: nothing is known yet
    assert asked[1][0] == [4, 2, 4, 2]  # the best two have one visit each, then one and one waiting
    assert result.visit_counts.tolist() == [[3, 1, 3, 1]]
    assert result.action.tolist() == [0]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("num_simulations", "sizes"), [(3, [3]), (4, [4]), (9, [4, 4, 1])])
def test_the_last_step_asks_for_what_is_left(policy, num_simulations, sizes, backend):
    model = RandomModel([1, 2], 9)
    result = POLICIES[policy](model.root(), model, num_simulations, rng=0, leaves_per_step=4, backend=backend)
    assert [len(parent) // 2 for parent, _, _ in model.asked] == sizes
    assert result.visit_counts.sum(axis=1).tolist() == [num_simulations] * 2


def test_a_wrong_number_names_its_root_and_simulation(backend):
    good = RandomModel([1, 2, 3], 9)

    def model(parent_index, action, node_index):
        output = good(parent_index, action, node_index)
        if node_index == 5:  # the second step of four: row 7 is leaf 2 of root 1
            output.value[7] = np.nan
        return output

    with pytest.raises(ValueError, match="recurrent_fn, simulation 6, root 1: value: expected a finite number"):
        mcts.muzero_policy(good.root(), model, 12, rng=0, leaves_per_step=4, backend=backend, num_threads=2)


def test_the_model_must_answer_every_leaf(backend):
    model = RandomModel([1, 2], 3)

    def one_leaf(parent_index, action, node_index):
        return model(parent_index[:2], action[:2], node_index)

    with pytest.raises(ValueError, match=r"recurrent_fn, simulation 0: reward: expected shape \(8,\), got \(2,\)"):
        mcts.muzero_policy(model.root(), one_leaf, 12, rng=0, leaves_per_step=4, backend=backend)
