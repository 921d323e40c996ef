"""The random numbers of `mcts._random` in Triton: hashes of a root's key, a purpose and an index.

The bits are those of the host; logarithms may differ in their last digit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from mcts import _random
from mcts.device.formulas import INF

_GOLDEN = tl.constexpr(0x9E3779B97F4A7C15)
_PURPOSE_STEP = tl.constexpr(0xD1342543DE82EF95)
_FIRST = tl.constexpr(0xBF58476D1CE4E5B9)
_SECOND = tl.constexpr(0x94D049BB133111EB)
_MAX_ATTEMPTS = tl.constexpr(64)
_BOOST = tl.constexpr(16)
_DIRICHLET = tl.constexpr(_random.DIRICHLET)
_TURN = tl.constexpr(6.283185307179586)


@triton.jit
def _mix(x):
    x = (x ^ (x >> 30)) * _FIRST
    x = (x ^ (x >> 27)) * _SECOND
    return x ^ (x >> 31)


@triton.jit
def _draw(keys, purpose, index):
    """Returns uniform bits; all three are uint64 tensors of one shape."""
    return _mix(_mix(keys + purpose * _PURPOSE_STEP) + (index + 1) * _GOLDEN)


@triton.jit
def _unit(bits):
    """Returns uniform numbers in (0, 1), float64."""
    return ((bits >> 12).to(tl.float64) + 0.5) * 2.220446049250313e-16


@triton.jit
def _gumbel(keys, noise, num_actions, PURPOSE: tl.constexpr, BLOCK: tl.constexpr):
    root = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    index = lanes.to(tl.uint64)
    key = index * 0 + tl.load(keys + root).to(tl.uint64, bitcast=True)
    numbers = -tl.log(-tl.log(_unit(_draw(key, index * 0 + PURPOSE, index))))
    tl.store(noise + root * num_actions + lanes, numbers, mask=lanes < num_actions)


@triton.jit
def _dirichlet(keys, alpha, invalid, noise, num_actions, BLOCK: tl.constexpr):
    """Gammas by Marsaglia and Tsang (2000) in the logarithm, with Gamma(a) = Gamma(a + 1) * U ** (1 / a)."""
    root = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    inside = lanes < num_actions
    row = root * num_actions + lanes
    index = lanes.to(tl.uint64)
    none = index * 0
    key = none + tl.load(keys + root).to(tl.uint64, bitcast=True)
    shape = tl.load(alpha)
    d = shape + 1.0 - 1.0 / 3.0
    c = 1.0 / tl.sqrt(9.0 * d)
    seed = _draw(key, none + _DIRICHLET, index)
    waiting = inside
    gammas = tl.zeros([BLOCK], tl.float64)
    attempt = none
    num_attempts = 0
    while (tl.max(waiting.to(tl.int32), axis=0) > 0) & (num_attempts < _MAX_ATTEMPTS):
        radius = tl.sqrt(-2.0 * tl.log(_unit(_draw(seed, attempt, none))))
        normal = radius * tl.cos(_unit(_draw(seed, attempt, none + 1)) * _TURN)
        base = 1.0 + c * normal
        cube = tl.where(base > 0.0, base * base * base, 1.0)
        limit = 0.5 * normal * normal + d * (1.0 - cube + tl.log(cube))
        accepted = waiting & (base > 0.0) & (tl.log(_unit(_draw(seed, attempt, none + 2))) < limit)
        gammas = tl.where(accepted, tl.log(d * cube), gammas)
        waiting = waiting & (accepted == 0)
        attempt += 1
        num_attempts += 1
    gammas += tl.log(_unit(_draw(key, none + (_DIRICHLET + _BOOST), index))) / shape
    legal = tl.load(invalid + row, mask=inside, other=1) == 0
    gammas = tl.where(legal, gammas, -INF)
    weight = tl.exp(gammas - tl.max(gammas, axis=0))
    tl.store(noise + row, weight / tl.sum(weight, axis=0), mask=inside)


def draw_gumbel(keys: torch.Tensor, purpose: int, out: torch.Tensor) -> None:
    """Fills [B, A] float64 with standard Gumbel noise.

    Args:
        keys: [B] int64, the bits of the roots' keys.
        purpose: of `mcts._random`.
        out: what is filled.
    """
    num_actions = out.shape[1]
    _gumbel[(len(out),)](keys, out, num_actions, PURPOSE=purpose, BLOCK=triton.next_power_of_2(num_actions))


def draw_dirichlet(keys: torch.Tensor, alpha: torch.Tensor, invalid: torch.Tensor, out: torch.Tensor) -> None:
    """Fills [B, A] float64 with Dirichlet noise over the allowed actions, 0 elsewhere.

    Args:
        keys: [B] int64, the bits of the roots' keys.
        alpha: [1] float64, the concentration.
        invalid: [B, A] int8, 1 where forbidden.
        out: what is filled.
    """
    num_actions = out.shape[1]
    _dirichlet[(len(out),)](keys, alpha, invalid, out, num_actions, BLOCK=triton.next_power_of_2(num_actions))
