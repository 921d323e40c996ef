"""How often the agent's move keeps what a Connect Four position is worth: one number, for training curves.

`grading.py` is the whole measure. The positions here are decisive ones only, and stay as they were: figures that were
published rest on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.seeding import derive_seed
from muzero_wm.envs import board_game
from muzero_wm.envs.boards.board import BoardGame, States
from muzero_wm.envs.boards.kernels import PLIES
from muzero_wm.evaluation.connect4_solver import connect_four_solver
from muzero_wm.evaluation.players import AgentPlayer, RawPolicyPlayer, SearchingAgent

FEWEST_PLIES, MOST_PLIES = 2, 30
_BATCH = 256


@dataclass(frozen=True)
class SolvedPositions:
    """Connect Four positions in which some legal moves keep the outcome of best play and others do not.

    Attributes:
        states: [n, W] rows.
        keeps: [n, 7] bool, the moves that keep the outcome (win, draw or loss).
    """

    states: States
    keeps: NDArray[np.bool_]


@lru_cache(maxsize=4)
def solved_positions(count: int = 1000, seed: int = 0) -> SolvedPositions:
    """Draws positions after 2 to 30 random plies (each number equally often) and solves them.

    Args:
        count: number of positions, all different.
        seed: seed of the random plies.

    Returns:
        The positions, kept in memory for the next call.

    Raises:
        UserError: bitbully is not installed.
    """
    solver = connect_four_solver()
    game = board_game("connect4")
    rng = np.random.default_rng(derive_seed(seed, "evaluation/solved"))
    found: dict[bytes, tuple[States, NDArray[np.bool_]]] = {}
    lengths = range(FEWEST_PLIES, MOST_PLIES + 1)
    for number in range(count):
        plies = lengths[number % len(lengths)]
        while True:
            row = _random_position(game, plies, rng)
            if row.tobytes() in found:
                continue
            scores = solver.move_scores(row)[0]
            legal = game.legal_actions(row)[0]
            keeps = legal & (np.sign(scores) == np.sign(scores.max()))
            if (legal & ~keeps).any():
                found[row.tobytes()] = (row, keeps)
                break
    return SolvedPositions(
        np.concatenate([row for row, _ in found.values()]), np.stack([keeps for _, keeps in found.values()])
    )


def share_kept(
    agent: SearchingAgent, num_simulations: int | None = None, *, count: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Measures in how many solved positions the agent's move keeps the outcome, with search and without.

    Args:
        agent: a Connect Four agent.
        num_simulations: simulations per move, None for the agent's own number.
        count: number of positions.
        seed: seed of the positions and of the search.

    Returns:
        positions, share_kept (search), raw_policy (share kept by the network's most probable move) and random (expected
        share of a random move).

    Raises:
        UserError: bitbully is not installed.
    """
    positions = solved_positions(count, seed)
    observations, legal, _ = board_game("connect4").look(positions.states)
    player, network = AgentPlayer(agent, num_simulations, seed), RawPolicyPlayer(agent)
    parts = [slice(start, start + _BATCH) for start in range(0, count, _BATCH)]
    ids = np.arange(count)
    states = positions.states
    searched = np.concatenate(
        [player.choose(observations[part], legal[part], ids[part], states=states[part]) for part in parts]
    )
    raw = np.concatenate([network.choose(observations[part], legal[part]) for part in parts])
    return {
        "positions": count,
        "share_kept": float(positions.keeps[ids, searched].mean()),
        "raw_policy": float(positions.keeps[ids, raw].mean()),
        "random": float((positions.keeps.sum(axis=1) / legal.sum(axis=1)).mean()),
    }


def _random_position(game: BoardGame, plies: int, rng: np.random.Generator) -> States:
    """Returns one row [1, W] in play after so many random plies."""
    while True:
        row = game.first_states(1)
        while row[0, PLIES] < plies and not game.outcome(row)[0][0]:
            row = game.play(row, [rng.choice(np.flatnonzero(game.legal_actions(row)[0]))])
        if not game.outcome(row)[0][0]:
            return row
