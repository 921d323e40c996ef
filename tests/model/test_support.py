"""Scalar transform and two-hot code."""

from __future__ import annotations

import math

import pytest
import torch

from muzero_wm.model.support import Support, h, h_inv


def textbook_h(x: float) -> float:
    return math.copysign(math.sqrt(abs(x) + 1) - 1, x) + 0.001 * x


def textbook_h_inv(y: float) -> float:
    inner = (math.sqrt(1 + 4 * 0.001 * (abs(y) + 1 + 0.001)) - 1) / (2 * 0.001)
    return math.copysign(inner**2 - 1, y)


@pytest.mark.parametrize("x", [0.0, 1e-3, 0.5, 1.0, 7.25, 300.0, 20_000.0])
def test_transform_follows_the_formula_and_is_odd(x: float) -> None:
    value = torch.tensor([x, -x], dtype=torch.float64)
    assert h(value).tolist() == pytest.approx([textbook_h(x), -textbook_h(x)], rel=1e-12)
    assert h_inv(value).tolist() == pytest.approx([textbook_h_inv(x), -textbook_h_inv(x)], rel=1e-9, abs=1e-12)


def test_inverse_undoes_the_transform_in_single_precision() -> None:
    x = torch.cat([torch.linspace(-300, 300, 2001), torch.logspace(-4, 5, 200)])
    torch.testing.assert_close(h_inv(h(x)), x, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("transform", [False, True])
def test_two_hot_round_trip_at_centres_between_and_at_both_ends(transform: bool) -> None:
    support = Support(-10, 10, 21, transform)
    scalars = support.bins if not transform else h_inv(support.bins)
    between = scalars[:-1] + 0.3 * (scalars[1:] - scalars[:-1])
    for x in (scalars, between):
        code = support.encode(x)
        assert torch.all(code >= 0) and torch.allclose(code.sum(-1), torch.ones(len(x)))
        assert torch.all((code > 1e-6).sum(-1) <= 2)
        torch.testing.assert_close(support.decode(torch.log(code)), x, rtol=1e-3, atol=1e-3)


def test_two_hot_shares_the_weight_by_nearness_and_clips() -> None:
    support = Support(-1, 1, 3, False)
    code = support.encode(torch.tensor([-1.0, 0.25, 1.0, 5.0, -7.0]))
    expected = [[1, 0, 0], [0, 0.75, 0.25], [0, 0, 1], [0, 0, 1], [1, 0, 0]]
    torch.testing.assert_close(code, torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("scalar", [-40.0, 0.0, 0.3, 100.0])
def test_a_bump_stands_for_its_scalar(scalar: float) -> None:
    support = Support(-12.0, 12.0, 49, True)
    assert float(support.decode(support.bump(scalar))) == pytest.approx(scalar, rel=0.03, abs=0.02)


def test_a_bump_outside_the_support_is_at_its_end() -> None:
    support = Support(-1.0, 1.0, 21, False)
    assert 0.8 < float(support.decode(support.bump(7.0))) <= 1.0
