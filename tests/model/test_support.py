"""Transforms of scalars, and the two-hot code over bins that are spaced by them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import mcts
from muzero_wm.config import SupportConfig
from muzero_wm.model.support import Support, Transform, h, h_inv, symexp, symlog

SUPPORTS = [
    Support(-1, 1, 3, False),
    Support(-10, 10, 21, True),
    Support(-100, 100, 101, True),
    Support(-5, 25, 31, True),
    Support(-12, 12, 81, "symlog"),
    Support(-12, 12, 80, "symlog"),
]


def textbook_h(x: float) -> float:
    return math.copysign(math.sqrt(abs(x) + 1) - 1, x) + 0.001 * x


def textbook_h_inv(y: float) -> float:
    inner = (math.sqrt(1 + 4 * 0.001 * (abs(y) + 1 + 0.001)) - 1) / (2 * 0.001)
    return math.copysign(inner**2 - 1, y)


@pytest.mark.parametrize("x", [0.0, 1e-3, 0.5, 1.0, 7.25, 300.0, 20_000.0])
def test_transforms_follow_their_formulas_and_are_odd(x: float) -> None:
    value = torch.tensor([x, -x], dtype=torch.float64)
    assert h(value).tolist() == pytest.approx([textbook_h(x), -textbook_h(x)], rel=1e-12)
    assert h_inv(value).tolist() == pytest.approx([textbook_h_inv(x), -textbook_h_inv(x)], rel=1e-9, abs=1e-12)
    assert symlog(value).tolist() == pytest.approx([math.log(1 + x), -math.log(1 + x)], rel=1e-9)
    assert symexp(symlog(value)).tolist() == pytest.approx([x, -x], rel=1e-9)


def test_inverse_undoes_the_transform_in_single_precision() -> None:
    x = torch.cat([torch.linspace(-300, 300, 2001), torch.logspace(-4, 5, 200)])
    torch.testing.assert_close(h_inv(h(x)), x, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("support", SUPPORTS)
def test_what_is_coded_is_decoded_in_the_whole_range(support: Support) -> None:
    bins = support.bins
    x = torch.cat([bins, *(bins[:-1] + share * (bins[1:] - bins[:-1]) for share in (0.01, 0.3, 0.5, 0.99))])
    code = support.encode(x)
    assert torch.all(code >= 0) and torch.allclose(code.sum(-1), torch.ones(len(x)))
    assert torch.all((code > 1e-6).sum(-1) <= 2)
    torch.testing.assert_close(support.decode(torch.log(code)), x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("support", SUPPORTS)
def test_a_prediction_stands_for_its_expectation_in_units_of_the_environment(support: Support) -> None:
    """One time in ten 200 is 20 in the mean, whatever the bins are spaced by."""
    low, high = float(support.bins[0]), float(support.bins[-1])
    rare, usual = 0.8 * high, 0.1 * low
    code = support.encode(torch.tensor([rare, usual]))
    mixed = 0.1 * code[0] + 0.9 * code[1]
    expected = 0.1 * rare + 0.9 * usual
    assert float(support.decode(torch.log(mixed))) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("support", [s for s in SUPPORTS if s.low == -s.high])
def test_what_is_as_good_as_bad_is_worth_nothing_at_all(support: Support) -> None:
    """Large numbers of both signs cancel to the last bit."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, support.num_bins, generator=generator)
    assert torch.equal(support.decode(logits + logits.flip(-1)), torch.zeros(50))
    assert support.decode(torch.zeros(support.num_bins)) == 0.0


def test_decoding_is_exact_where_the_network_runs_in_bf16() -> None:
    support = Support(-12, 12, 81, "symlog")
    code = torch.log(support.encode(torch.tensor([3.3, 1000.7])))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = support.decode(code)
    torch.testing.assert_close(value, torch.tensor([3.3, 1000.7]))


def test_two_hot_shares_the_weight_by_nearness_and_clips() -> None:
    support = Support(-1, 1, 3, False)
    code = support.encode(torch.tensor([-1.0, 0.25, 1.0, 5.0, -7.0]))
    expected = [[1, 0, 0], [0, 0.75, 0.25], [0, 0, 1], [0, 0, 1], [1, 0, 0]]
    torch.testing.assert_close(code, torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("support", [Support(-12.0, 12.0, 49, True), Support(-12, 12, 81, "symlog")])
@pytest.mark.parametrize("scalar", [-40.0, 0.0, 0.3, 100.0])
def test_a_bump_stands_for_its_scalar(support: Support, scalar: float) -> None:
    assert float(support.decode(support.bump(scalar))) == pytest.approx(scalar, rel=1e-3, abs=1e-3)


def test_a_bump_outside_the_support_is_at_its_end() -> None:
    support = Support(-1.0, 1.0, 21, False)
    assert 0.8 < float(support.decode(support.bump(7.0))) <= 1.0


def test_what_the_bins_do_not_reach_is_counted() -> None:
    support = Support(-1, 1, 3, False)
    assert support.outside(np.array([-1.0, 1.0, 1.0 + 1e-6, 0.0], np.float32)) == 0.0
    assert support.outside(np.array([-1.5, 1.0, 0.0, 2.0], np.float32)) == 0.5


@pytest.mark.parametrize("transform", [False, True, "symlog"])
@pytest.mark.parametrize(("low", "high", "num_bins"), [(-12.0, 12.0, 81), (-12.0, 12.0, 80), (-5.0, 11.0, 31)])
def test_the_planner_has_the_same_bins(transform: Transform, low: float, high: float, num_bins: int) -> None:
    ours, theirs = (
        make(low, high, num_bins, transform) for make in (Support, mcts.CategoricalSupport)
    )  # what their logits stand for
    np.testing.assert_array_equal(ours.bins.numpy(), theirs.numbers.astype(np.float32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": -50.0, "high": 50.0, "num_bins": 101, "transform": "symlog"}, "symlog from -40 to 40"),
        ({"low": 1e9, "high": 1e9 + 1.0, "num_bins": 5, "transform": False}, "too close"),
        ({"low": -1.0, "high": 1.0, "num_bins": 5, "transform": "log"}, "symlog"),
    ],
)
def test_bins_that_are_no_bins_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SupportConfig(**settings)
