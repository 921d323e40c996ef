"""Numba loops over a batch of games, the same for every game: each takes the game's kernels as arguments."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from numba import njit, types

from muzero_wm.envs.boards.kernels import (
    IN_PLAY,
    LEGAL,
    OBSERVE,
    PLIES,
    RANDOM,
    RESET,
    STATUS,
    STEP,
    compiled,
    pointer,
    result_of,
)

_ROWS = types.int64[:, ::1]
_MASKS = types.boolean[:, ::1]
_PLANES = types.uint8[:, :, :, ::1]
_MOVES = types.int32[:, ::1]


@njit
def _uniform(draw, streams, i):
    """Returns a float in [0, 1)."""
    return (draw(streams, i) >> types.uint64(11)) * 2.0**-53


@njit
def _below(draw, streams, i, bound):
    """Returns an integer in [0, bound)."""
    return types.int64(((draw(streams, i) >> types.uint64(32)) * types.uint64(bound)) >> types.uint64(32))


@njit
def _random_move(legal, draw, row, mask, streams, i):
    """Returns a uniformly random legal move; `mask` is scratch."""
    legal(row, mask)
    count = 0
    for a in range(mask.shape[0]):
        count += mask[a]
    left = _below(draw, streams, i, count)
    for a in range(mask.shape[0]):
        if mask[a]:
            if left == 0:
                return a
            left -= 1
    return -1


@njit
def _new_game(reset, step, legal, draw, row, mask, moves, streams, i, opening_share, max_random_plies):
    """Sets up one row: the start, or with probability `opening_share` what follows random moves, kept in `moves`."""
    reset(row)
    if opening_share <= 0.0 or _uniform(draw, streams, i) >= opening_share:
        return
    while True:
        # A length is drawn again after a game that ended, so that this cannot go on for ever.
        plies = 1 + _below(draw, streams, i, max_random_plies)
        while plies > 0 and row[STATUS] == IN_PLAY:
            move, ply = _random_move(legal, draw, row, mask, streams, i), row[PLIES]
            if 0 <= ply < moves.shape[0]:
                moves[ply] = move
            step(row, move)
            plies -= 1
        if row[STATUS] == IN_PLAY:
            return
        reset(row)


@compiled(
    types.void(
        pointer(RESET), pointer(STEP), pointer(LEGAL), pointer(RANDOM),
        _ROWS, _MASKS, _MOVES, types.uint64[::1], types.float64, types.int64,
    )
)  # fmt: skip
def new_games(reset, step, legal, draw, states, masks, moves, streams, opening_share, max_random_plies):
    """Sets up every row and the moves that led there; `masks` is scratch of the legal moves' shape."""
    for i in range(states.shape[0]):
        _new_game(reset, step, legal, draw, states[i], masks[i], moves[i], streams, i, opening_share, max_random_plies)


@compiled(types.void(pointer(LEGAL), pointer(OBSERVE), _ROWS, _MASKS, _PLANES, types.int8[::1]))
def look(legal, observe, states, legal_actions, observation, to_play):
    """Fills in what the player to move sees in every row."""
    for i in range(states.shape[0]):
        legal(states[i], legal_actions[i])
        observe(states[i], observation[i])
        to_play[i] = states[i, PLIES] & 1


@compiled(
    types.int64(pointer(STEP), pointer(LEGAL), _ROWS, types.int64[::1], _MASKS, types.float32[::1], types.boolean[::1])
)
def play(step, legal, states, actions, masks, reward, terminated):
    """Plays one move in every row, unless one is illegal: returns its index then, else -1. `masks` is scratch."""
    for i in range(states.shape[0]):
        legal(states[i], masks[i])
        if states[i, STATUS] != IN_PLAY or not masks[i, actions[i]]:
            return i
    for i in range(states.shape[0]):
        step(states[i], actions[i])
        terminated[i] = states[i, STATUS] != IN_PLAY
        reward[i] = result_of(states[i])
    return -1


@compiled(
    types.void(
        pointer(RESET), pointer(STEP), pointer(LEGAL), pointer(OBSERVE), pointer(RANDOM),
        _ROWS, types.boolean[::1], _MASKS, _PLANES, _MOVES, types.uint64[::1], types.float64, types.int64,
    )
)  # fmt: skip
def next_games(
    reset, step, legal, observe, draw,
    states, terminated, masks, final_observation, moves, streams, opening_share, max_random_plies,
):  # fmt: skip
    """Shows the last position of every game that ended and sets up the next; `masks` is scratch."""
    for i in range(states.shape[0]):
        if terminated[i]:
            observe(states[i], final_observation[i])
            _new_game(
                reset, step, legal, draw, states[i], masks[i], moves[i], streams, i, opening_share, max_random_plies
            )
