"""A game in which a player may move twice in a row: take 1 to 3 stones, and again where a multiple of 4 is left.

Whoever takes the last stone wins. Whose turn it is decides which move is right: who believes that players alternate
loses positions that are won.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muzero_wm.envs.base import EnvSpec
from muzero_wm.envs.slots.single import Moment, SingleEnv
from muzero_wm.inference.backends.base import Inference

MOST, ACTIONS = 11, 3
SPEC = EnvSpec(
    name="stones",
    observation_shape=(MOST + 1,),
    observation_dtype=np.dtype(np.float32),
    num_actions=ACTIONS,
    num_players=2,
    max_episode_steps=MOST,
    value_bounds=(-1.0, 1.0),
    alternating=False,
    observation_bounds=(0.0, 1.0),
)

Sign = Callable[[int], int]


def true_sign(left: int) -> int:
    """Returns 1 where whoever left this many stones moves again, else -1."""
    return 1 if left % 4 == 0 else -1


def best_moves(stones: int, sign: Sign = true_sign) -> list[int]:
    """Returns the actions that win, by trying out everything; [] where all lose."""

    @cache
    def outcome(left: int, take: int) -> int:
        rest = left - take
        return 1 if rest == 0 else sign(rest) * max(outcome(rest, t) for t in range(1, min(ACTIONS, rest) + 1))

    return [take - 1 for take in range(1, min(ACTIONS, stones) + 1) if outcome(stones, take) == 1]


def seen(stones: NDArray[np.integer]) -> NDArray[np.float32]:
    """Returns the observations [n, MOST + 1] of heaps [n]."""
    return np.eye(MOST + 1, dtype=np.float32)[stones]


def legal(stones: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Returns which actions [n, 3] heaps [n] allow."""
    return np.arange(1, ACTIONS + 1) <= np.asarray(stones)[:, None]


class Stones(SingleEnv):
    """The game; the seed says how many stones there are."""

    def __init__(self) -> None:
        self.spec = SPEC
        self._left = self._seat = 0

    def reset(self, seed: int) -> Moment:
        self._left, self._seat = 4 + seed % (MOST - 3), 0
        return self._moment(0.0)

    def step(self, action: int) -> Moment:
        self._left -= action + 1
        assert self._left >= 0
        if true_sign(self._left) == -1:
            self._seat = 1 - self._seat
        return self._moment(1.0 if self._left == 0 else 0.0)

    def _moment(self, reward: float) -> Moment:
        heap = np.array([self._left])
        return Moment(seen(heap)[0], legal(heap)[0], self._seat, reward, terminated=self._left == 0)


class Rules:
    """The true rules as a network would tell them, but for the sign of an edge, which is a choice."""

    q_scale = 0.0

    def __init__(self, sign: Sign) -> None:
        self._sign = np.array([0, *(sign(left) for left in range(1, MOST + 1))], np.float32)

    def session(self) -> object:
        from muzero_wm.inference.inference import Session

        return Session(self)

    def initial(self, observation: NDArray) -> Inference:
        left = observation.argmax(1)
        return self._tell(left, np.zeros(len(left), np.float32), torch.from_numpy(left[:, None].astype(np.float32)))

    def recurrent(self, latent: Tensor, action: NDArray[np.int32], out: Tensor) -> Inference:
        before = latent.numpy()[:, 0].astype(np.int64)
        left = np.maximum(before - action - 1, 0)
        out.numpy()[:, 0] = left
        return self._tell(left, ((before > 0) & (before == action + 1)).astype(np.float32), out)

    def _tell(self, left: NDArray[np.int64], reward: NDArray[np.float32], latent: Tensor) -> Inference:
        logits = np.where(legal(left), 0.0, -50.0).astype(np.float32)
        return Inference(latent, reward, logits, np.zeros(len(left), np.float32), self._sign[left])
