"""A world of one player: walk over a grid to the goal and around the holes."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left


class GridWorld(gymnasium.Env[Any, Any]):
    """Planes of the walker, the goal and the holes; every episode has other holes."""

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self.observation_space = spaces.Box(0, 1, (3, size, size), np.uint8)
        self.action_space = spaces.Discrete(len(MOVES))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Puts the walker into a corner, the goal into the other, and one hole somewhere into each row between."""
        super().reset(seed=seed)  # from here on self.np_random depends on the seed alone
        self.planes = np.zeros((3, self.size, self.size), np.uint8)
        self.place = (0, 0)
        self.planes[0, 0, 0] = self.planes[1, -1, -1] = 1
        for row in range(1, self.size - 1):
            self.planes[2, row, self.np_random.integers(self.size)] = 1
        return self.planes.copy(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Walks one cell: a step nearer is worth 0.1, a step away -0.1, the goal 1; goal and holes end the episode."""
        before, self.planes[0] = self.place, 0
        self.place = tuple(np.clip(np.add(before, MOVES[action]), 0, self.size - 1).tolist())
        self.planes[0][self.place] = 1
        goal, hole = bool(self.planes[1][self.place]), bool(self.planes[2][self.place])
        reward = goal + 0.1 * (sum(self.place) - sum(before))
        return self.planes.copy(), reward, goal or hole, False, {}


def make(size: int = 4) -> gymnasium.Env[Any, Any]:
    """Makes one world; an episode is cut after 50 steps, which is `truncated` and not `terminated`."""
    return gymnasium.wrappers.TimeLimit(GridWorld(size), 50)
