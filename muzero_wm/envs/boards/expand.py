"""The next positions of a search in which the rules are the model: one loop over rows, without holding the GIL.

A pool holds the positions of all nodes, row `node * batch + root` is one. Behind the end of a game nothing moves: a
position that is over leads to itself.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np
from numba import types

from muzero_wm.envs.boards.kernels import IN_PLAY, LEGAL, OBSERVE, STATUS, STEP, compiled, pointer, result_of

_INDICES, _LOGITS = types.int32[::1], types.float32[:, ::1]
_FLAGS, _FLOATS = types.boolean[::1], types.float32[::1]


@compiled(
    types.void(
        pointer(STEP), pointer(LEGAL), pointer(OBSERVE),
        types.int64[:, ::1], _INDICES, _INDICES, types.int64, types.int64,
        _FLOATS, _FLAGS, types.boolean[:, ::1], types.uint8[:, :, :, ::1],
    )
)  # fmt: skip
def expand(step, legal, observe, pool, parent, action, batch, first, reward, over, masks, observation):
    """Plays one legal move from the position of a node of every root, and shows where it leads.

    Row r belongs to root r mod `batch`; what it leads to becomes row `first + r` of the pool. `masks` says nothing
    where the game is over.
    """
    for r in range(action.shape[0]):
        row = pool[first + r]
        row[:] = pool[parent[r] * batch + r % batch]
        reward[r] = 0.0
        if row[STATUS] == IN_PLAY:
            step(row, action[r])
            reward[r] = result_of(row)
        over[r] = row[STATUS] != IN_PLAY
        if not over[r]:
            legal(row, masks[r])
        observe(row, observation[r])


@compiled(types.void(_FLAGS, types.boolean[:, ::1], types.float64, _LOGITS, _FLOATS, _FLOATS))
def settle(over, masks, sign, logits, value, discount):
    """Puts the rules in the place of what a network says of rows: no illegal move, and no value behind the end.

    Of a game that is over all moves are alike: they lead nowhere, and some number has to be finite.
    """
    for r in range(over.shape[0]):
        discount[r] = 0.0 if over[r] else sign
        if over[r]:
            value[r] = 0.0
        for a in range(logits.shape[1]):
            if over[r]:
                logits[r, a] = 0.0
            elif not masks[r, a]:
                logits[r, a] = -np.inf
