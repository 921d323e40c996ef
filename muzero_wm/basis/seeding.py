"""Independent random streams, named by what they are for.

Every stream follows from (seed, purpose, id, counter), so results depend neither on batch order nor on timing, and a
resumed run goes on with streams it has not used.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns the splitmix64 finaliser of x (Steele et al., OOPSLA 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def derive_seed(seed: int, purpose: str) -> int:
    """Returns a 63-bit seed that depends on both arguments.

    Args:
        seed: the run's seed, >= 0.
        purpose: what the stream is for, for example "actor".

    Returns:
        An integer in [0, 2**63).
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def stream_keys(seed: int, purpose: str, ids: ArrayLike, counters: ArrayLike = 0) -> NDArray[np.uint64]:
    """Returns one independent key per row.

    Args:
        seed: the run's seed, >= 0.
        purpose: what the streams are for.
        ids: [n] integers, for example environment slots.
        counters: [n] or scalar integers, for example the number of the move.

    Returns:
        [n] uint64 keys; equal rows give equal keys whatever the batch they stand in.
    """
    base = np.uint64(derive_seed(seed, purpose))
    with np.errstate(over="ignore"):
        rows = _mix(np.asarray(ids, np.uint64) * _GOLDEN + base)
        return np.atleast_1d(_mix(rows + (np.asarray(counters, np.uint64) + np.uint64(1)) * _GOLDEN))


def episode_seeds(seed: int, slots: ArrayLike, episodes: ArrayLike) -> NDArray[np.int64]:
    """Returns the seed of each episode, small enough for every environment.

    Slot and number of the episode are laid side by side in 31 bits and scrambled by a permutation that the run's seed
    chooses, so no two of the first 2**20 episodes of the first 2**11 slots share a seed.

    Args:
        seed: the environments' seed, >= 0.
        slots: [n] integers.
        episodes: [n] integers, how many episodes the slot has begun before.

    Returns:
        [n] int64 in [0, 2**31).
    """
    mask = np.uint64(2**31 - 1)
    base = derive_seed(seed, "episodes")
    x = ((np.asarray(slots, np.uint64) << np.uint64(20)) + np.asarray(episodes, np.uint64)) & mask
    for turn in range(4):
        # adding, multiplying by an odd number and xoring with a right shift are each one-to-one on 31 bits
        key = np.uint64(derive_seed(base, f"{turn}") & int(mask))
        x = ((x + key) * np.uint64(0x2C1B3C6D)) & mask
        x ^= x >> np.uint64(15)
    return np.atleast_1d(x.astype(np.int64))


def pick(allowed: NDArray[np.bool_], keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Returns a uniformly random allowed move in every row.

    Args:
        allowed: [n, A] bool, at least one in every row.
        keys: [n] uint64 random bits.

    Returns:
        [n] moves.
    """
    left = (keys % allowed.sum(axis=1).astype(np.uint64)).astype(np.int64)
    return (allowed.cumsum(axis=1) > left[:, None]).argmax(axis=1)
