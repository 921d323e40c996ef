"""The moves that a game in a batch has come by, which is how other programs are told of a position."""

from __future__ import annotations

from muzero_wm.basis.errors import UserError
from muzero_wm.envs import BatchedEnv
from muzero_wm.envs.adapters.openspiel import OpenSpielEnv
from muzero_wm.envs.boards.board import BoardEnv
from muzero_wm.envs.boards.kernels import PLIES
from muzero_wm.envs.slots.slots import SlotEnv


def moves_so_far(env: BatchedEnv, row: int) -> list[int]:
    """Returns the actions that led from the first position to the present one, those of random openings too.

    Args:
        env: the games.
        row: of the game.

    Returns:
        The actions; who played them takes turns.

    Raises:
        UserError: this environment does not say, or the game was restored from a checkpoint.
    """
    if isinstance(env, BoardEnv):
        moves: list[int] = env.moves[row, : env.states[row, PLIES]].tolist()
        if -1 in moves:
            raise UserError(f"{env.spec.name}: a game that was restored does not know its moves, engines cannot go on")
        return moves
    single = env.envs[row] if isinstance(env, SlotEnv) else None
    if not isinstance(single, OpenSpielEnv):
        raise UserError(f"{env.spec.name}: the moves of its games are not known, so engines cannot play it")
    return single.moves
