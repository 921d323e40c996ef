"""Positions to be asked about: drawn by a seed, all different, evenly over the length of a game."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import UserError
from muzero_wm.basis.seeding import derive_seed
from muzero_wm.envs.boards.board import BoardGame, States
from muzero_wm.evaluation.minimax import after_all, layers_of

MOST_LISTED = 2_000
MOST_GAMES = 1_000_000
_FEWEST_AT_ONCE, _MOST_AT_ONCE = 256, 65_536


def draw_positions(game: BoardGame, count: int, seed: int = 0) -> States:
    """Draws positions in play, as many after each number of plies as after any other, as far as there are so many.

    From the first position on, as long as a ply has at most `MOST_LISTED` positions, they are listed and drawn evenly.
    Later ones are those of random games that last so long, one position of each game. Where so few games last that long
    that `MOST_GAMES` do not bring what is wanted, there are fewer.

    Args:
        game: the rules.
        count: number of positions, >= 1.
        seed: of the draw.

    Returns:
        [n, W] rows in order of their plies; n is `count`, or less where the game has no more.

    Raises:
        UserError: `count` is below 1.
    """
    if count < 1:
        raise UserError(f"positions must be at least 1, got {count}")
    listed = list(layers_of(game, MOST_LISTED))
    goes_on = len(after_all(game, listed[-1])) > 0
    sizes = np.array([*map(len, listed), *[count] * (game.max_plies - len(listed) if goes_on else 0)])
    drawn = []
    for ply, wanted in enumerate(even_shares(sizes, count).tolist()):
        rng = np.random.default_rng(derive_seed(seed, f"evaluation/positions/{ply}"))
        if ply < len(listed):
            drawn.append(listed[ply][np.sort(rng.permutation(len(listed[ply]))[:wanted])])
        else:
            drawn.append(_of_random_games(game, ply, wanted, rng))
    return np.concatenate(drawn)


def even_shares(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Shares out a number as evenly as some limits allow.

    Args:
        sizes: [n], how much each can take.
        count: is shared out.

    Returns:
        [n], adding up to `count`, or to all there is room for. What cannot be shared evenly goes to the last ones.
    """
    shares = np.zeros_like(sizes)
    for place, i in enumerate(np.argsort(sizes, kind="stable")):  # the smallest first, the others share what is left
        shares[i] = min(sizes[i], (count - shares.sum()) // (len(sizes) - place))
    return shares


def _of_random_games(game: BoardGame, plies: int, wanted: int, rng: np.random.Generator) -> States:
    """Returns positions [<= wanted, W] after so many random moves, all different."""
    found: dict[bytes, States] = {}
    games, at_once = 0, _FEWEST_AT_ONCE
    while len(found) < wanted and games < MOST_GAMES:
        states = game.first_states(at_once)
        for _ in range(plies):
            legal = game.legal_actions(states)
            states = game.play(states, (legal * (1.0 - rng.random(legal.shape))).argmax(axis=1))
            states = states[~game.outcome(states)[0]]
        for row in states:
            if len(found) < wanted:
                found.setdefault(row.tobytes(), row)
        games += at_once
        at_once = min(2 * at_once, _MOST_AT_ONCE)
    return np.array(list(found.values()), np.int64).reshape(-1, game.state_width)
