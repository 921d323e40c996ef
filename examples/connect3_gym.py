"""A game of two players as a Gymnasium environment: stones fall in four columns, three in line win."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

SIZE = 4
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
LINES = np.array(  # [L, 3] cells
    [
        [(y + k * dy) * SIZE + x + k * dx for k in range(3)]
        for dy, dx in DIRECTIONS
        for y in range(SIZE - 2 * dy)
        for x in range(SIZE)
        if 0 <= x + 2 * dx < SIZE
    ]
)


class Connect3(gymnasium.Env[Any, Any]):
    """Planes of the stones of the player to move, of the opponent's, and of the free cells."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 1, (3, SIZE, SIZE), np.uint8)
        self.action_space = spaces.Discrete(SIZE)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Empties the board."""
        super().reset(seed=seed)
        self.board = np.zeros((SIZE, SIZE), np.int8)  # 1: the player to move, -1: the opponent
        self.to_play = 0
        return self._observation(), self._info()

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drops a stone; the reward is that of the player who dropped it."""
        self.board[np.flatnonzero(self.board[:, action] == 0)[-1], action] = 1
        won = bool((self.board.ravel()[LINES] == 1).all(axis=1).any())
        self.board = -self.board  # from here on seen by the other player
        self.to_play = 1 - self.to_play
        return self._observation(), float(won), won or bool(self.board.all()), False, self._info()

    def _observation(self) -> Any:
        return np.stack([self.board == 1, self.board == -1, self.board == 0]).astype(np.uint8)

    def _info(self) -> dict[str, Any]:
        return {"to_play": self.to_play, "action_mask": (self.board[0] == 0).astype(np.int8)}


def make() -> gymnasium.Env[Any, Any]:
    """Makes one game."""
    return Connect3()
