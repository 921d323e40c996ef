"""`mcts.Search` finds what the policies find, and says what is wrong with its settings once."""

from __future__ import annotations

import numpy as np
import pytest

import mcts

from .models import ConstantModel, RandomModel

SETTINGS = {
    mcts.muzero_policy: {"pb_c_init": 2.0, "dirichlet_alpha": 1, "max_depth": 4, "leaves_per_step": 2},
    mcts.gumbel_muzero_policy: {"max_num_considered_actions": np.int64(3), "max_depth": 4},
}
policies = pytest.mark.parametrize("policy", SETTINGS)


@policies
def test_it_finds_what_the_policy_finds(policy, backend, seed):
    search = mcts.Search(policy, 25, backend=backend, **SETTINGS[policy])
    for turn in range(3):
        results = [
            find(model.root(), model, *arguments)
            for find, arguments, model in (
                (lambda *a, turn=turn: search(*a, rng=turn), (), RandomModel([seed, turn], 5)),
                (
                    lambda *a, turn=turn: policy(*a, rng=turn, backend=backend, **SETTINGS[policy]),
                    (25,),
                    RandomModel([seed, turn], 5),
                ),
            )
        ]
        np.testing.assert_array_equal(results[0].visit_counts, results[1].visit_counts)
        np.testing.assert_array_equal(results[0].action_weights, results[1].action_weights)
        assert results[0].visit_counts.sum() == 50


def test_what_belongs_to_one_search_is_given_to_the_call(seed):
    model = RandomModel([seed], 4)
    search = mcts.Search(mcts.muzero_policy, 20, dirichlet_fraction=0.0)
    first = search(model.root(), model, rng=seed, temperature=0.0)
    assert first.action[0] == first.visit_counts[0].argmax()
    kept = first.tree.keep(first.action)
    model.go_on(kept.source, first.action[:, None])
    again = search(model.root(), model, rng=seed, kept=kept)
    assert again.visit_counts.sum() == 20 + first.visit_counts.max() - 1


@policies
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_simulations": 0}, ValueError, "num_simulations: expected a number >= 1, got 0"),
        ({"qtransform": [3]}, TypeError, "qtransform: expected a value made by mcts.qtransform_"),
        ({"backend": "cuda"}, ValueError, "backend: expected one of native, python, got 'cuda'"),
        ({"tempo": 1}, TypeError, r"tempo: expected a setting of mcts\.\w+: num_simulations, max_depth"),
        ({"rng": 1}, TypeError, r"rng: expected a setting of mcts\.\w+"),
    ],
)
def test_wrong_settings(policy, arguments, error, message):
    with pytest.raises(error, match=message):
        mcts.Search(policy, **{"num_simulations": 5, **arguments})(
            ConstantModel(1, 2).root(), ConstantModel(1, 2), rng=0
        )


def test_wrong_arguments_of_one_search():
    model = ConstantModel(1, 3)
    search = mcts.Search(mcts.gumbel_muzero_policy, 5)
    with pytest.raises(TypeError, match="temperature: expected an argument of one search of gumbel_muzero_policy: rng"):
        search(model.root(), model, rng=0, temperature=1.0)
    with pytest.raises(ValueError, match=r"policy: expected mcts.muzero_policy or .*, got 'puct'"):
        mcts.Search("puct", 5)
    assert repr(search).startswith("Search(gumbel_muzero_policy, GumbelSettings(num_simulations=5,")


def test_settings_are_told_apart_by_type():
    """1 == 1.0 == True, but only one of them is a number of simulations."""
    model = ConstantModel(1, 3)
    mcts.muzero_policy(model.root(), model, 1, rng=0)
    for wrong in (1.0, True):
        with pytest.raises(TypeError, match="num_simulations: expected an int"):
            mcts.muzero_policy(model.root(), model, wrong, rng=0)
