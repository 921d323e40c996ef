"""Games between two players, side by side: every game is one slot of one batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.basis.seeding import pick, stream_keys
from muzero_wm.envs import BatchedEnv, Step
from muzero_wm.evaluation.limits import step_limit
from muzero_wm.evaluation.players import GIVEN_UP, Forfeit, Player

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class GaveUp:
    """A game that somebody gave up.

    Attributes:
        by_opponent: it was the opponent, not the player under test.
        forfeit: which game, when and why.
    """

    by_opponent: bool
    forfeit: Forfeit

    def to_dict(self) -> dict[str, Any]:
        """Returns who, which game, when and why, ready for JSON."""
        by = "opponent" if self.by_opponent else "player"
        return {"by": by, "game": self.forfeit.row, "ply": self.forfeit.ply, "reason": self.forfeit.reason}


@dataclass(frozen=True)
class Games:
    """What came of some games, from the view of the player under test.

    Attributes:
        seat: [n] int8, where the player sat: 0 moves first.
        result: [n] float64, what the player has won and the opponent lost; above 0 is a win.
        digests: [n] of first position, seat and moves; games that are alike move by move have the same.
        cut: [n] bool, the game reached the limit of moves and counts as drawn.
        forfeits: games that were given up.
        moves: that were played in all games together, random openings apart.
    """

    seat: NDArray[np.int8]
    result: NDArray[np.float64]
    digests: list[bytes]
    cut: NDArray[np.bool_]
    forfeits: tuple[GaveUp, ...]
    moves: int


def play_games(
    env_name: str,
    player: Player,
    opponent: Player,
    opening: NDArray[np.int64],
    seat: NDArray[np.int8],
    seed: int = 0,
    progress: Progress | None = None,
    *,
    opening_plies: int = 0,
    max_steps: int | None = None,
) -> Games:
    """Plays games side by side.

    Args:
        env_name: a two-player environment.
        player: the player under test.
        opponent: the other one.
        opening: [n] which opening each game begins with; the same number is the same random moves.
        seat: [n] int8, the player's seat in each game.
        seed: seed of the environment and of the openings.
        progress: called as progress(finished, games) after every move of the batch.
        opening_plies: random legal moves at the beginning of every game; one that is over before begins anew.
        max_steps: moves after which a game is drawn; None for the environment's own limit, or 5000 where it states
            none.

    Returns:
        What came of them.

    Raises:
        UserError: the environment is not for two players.
    """
    games = len(seat)
    with closing(envs.make(env_name, games, seed)) as env:
        if env.spec.num_players != 2:
            raise UserError(f"a match needs a two-player environment, {env_name} has {env.spec.num_players} player")
        limit = step_limit(env.spec, max_steps)
        step, length = _open(env, opening, opening_plies, seed)
        result = np.zeros(games)
        playing, cut = np.ones(games, np.bool_), np.zeros(games, np.bool_)
        digests = [hashlib.blake2b(step.observation[i].tobytes() + seat[i].tobytes()) for i in range(games)]
        told = [len(_forfeits(each)) for each in (player, opponent)]
        given_up: list[tuple[bool, int, int]] = []
        moves = 0
        while True:
            mine = step.to_play == seat
            actions = step.legal_actions.argmax(axis=1)  # slots whose game is over idle along in a new one
            moving = playing.copy()
            for other, mover, turn in ((False, player, mine), (True, opponent, ~mine)):
                rows = np.flatnonzero(moving & turn)
                if not rows.size:
                    continue
                chosen = np.asarray(mover.actions(env, step, rows))
                lost = rows[chosen == GIVEN_UP]
                given_up += [(other, int(row), int(length[row])) for row in lost]
                result[lost] = 1.0 if other else -1.0
                playing[lost] = False
                actions[rows[chosen != GIVEN_UP]] = chosen[chosen != GIVEN_UP]
            for i in np.flatnonzero(moving):
                digests[i].update(actions[i].tobytes() if playing[i] else b"given up")
            moves += int(playing.sum())
            step = env.step(actions)
            length += 1
            result += playing * np.where(mine, step.reward, -step.reward)
            playing &= ~(step.terminated | step.truncated)
            late = playing & (length >= limit)
            cut |= late
            result[late] = 0.0
            playing &= ~late
            if progress is not None:
                progress(int(games - playing.sum()), games)
            if not playing.any():
                break
    reasons = [
        {each.row: each.reason for each in _forfeits(one)[before:]}
        for one, before in zip((player, opponent), told, strict=True)
    ]
    forfeits = tuple(
        GaveUp(other, Forfeit(row, ply, reasons[other].get(row, "no reason given"))) for other, row, ply in given_up
    )
    # partial rewards of 0.1 add up to nothing only almost
    return Games(seat, result.round(6), [game.digest() for game in digests], cut, forfeits, moves)


def _forfeits(player: Player) -> list[Forfeit]:
    found: list[Forfeit] = getattr(player, "forfeits", [])
    return found


def _open(env: BatchedEnv, opening: NDArray[np.int64], plies: int, seed: int) -> tuple[Step, NDArray[np.int64]]:
    """Begins all games with random moves, the same ones where `opening` [n] is the same.

    Returns:
        Where they lead, and [n] the moves of each game: fewer where one was over during its opening and began anew.
    """
    step, length = env.reset(), np.zeros(len(opening), np.int64)
    for ply in range(plies):
        step = env.step(pick(step.legal_actions, stream_keys(seed, "evaluation/opening", opening, ply)))
        length = np.where(step.terminated | step.truncated, 0, length + 1)
    return step, length
