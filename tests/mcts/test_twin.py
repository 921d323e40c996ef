"""What is done around a search in C is what the NumPy twin does."""

from __future__ import annotations

import numpy as np
import pytest

import mcts
from mcts import _policy, _random, _twin

from .models import RandomModel, random_masks
from .test_instruction_sets import QTRANSFORMS

SHAPES = [(1, 1), (3, 2), (2, 9), (5, 17), (2, 100)]


def arrays(shape, seed):
    rng = np.random.default_rng((seed, *shape))
    logits = rng.normal(size=shape).astype(np.float32) * 3
    logits[rng.random(shape) < 0.2] = -np.inf
    logits[:, 0] = 1.0
    invalid = random_masks(rng, *shape)
    invalid[:, 0] = False
    return logits, rng.uniform(-1, 1, shape[0]).astype(np.float32), invalid, _random.root_keys(seed, shape[0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("fraction", "alpha"), [(0.0, 0.3), (0.25, 0.3), (1.0, 0.01), (0.5, 50.0)])
def test_priors_with_noise(shape, fraction, alpha, seed):
    given = arrays(shape, seed)
    found, expected = (module.prepare_puct(*given, fraction, alpha) for module in (_policy, _twin))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert (found[given[2]] == -np.inf).all()


@pytest.mark.parametrize("constants", [(1.25, 19652.0), (0.0, 1e-50), (1e50, 1e50), (2.0, 1.0)])
def test_exploration(constants):
    found, expected = (module.exploration_table(3000, *constants) for module in (_policy, _twin))
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [0.0, 0.7])
@pytest.mark.parametrize("max_considered", [1, 2, 3, 16])
def test_scores_and_schedules(shape, scale, max_considered, seed):
    given, scales = arrays(shape, seed), np.full(shape[0], scale)
    found, expected = (module.prepare_gumbel(*given, scales, max_considered, 40) for module in (_policy, _twin))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found[2], expected[2])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda logits, value, invalid: value.__setitem__(1, np.nan),
        lambda logits, value, invalid: value.__setitem__(0, np.inf),
        lambda logits, value, invalid: invalid.__setitem__(1, True),
        lambda logits, value, invalid: logits.__setitem__((0, 0), np.nan),
        lambda logits, value, invalid: logits.__setitem__((1, 0), np.inf),
        lambda logits, value, invalid: logits.__setitem__(1, -np.inf),
    ],
)
def test_numbers_that_are_no_policy(spoil):
    logits, value, invalid, keys = arrays((2, 9), 0)
    spoil(logits, value, invalid)
    for module in (_policy, _twin):
        assert module.prepare_puct(logits, value, invalid, keys, 0.25, 0.3) is None
        assert module.prepare_gumbel(logits, value, invalid, keys, np.ones(2), 4, 9) is None


def assert_close(found, expected):
    for i, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one.dtype == other.dtype
        if i in (0, 2):
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("num_actions", [1, 3, 17, 60])
@pytest.mark.parametrize("qtransform", QTRANSFORMS)
def test_results(num_actions, qtransform, seed, backend):
    rng = np.random.default_rng(seed)
    invalid, keys = random_masks(rng, 3, num_actions), _random.root_keys(seed, 3)
    temperature = np.array([0.0, 1.0, 0.3])
    qtransform = QTRANSFORMS[qtransform].get("qtransform", mcts.qtransform_completed_by_mix_value())
    model = RandomModel(rng.integers(2**31, size=3), num_actions)
    arguments = {"rng": keys, "invalid_actions": invalid, "qtransform": qtransform, "backend": backend}
    tree = mcts.muzero_policy(model.root(), model, 30, **arguments).tree
    assert_close(*(module.finish_puct(tree, keys, temperature) for module in (_policy, _twin)))
    model = RandomModel(rng.integers(2**31, size=3), num_actions)
    root = model.root()
    tree = mcts.gumbel_muzero_policy(root, model, 30, **arguments).tree
    prepared = _twin.prepare_gumbel(root.prior_logits, root.value, invalid, keys, np.ones(3), 16, 30)
    assert_close(*(module.finish_gumbel(tree, invalid, prepared[1], qtransform) for module in (_policy, _twin)))


def test_a_search_without_the_native_module_finds_the_same(monkeypatch, seed):
    results = {}
    for name, module in (("native", _policy), ("numpy", _twin)):
        monkeypatch.setattr("mcts.settings._native", module)
        monkeypatch.setattr(_random, "_noise", module if name == "native" else None)
        model = RandomModel([seed, seed + 1], 12)
        results[name] = [
            policy(model.root(), RandomModel([seed, seed + 1], 12), 40, rng=seed, backend="python")
            for policy in (mcts.muzero_policy, mcts.gumbel_muzero_policy)
        ]
    for found, expected in zip(results["native"], results["numpy"], strict=True):
        np.testing.assert_array_equal(found.visit_counts, expected.visit_counts)
        np.testing.assert_array_equal(found.action, expected.action)
        np.testing.assert_allclose(found.action_weights, expected.action_weights, atol=1e-6)
