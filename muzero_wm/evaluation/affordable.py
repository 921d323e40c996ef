"""Which opponent a two-player agent meets when none is named, by the time there is.

Without a limit it is the strongest that is usual; on the command line the strongest there is time for, which is
measured; between two rounds of training one that can be met in seconds. One of the user's own is always named.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

import numpy as np

from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.envs import EnvSpec
from muzero_wm.evaluation.opponents import MctsPlayer, RandomPlayer

SECONDS = 60.0  # that an opponent may think, in all games together
_PLAYOUTS = (1000, 500, 200, 100, 50, 20)
_TRIED = 10  # playouts that are timed
_QUICK = ("tictactoe", "connect4")  # there is always time for it there
_PATIENT_MOVES, _PATIENT_SECONDS = 500, 2.0


def default_opponent(env_name: str) -> str:
    """Returns the opponent however long it thinks."""
    return "perfect" if env_name == "tictactoe" else "mcts:1000"


def quick_opponent(env_name: str) -> str:
    """Returns the opponent that can be met in seconds, whatever the environment."""
    return "mcts:100" if envs.is_built_in(env_name) else "random"


def affordable_opponent(spec: EnvSpec, games: int, tell: Callable[[str], None], seconds: float = SECONDS) -> str:
    """Returns the opponent for an evaluation in which none was named.

    Args:
        spec: an environment of two players.
        games: how many will be played with the search, and as many without.
        tell: called with a line where it is not the usual one, or which one and why.
        seconds: that the opponent may think in all.

    Returns:
        The usual one for tictactoe and connect4, else "mcts:N" with as many playouts as there is time for, or
        "random".
    """
    usual = default_opponent(spec.name)
    if spec.name in _QUICK:
        return usual
    try:
        playout, moves = _measured(spec)
    except UserError as error:
        tell(f"The opponent is random: {error}")
        return "random"
    opponent = strongest(playout * moves * games, seconds)  # two matches, in which half of the moves are its own
    if opponent != usual:
        tell(
            f"The opponent is {opponent}: a playout of {spec.name} takes {1e3 * playout:.2g} ms, so {usual} would "
            f"think for {1000 * playout * moves * games / 60:.0f} minutes; --opponent names another."
        )
    return opponent


def strongest(seconds_per_playout: float, seconds: float) -> str:
    """Returns the opponent with the most playouts a move within a time.

    Args:
        seconds_per_playout: for one playout in every move of all games.
        seconds: that it may think in all.
    """
    fitting = (n for n in _PLAYOUTS if n * seconds_per_playout <= seconds)
    n = next(fitting, 0)
    return f"mcts:{n}" if n else "random"


def _measured(spec: EnvSpec) -> tuple[float, int]:
    """Returns the seconds of a playout from the first position, and the moves of a random game."""
    with closing(envs.make(spec.name, 1)) as env:
        step, row = env.reset(), np.zeros(1, np.int64)
        MctsPlayer(1, 0).actions(env, step, row)  # what is loaded or compiled at the first use
        start = time.monotonic()
        MctsPlayer(_TRIED, 0).actions(env, step, row)
        playout = (time.monotonic() - start) / _TRIED
        player, start = RandomPlayer(0), time.monotonic()
        moves = 0
        while moves < _PATIENT_MOVES:
            step = env.step(player.actions(env, step, row))
            moves += 1
            if step.terminated[0] or step.truncated[0] or time.monotonic() - start > _PATIENT_SECONDS:
                break
        return playout, moves
