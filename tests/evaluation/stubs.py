"""Agents without a network, for what only needs somebody who moves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.config import Config
from muzero_wm.evaluation.players import Forfeit


class StubAgent:
    """Plays what `choose` says; its raw policy prefers the last legal action."""

    def __init__(self, env: str) -> None:
        self.spec = envs.spec(env)
        self.config = Config(env=env)
        self.simulations_asked: list[int | None] = []

    def choose(self, observation: NDArray[Any], legal: NDArray[np.bool_], key: int) -> int:
        raise NotImplementedError

    def search(
        self,
        observations: NDArray[Any],
        legal_actions: NDArray[np.bool_],
        num_simulations: int | None = None,
        *,
        rng: Any = 0,
        gumbel_scale: float = 0.0,
    ) -> SimpleNamespace:
        assert gumbel_scale == 0.0
        assert rng.shape == (len(observations),)
        assert rng.dtype == np.uint64
        assert legal_actions.any(axis=1).all()
        self.simulations_asked.append(num_simulations)
        rows = zip(observations, legal_actions, rng.tolist(), strict=True)
        action = np.array([self.choose(*row) for row in rows], np.int32)
        return SimpleNamespace(action=action, root_value=np.zeros(len(action), np.float32))

    def policy(
        self, observations: NDArray[Any], legal_actions: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        weights = legal_actions * np.arange(1, legal_actions.shape[1] + 1, dtype=np.float32)
        return weights / weights.sum(axis=1, keepdims=True), np.zeros(len(observations), np.float32)


class RandomAgent(StubAgent):
    """Moves at random."""

    def choose(self, observation: NDArray[Any], legal: NDArray[np.bool_], key: int) -> int:
        return int(np.random.default_rng(key).choice(np.flatnonzero(legal)))


class FirstLegalAgent(StubAgent):
    """Takes the first legal action."""

    def choose(self, observation: NDArray[Any], legal: NDArray[np.bool_], key: int) -> int:
        return int(legal.argmax())


def textbook_value(mine: int, theirs: int, memo: dict[tuple[int, int], int]) -> int:
    """Returns the value of a tic-tac-toe position for the player to move, by plain recursion over cell masks."""
    if (mine, theirs) not in memo:
        lines = [7, 56, 448, 73, 146, 292, 273, 84]
        free = [cell for cell in range(9) if not (mine | theirs) >> cell & 1]
        if any(theirs & line == line for line in lines):
            memo[mine, theirs] = -1
        elif not free:
            memo[mine, theirs] = 0
        else:
            memo[mine, theirs] = max(-textbook_value(theirs, mine | 1 << cell, memo) for cell in free)
    return memo[mine, theirs]


class PerfectTicTacToe(StubAgent):
    """Plays tic-tac-toe from the observation by exhaustive minimax."""

    def __init__(self) -> None:
        super().__init__("tictactoe")
        self._memo: dict[tuple[int, int], int] = {}

    def choose(self, observation: NDArray[Any], legal: NDArray[np.bool_], key: int) -> int:
        mine, theirs = (int((plane.ravel() << np.arange(9)).sum()) for plane in observation[:2].astype(int))
        moves = np.flatnonzero(legal).tolist()
        return max(moves, key=lambda cell: -textbook_value(theirs, mine | 1 << cell, self._memo))


class GivesUp:
    """An opponent that gives every game up; counts those of its kind that were made and not closed."""

    open = 0

    def __init__(self, *_: Any) -> None:
        GivesUp.open += 1
        self.forfeits: list[Forfeit] = []

    def actions(self, env: envs.BatchedEnv, step: envs.Step, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        self.forfeits += [Forfeit(row, 0, "out of order") for row in rows.tolist()]
        return np.full(len(rows), -1)

    def close(self) -> None:
        GivesUp.open -= 1
