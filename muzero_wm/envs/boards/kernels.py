"""How a game is told to Numba: row layout, kernel signatures, and the decorators that compile them.

A game is one int64 row and four kernels over it (`games/` holds one file for each game). The first two entries of every
row mean the same in all games; the rest is the game's own:

    row[PLIES]    moves played so far; its parity is the seat to move
    row[STATUS]   IN_PLAY, or how the game ended for the player who moved last: WON, LOST, DRAWN, or SCORED, and then
                  the last entry of the row is the result in millionths, from -UNIT to UNIT

Where an observation has the player's stones, they are plane 0, and the opponent's plane 1. Where moves are cells, their
numbers are row * width + column; a pass has the number height * width, further moves come behind it. A pass is a move
like others: turns alternate strictly. Whatever else the rules must remember (earlier positions, for a ko) stands in the
row. Rows come back from checkpoints, so a kernel uses no entry as an index that it has not bounded; sizes are constants
of a kernel that is made for one size (`games/othello.py` shows how), which is also faster.

Kernels reach the batch code (`batch.py` and others) as typed function pointers, not as closures: the batch code is
compiled once for all games, a new game compiles only its own few lines, and machine code cached on disk cannot go stale
when another file changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import cfunc, njit, types

from muzero_wm.basis.compiling import Function, cached

PLIES, STATUS = 0, 1
IN_PLAY, WON, LOST, DRAWN, SCORED = 0, 1, -1, 2, 3
UNIT = 1_000_000

ROW = types.int64[::1]
RESET = types.void(ROW)
STEP = types.void(ROW, types.int64)
LEGAL = types.void(ROW, types.boolean[::1])
OBSERVE = types.void(ROW, types.uint8[:, :, ::1])
RANDOM = types.uint64(types.uint64[::1], types.int64)


def pointer(signature: Any) -> Any:
    """Returns the type of an argument that takes a kernel of this signature."""
    return types.FunctionType(signature)


def kernel(signature: Any) -> Callable[[Function], Any]:
    """Compiles a function into a kernel that other compiled code takes as an argument.

    Kernels must not raise: there is nobody to catch.

    Args:
        signature: RESET, STEP, LEGAL, OBSERVE or RANDOM.

    Returns:
        A decorator.
    """
    return cached(cfunc, signature)


def compiled(signature: Any) -> Callable[[Function], Any]:
    """Compiles a function that Python calls, for one signature, without holding the GIL.

    Args:
        signature: types of the result and of all arguments.

    Returns:
        A decorator.
    """
    return cached(njit, signature, nogil=True)


@njit
def result_of(row):  # type: ignore[no-untyped-def]
    """Returns what the player who moved last has won, in [-1, 1]; 0 for a game in play."""
    status = row[STATUS]
    if status == SCORED:
        return min(max(row[row.shape[0] - 1] / UNIT, -1.0), 1.0)
    return 1.0 if status == WON else (-1.0 if status == LOST else 0.0)


@kernel(RANDOM)
def next_random(streams, i):  # type: ignore[no-untyped-def]
    """Returns the next 64 random bits of stream i (splitmix64; Steele et al., OOPSLA 2014)."""
    streams[i] += types.uint64(0x9E3779B97F4A7C15)
    x = streams[i]
    x = (x ^ (x >> types.uint64(30))) * types.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> types.uint64(27))) * types.uint64(0x94D049BB133111EB)
    return x ^ (x >> types.uint64(31))
