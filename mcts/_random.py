"""Random numbers addressed by (root, purpose, index) instead of drawn in sequence.

Each root owns a 64-bit key, and every number is a hash of the key and its address. So what one root receives depends
neither on the other roots of the batch nor on the order of evaluation.

Source: splitmix64 (Steele et al. 2014, "Fast splittable pseudorandom number generators").
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
import numpy.typing as npt

# Where it is not built, NumPy alone gives the same numbers, but for the rounding of logarithms.
_noise: Any = importlib.import_module("mcts._policy") if importlib.util.find_spec("mcts._policy") else None

UInt64Array = npt.NDArray[np.uint64]
FloatArray = npt.NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_PURPOSE_STEP = 0xD1342543DE82EF95
_MAX_ATTEMPTS = 64  # Marsaglia-Tsang accepts more than 95 % of its proposals: 64 rejections in a row do not happen.

# Purposes: independent streams under one key.
GUMBEL = 1
DIRICHLET = 2
ACTION = 3


def root_keys(rng: int | np.integer | np.random.Generator | npt.ArrayLike, num_roots: int) -> UInt64Array:
    """Returns one key per root.

    Args:
        rng: a seed (root b gets the key of (seed, b)), a NumPy generator (B keys are drawn from it), or the [B] uint64
            keys themselves, which make row b the same search whatever batch it is part of.
        num_roots: B.

    Returns:
        [B] uint64.

    Raises:
        TypeError: rng is none of the three.
        ValueError: rng is a negative seed or an array of the wrong shape.
    """
    if isinstance(rng, np.random.Generator):
        return rng.integers(0, 2**64, size=num_roots, dtype=np.uint64)
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool):
        if not 0 <= int(rng) < 2**64:
            raise ValueError(f"rng: expected a seed in [0, 2**64), got {int(rng)}")
        if _noise is not None:
            return _noise.seed_keys(int(rng), num_roots)
        return stream(_mix(np.full(1, int(rng), dtype=np.uint64)), 0, num_roots)[0]
    if isinstance(rng, np.ndarray):
        if rng.dtype.newbyteorder("=") != np.uint64:
            raise TypeError(f"rng: expected keys of dtype uint64, got {rng.dtype}")
        if rng.shape != (num_roots,):
            raise ValueError(f"rng: expected one key per root, shape ({num_roots},), got shape {rng.shape}")
        return np.array(rng, np.uint64, order="C")  # a copy: actions are drawn after the search
    raise TypeError(f"rng: expected an int, a numpy.random.Generator or a uint64 array, got {type(rng).__name__}")


def stream(keys: UInt64Array, purpose: int, length: int) -> UInt64Array:
    """Returns the first numbers of one stream of every key.

    Args:
        keys: [B] uint64.
        purpose: number of the stream.
        length: how many numbers per key.

    Returns:
        [B, length] uint64, uniform.
    """
    if _noise is not None:
        return _noise.stream(keys, purpose, length)
    base = _mix(keys + np.uint64(purpose * _PURPOSE_STEP % 2**64))
    steps = np.arange(1, length + 1, dtype=np.uint64) * _GOLDEN
    return _mix(base[:, None] + steps)


def to_unit(bits: UInt64Array) -> FloatArray:
    """Maps uniform bits to uniform numbers in the open interval (0, 1)."""
    return ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def gumbel(keys: UInt64Array, purpose: int, length: int) -> FloatArray:
    """Draws standard Gumbel noise, [B, length] float64."""
    if _noise is not None:
        return _noise.gumbel(keys, purpose, length)
    return -np.log(-np.log(to_unit(stream(keys, purpose, length))))


def dirichlet(keys: UInt64Array, alpha: float, legal: npt.NDArray[np.bool_]) -> FloatArray:
    """Draws symmetric Dirichlet noise over the legal actions of every root.

    Gammas are drawn in the logarithm (Marsaglia & Tsang 2000, with Gamma(a) = Gamma(a + 1) * U**(1/a) for small a), so
    that a small alpha does not underflow to a row of zeros.

    Args:
        keys: [B] uint64.
        alpha: concentration, > 0.
        legal: [B, A] bool, at least one per row.

    Returns:
        [B, A] float64, 0 for illegal actions, every row sums to 1.
    """
    if _noise is not None:
        return _noise.dirichlet(keys, alpha, legal)
    num_actions = legal.shape[1]
    log_gamma = _log_gamma_plus_one(stream(keys, DIRICHLET, num_actions), alpha)
    boost = np.log(to_unit(stream(keys, DIRICHLET + 16, num_actions))) / alpha
    log_weights = np.where(legal, log_gamma + boost, -np.inf)
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def _log_gamma_plus_one(seeds: UInt64Array, alpha: float) -> FloatArray:
    """Draws log Gamma(alpha + 1) for every seed, each from its own stream of proposals."""
    d = alpha + 1.0 - 1.0 / 3.0
    c = 1.0 / np.sqrt(9.0 * d)
    flat = seeds.ravel()
    result = np.zeros(flat.shape)
    pending = np.arange(flat.size)
    for attempt in range(_MAX_ATTEMPTS):
        draws = to_unit(stream(flat[pending], attempt, 3))
        normal = np.sqrt(-2.0 * np.log(draws[:, 0])) * np.cos(2.0 * np.pi * draws[:, 1])
        base = 1.0 + c * normal
        cube = np.where(base > 0.0, base, 1.0) ** 3
        accepted = (base > 0.0) & (np.log(draws[:, 2]) < 0.5 * normal**2 + d * (1.0 - cube + np.log(cube)))
        result[pending[accepted]] = np.log(d * cube[accepted])
        pending = pending[~accepted]
        if pending.size == 0:
            break
    return result.reshape(seeds.shape)


def _mix(x: UInt64Array) -> UInt64Array:
    """Hashes every element: the output function of splitmix64."""
    x = x ^ (x >> np.uint64(30))
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x
