"""The ends of the ranges of all constants: inside them every score is a number, outside they are refused."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest

import mcts
from mcts import _random
from mcts.checks import LARGEST, SMALLEST

from .models import ConstantModel

B, A, S = 2, 5, 16
FLOAT_MAX = np.finfo(np.float32).max
POLICIES = {"puct": mcts.muzero_policy, "gumbel": mcts.gumbel_muzero_policy}
OPTIONS = {
    "puct": {
        "dirichlet_alpha": (SMALLEST, LARGEST),
        "pb_c_init": (0.0, LARGEST),
        "pb_c_base": (SMALLEST, LARGEST),
        "temperature": (0.0, LARGEST),
        "virtual_loss": (0.0, LARGEST),
    },
    "gumbel": {"gumbel_scale": (0.0, LARGEST)},
}
FACTORIES = {
    mcts.qtransform_by_min_max: {"min_value": (-LARGEST, LARGEST), "max_value": (-LARGEST, LARGEST)},
    mcts.qtransform_by_parent_and_siblings: {"epsilon": (SMALLEST, LARGEST)},
    mcts.qtransform_by_tree_min_max: {"epsilon": (SMALLEST, LARGEST)},
    mcts.qtransform_completed_by_mix_value: {
        "epsilon": (SMALLEST, LARGEST),
        "value_scale": (0.0, LARGEST),
        "maxvisit_init": (0.0, LARGEST),
    },
}
BOUNDS = {"min_value": -1.0, "max_value": 1.0}  # the two without a default


def extremes():
    """Every Q-transform whose constants are all at one end or the other."""
    yield mcts.qtransform_by_min_max(min_value=-LARGEST, max_value=LARGEST)
    yield mcts.qtransform_by_min_max(min_value=0, max_value=SMALLEST)
    for epsilon in (SMALLEST, LARGEST):
        yield mcts.qtransform_by_parent_and_siblings(epsilon=epsilon)
        yield mcts.qtransform_by_tree_min_max(epsilon=epsilon)
        for scale in (0.0, SMALLEST, LARGEST):
            for init in (0.0, LARGEST):
                for rescale in (True, False):
                    yield mcts.qtransform_completed_by_mix_value(
                        value_scale=scale, maxvisit_init=init, rescale_values=rescale, epsilon=epsilon
                    )


def numbers(flavour, shape, rng):
    """Draws what a network may say, up to the end of float32."""
    if flavour == "huge":
        return (np.sign(rng.normal(size=shape)) * FLOAT_MAX).astype(np.float32)
    if flavour == "denormal":
        return rng.integers(-9, 10, shape).astype(np.float32) * np.float32(1.4e-45)
    if flavour == "equal":
        return np.full(shape, 0.25, np.float32)
    return rng.normal(size=shape).astype(np.float32)


def search(policy, backend, flavour, seed, **options):
    rng = np.random.default_rng(seed)

    def network(parent_index, action, node_index):
        rows = len(action)
        reward, logits, value = (numbers(flavour, shape, rng) for shape in (rows, (rows, A), rows))
        return mcts.RecurrentOutput(reward, np.full(rows, -1.0), logits, value)

    root = mcts.RootOutput(numbers(flavour, (B, A), rng), numbers(flavour, B, rng))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return POLICIES[policy](root, network, S, rng=seed, backend=backend, **options)


def assert_sound(result):
    assert (result.visit_counts.sum(axis=1) == S).all()
    for name in ("action_weights", "qvalues", "root_value", "improved_value"):
        assert np.isfinite(getattr(result, name)).all()
    np.testing.assert_allclose(result.action_weights.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("flavour", ["huge", "denormal", "equal", "normal"])
@pytest.mark.parametrize("qtransform", list(extremes()), ids=str)
def test_no_score_overflows_within_the_ranges(policy, flavour, qtransform, backend, seed):
    for end in (0, 1):
        options = {name: ends[end] for name, ends in OPTIONS[policy].items()}
        assert_sound(search(policy, backend, flavour, seed, qtransform=qtransform, **options))
    mixed = {name: ends[i % 2] for i, (name, ends) in enumerate(OPTIONS[policy].items())}
    assert_sound(search(policy, backend, flavour, seed, qtransform=qtransform, leaves_per_step=7, **mixed))


@pytest.mark.parametrize(
    ("policy", "name"), [(policy, name) for policy, options in OPTIONS.items() for name in options]
)
@pytest.mark.parametrize("kind", [float, np.longdouble, int])
def test_options_beyond_their_ranges_are_refused(policy, name, kind, backend):
    lowest, highest = OPTIONS[policy][name]
    beyond = {
        float: [np.nextafter(highest, np.inf), np.nextafter(lowest, -np.inf), 1.7e308, np.inf, -np.inf, np.nan],
        np.longdouble: [np.longdouble("1e4000"), np.longdouble("-1e-300")],
        int: [-1, -(10**18)],
    }[kind]
    for number in beyond:
        with pytest.raises(ValueError, match=rf"^{name}: expected (a )?numbers? in \[.*, 1e\+50\], got "):
            search(policy, backend, "normal", 0, **{name: number})


@pytest.mark.parametrize(("factory", "name"), [(factory, name) for factory in FACTORIES for name in FACTORIES[factory]])
def test_constants_of_q_transforms_beyond_their_ranges_are_refused(factory, name):
    lowest, highest = FACTORIES[factory][name]
    options = {other: BOUNDS[other] for other in FACTORIES[factory] if other in BOUNDS}
    for number in (np.nextafter(lowest, -np.inf), np.nextafter(highest, np.inf), 1.7e308, np.nan, 10**400):
        with pytest.raises(ValueError, match=rf"^{name}: expected a number in \[.*, 1e\+50\], got "):
            factory(**options | {name: number})
        with pytest.raises(ValueError, match=rf"^{name}: expected"):  # nor behind the factory's back
            dataclasses.replace(factory(**options), **{name: number})
    for number in ("1", None, True, 1j, [1.0]):
        with pytest.raises(TypeError, match=rf"^{name}: expected a number, got {type(number).__name__}"):
            factory(**options | {name: number})


@pytest.mark.parametrize("policy", POLICIES)
def test_counts_may_be_larger_than_any_search(policy, backend):
    options = {"max_depth": 10**30, "leaves_per_step": 10**30, "num_threads": 10**30}
    if policy == "gumbel":
        options["max_num_considered_actions"] = 10**30
    assert_sound(search(policy, backend, "normal", 0, **options))


@pytest.mark.parametrize("native", [True, False])
def test_noise_of_any_concentration_is_a_distribution(native, monkeypatch, seed):
    if not native:
        monkeypatch.setattr(_random, "_noise", None)
    keys, legal = _random.root_keys(seed, 50), np.ones((50, 5), np.bool_)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for alpha, spread in ((SMALLEST, 0.4), (1e6, 2e-4), (1e20, 1e-9), (LARGEST, 1e-12)):
            noise = _random.dirichlet(keys, alpha, legal)
            np.testing.assert_allclose(noise.sum(axis=1), 1, rtol=1e-9)
            assert noise.std() <= 1.2 * spread


@pytest.mark.parametrize("policy", ["puct", "gumbel"])
@pytest.mark.parametrize("leaves_per_step", [1, 3])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_scores_that_are_no_numbers_end_the_search(policy, leaves_per_step, num_threads):
    """Nothing that passes the door makes them; the core looks all the same before it believes an action."""
    qtransform = mcts.qtransform_completed_by_mix_value()
    object.__setattr__(qtransform, "value_scale", np.inf)
    model = ConstantModel(3, 2, value=0.5)
    with pytest.raises(ValueError, match=r"qtransform: expected .* whose scores are numbers, .* at root 0"):
        POLICIES[policy](
            model.root(),
            model,
            20,
            rng=0,
            qtransform=qtransform,
            leaves_per_step=leaves_per_step,
            num_threads=num_threads,
            backend="native",
        )
