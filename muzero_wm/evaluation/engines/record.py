"""The moves that a game in a batch has come by, which is how other programs are told of a position."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import UserError
from muzero_wm.envs import BatchedEnv, Step
from muzero_wm.envs.adapters.openspiel import OpenSpielEnv
from muzero_wm.envs.boards.board import BoardEnv
from muzero_wm.envs.slots.slots import SlotEnv


def moves_so_far(env: BatchedEnv, step: Step, row: int) -> list[int]:
    """Returns actions that lead from the first position to the present one.

    Built-in boards keep their stones and not their moves: there it is one of the orders in which the same stones come
    to stand, which is the same position wherever stones stay where they are.

    Args:
        env: the games.
        step: the latest step of all.
        row: of the game.

    Returns:
        The actions; who played them takes turns.

    Raises:
        UserError: this environment does not say.
    """
    if isinstance(env, BoardEnv):
        seats = np.zeros(step.observation.shape[2:], np.int64) - 1
        to_play = int(step.to_play[row])
        for plane, seat in enumerate((to_play, 1 - to_play)):
            seats[step.observation[row, plane] > 0] = seat
        return falling_order(seats) if env.spec.num_actions == env.game.width else placing_order(seats)
    single = env.envs[row] if isinstance(env, SlotEnv) else None
    if not isinstance(single, OpenSpielEnv):
        raise UserError(f"{env.spec.name}: the moves of its games are not known, so engines cannot play it")
    return single.moves


def placing_order(seats: NDArray[np.int64]) -> list[int]:
    """Returns in which order stones were put on a board, by turns.

    Args:
        seats: [H, W] whose stone stands there, -1 where none does; seat 0 began.

    Returns:
        Cells, the top row first.
    """
    first, second = (np.flatnonzero(seats == seat).tolist() for seat in (0, 1))
    return [cell for pair in zip(first, second, strict=False) for cell in pair] + first[len(second) :]


def falling_order(seats: NDArray[np.int64]) -> list[int]:
    """Returns an order in which stones fell into columns, by turns.

    Args:
        seats: [H, W] whose stone lies there, -1 where none does; the bottom row is the last, seat 0 began.

    Returns:
        Columns.
    """
    stacks = [[seat for seat in column[::-1].tolist() if seat >= 0] for column in seats.T]
    total = sum(map(len, stacks))
    heights, order, tried = [0] * len(stacks), list[int](), {(0,) * len(stacks)}
    while len(order) < total:
        for column, stack in enumerate(stacks):
            if heights[column] < len(stack) and stack[heights[column]] == len(order) % 2:
                heights[column] += 1
                if tuple(heights) not in tried:
                    tried.add(tuple(heights))
                    order.append(column)
                    break
                heights[column] -= 1
        else:
            heights[order.pop()] -= 1  # a dead end
    return order
