"""Random play through the public interface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from muzero_wm import envs


@dataclass
class Games:
    """One game for each row: moves and legal moves at every ply, length, result of the player who moved last."""

    moves: NDArray[np.int64]
    legal: NDArray[np.bool_]
    length: NDArray[np.int64]
    result: NDArray[np.float32]


def random_moves(legal: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Returns a uniformly random legal move for every row."""
    return np.where(legal, rng.random(legal.shape), -1.0).argmax(axis=1)


def random_games(name: str, count: int, seed: int) -> Games:
    """Plays the first game of `count` slots to its end."""
    rng = np.random.default_rng(seed)
    env = envs.make(name, count, seed)
    step = env.reset()
    playing = np.ones(count, np.bool_)
    length, result = np.zeros(count, np.int64), np.zeros(count, np.float32)
    moves, legal = [], []
    while playing.any():
        assert (step.to_play[playing] == len(moves) % 2).all()
        moves.append(random_moves(step.legal_actions, rng))
        legal.append(step.legal_actions)
        step = env.step(moves[-1])
        ended = playing & step.terminated
        assert not step.truncated.any()
        assert (step.reward[playing & ~ended] == 0).all()
        length[ended], result[ended] = len(moves), step.reward[ended]
        playing &= ~ended
    return Games(np.stack(moves, axis=1), np.stack(legal, axis=1), length, result)


def assert_agrees_with_openspiel(name: str, theirs: str, count: int, seed: int) -> None:
    """Plays random games of ours under the rules of OpenSpiel: legal moves at every ply, and how each game ends."""
    pyspiel = pytest.importorskip("pyspiel", reason="open_spiel is the oracle of the rules (extra: openspiel)")
    game, games = pyspiel.load_game(theirs), random_games(name, count, seed)
    assert games.length.max() <= envs.spec(name).max_episode_steps
    for moves, legal, length, result in zip(games.moves, games.legal, games.length, games.result, strict=True):
        state = game.new_initial_state()
        for move, mask in zip(moves[:length].tolist(), legal[:length], strict=True):
            assert state.legal_actions() == np.flatnonzero(mask).tolist()
            state.apply_action(move)
        assert state.is_terminal()
        assert state.returns()[(int(length) - 1) % 2] == result
