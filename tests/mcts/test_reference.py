"""Native core, reference and textbook oracle give the same searches."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import mcts
from mcts.tree import NODE_DTYPE

from .models import ConstantModel, RandomModel, random_masks

QTRANSFORMS = {
    "min_max": mcts.qtransform_by_min_max(min_value=-6, max_value=6),
    "siblings": mcts.qtransform_by_parent_and_siblings(),
    "tree": mcts.qtransform_by_tree_min_max(),
    "completed": mcts.qtransform_completed_by_mix_value(),
    "completed_steep": mcts.qtransform_completed_by_mix_value(value_scale=1.0),
    "completed_raw": mcts.qtransform_completed_by_mix_value(rescale_values=False, use_mixed_value=False, epsilon=0.1),
}
POLICIES = {"puct": mcts.muzero_policy, "gumbel": mcts.gumbel_muzero_policy}
PUBLIC_FIELDS = [name for name in NODE_DTYPE.names if not name.startswith("_")]


def assert_same(native, python):
    """Compares two results: exactly, except where an exponential may be rounded differently."""
    for name in PUBLIC_FIELDS:
        tolerance = {"rtol": 1e-12, "atol": 1e-300} if name == "prior_prob" else {"rtol": 0, "atol": 0}
        np.testing.assert_allclose(native.tree.nodes[name], python.tree.nodes[name], err_msg=name, **tolerance)
    np.testing.assert_array_equal(native.tree.prior_logits, python.tree.prior_logits)
    np.testing.assert_array_equal(native.visit_counts, python.visit_counts)
    np.testing.assert_array_equal(native.action, python.action)
    np.testing.assert_array_equal(native.qvalues, python.qvalues)
    np.testing.assert_array_equal(native.root_value, python.root_value)
    np.testing.assert_allclose(native.action_weights, python.action_weights, rtol=1e-6, atol=1e-30)


def search_both(policy, make_model, num_simulations, **kwargs):
    results = []
    for backend in ("native", "python"):
        model = make_model()
        results.append(POLICIES[policy](model.root(), model, num_simulations, backend=backend, **kwargs))
    assert_same(*results)
    return results[0]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("qtransform", QTRANSFORMS)
@pytest.mark.parametrize(
    ("num_actions", "num_simulations", "discount", "grid", "max_depth"),
    [
        (1, 20, 0.97, None, None),
        (2, 60, -1.0, 1, None),
        (3, 60, -1.0, None, 3),
        (4, 80, 1.0, 2, None),
        (9, 60, -1.0, 1, None),
        (18, 50, 0.997, None, 2),
        (82, 60, -1.0, None, None),
        (400, 40, 0.97, None, 1),
    ],
)
def test_backends_agree(policy, qtransform, num_actions, num_simulations, discount, grid, max_depth, seed):
    rng = np.random.default_rng((seed, num_actions))
    worlds = rng.integers(2**31, size=3)
    search_both(
        policy,
        lambda: RandomModel(worlds, num_actions, discount=discount, grid=grid),
        num_simulations,
        rng=seed,
        invalid_actions=random_masks(rng, 3, num_actions),
        max_depth=max_depth,
        qtransform=QTRANSFORMS[qtransform],
    )


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("qtransform", QTRANSFORMS)
@pytest.mark.parametrize(
    ("num_actions", "leaves_per_step", "virtual_loss", "max_depth"),
    [(1, 3, 1.0, None), (3, 2, 0.0, None), (3, 8, 0.5, 3), (19, 4, 1.0, None), (60, 16, 3.0, 2), (300, 100, 1.0, 1)],
)
def test_backends_agree_on_several_leaves(
    policy, qtransform, num_actions, leaves_per_step, virtual_loss, max_depth, seed
):
    rng = np.random.default_rng((seed, num_actions))
    worlds = rng.integers(2**31, size=3)
    search_both(
        policy,
        lambda: RandomModel(worlds, num_actions, discount=-1.0),
        70,
        rng=seed,
        invalid_actions=random_masks(rng, 3, num_actions),
        max_depth=max_depth,
        leaves_per_step=leaves_per_step,
        qtransform=QTRANSFORMS[qtransform],
        **({"virtual_loss": virtual_loss} if policy == "puct" else {}),
    )


@pytest.mark.parametrize("qtransform", QTRANSFORMS)
@pytest.mark.parametrize(
    ("num_actions", "leaves_per_step", "max_depth"), [(1, 1, None), (3, 1, None), (3, 4, 5), (19, 3, None), (60, 1, 2)]
)
def test_backends_agree_on_kept_trees(qtransform, num_actions, leaves_per_step, max_depth, seed):
    """Three searches in a row, of which each backend goes on with its own trees."""
    rng = np.random.default_rng((seed, num_actions))
    worlds, keys = rng.integers(2**31, size=3), rng.integers(2**64, size=3, dtype=np.uint64)
    models = [RandomModel(worlds, num_actions, discount=-1.0) for _ in range(2)]
    kept: list[mcts.KeptTree | None] = [None, None]
    for num_simulations in (50, 1, 30):
        invalid = random_masks(rng, 3, num_actions, share=0.3)
        results = [
            mcts.muzero_policy(
                model.root(),
                model,
                num_simulations,
                rng=keys,
                invalid_actions=invalid,
                max_depth=max_depth,
                leaves_per_step=leaves_per_step,
                qtransform=QTRANSFORMS[qtransform],
                kept=tree,
                backend=backend,
            )
            for backend, model, tree in zip(("native", "python"), models, kept, strict=True)
        ]
        assert_same(*results)
        moves = results[0].visit_counts.argmax(axis=1)[:, None]
        moves[0] = rng.integers(-1, num_actions)
        kept = [result.tree.keep(moves) for result in results]
        np.testing.assert_array_equal(kept[0].source, kept[1].source)
        for model, tree in zip(models, kept, strict=True):
            model.go_on(tree.source, moves)


@pytest.mark.parametrize("policy", POLICIES)
def test_backends_agree_on_a_world_of_ties(policy, seed):
    """Equal priors and values everywhere: every decision is a tie, and the lowest action must win it."""
    result = search_both(policy, lambda: ConstantModel(2, 7, discount=-1.0), 40, rng=seed)
    assert result.visit_counts.sum() == 80


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("spread", [30.0, 300.0])
def test_backends_agree_on_extreme_logits(policy, spread, seed):
    """Priors that round to zero, and -inf at inner nodes."""
    rng = np.random.default_rng(seed)
    logits = spread * rng.normal(size=(40, 2, 12))
    logits[rng.random(logits.shape) < 0.3] = -np.inf
    logits[..., 5] = 0.0
    values = rng.uniform(-1, 1, size=(40, 2))

    class Model:
        def root(self):
            return mcts.RootOutput(logits[0], values[0])

        def __call__(self, parent_index, action, node_index):
            return mcts.RecurrentOutput(np.zeros(2), -np.ones(2), logits[node_index], values[node_index])

    search_both(policy, Model, 39, rng=seed, qtransform=QTRANSFORMS["completed_steep"])
    search_both(policy, Model, 39, rng=seed)


def test_environment_variable_chooses_the_backend(monkeypatch):
    model = ConstantModel(1, 3)
    monkeypatch.setenv("MCTS_BACKEND", "python")
    monkeypatch.setitem(sys.modules, "mcts._core", None)  # an import would fail now
    assert mcts.muzero_policy(model.root(), model, 5, rng=0).visit_counts.sum() == 5
