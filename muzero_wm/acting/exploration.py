"""How much each environment explores: from nearly not at all in the first to a great deal in the last.

A search that samples by its own policy stops exploring where that policy is sure of itself, rightly or not; and some
things, to keep still for a second, never happen while every move is noisy. So the environments of a run differ.

Sources: a ladder of exploration over actors, Horgan et al. (arXiv:1803.00933) section 4; random moves that last, with a
heavy tail, Dabney et al. (arXiv:2006.01782).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.seeding import pick, stream_keys
from muzero_wm.config import ActingConfig

STEEPNESS = 7.0  # alpha of the ladder's paper
LONGEST = 100
_MEAN_LENGTH = float(np.sum(1.0 / np.arange(1, LONGEST + 1)))


def random_shares(largest: float, num_envs: int) -> NDArray[np.float64]:
    """Returns the share of random moves of every environment, rising to `largest` in the last.

    Source: Horgan et al. (arXiv:1803.00933) section 4: largest ** (1 + 7 i / (n - 1)), i counted from the last.

    Args:
        largest: in [0, 1].
        num_envs: n >= 1.

    Returns:
        [n] float64 in [0, 1].
    """
    return largest ** (1.0 + STEEPNESS * _from_last(num_envs))


def counted_slots(config: ActingConfig) -> NDArray[np.bool_]:
    """Returns the environments [n] whose episodes tell how good the agent is: where they differ, the quieter half."""
    differs = config.random_moves > 0.0 or config.min_noise < 1.0
    slots = np.arange(config.num_envs)
    return slots < (config.num_envs + 1) // 2 if differs else slots >= 0


class Exploration:
    """Noise and random moves of the environments of a run.

    A random move is repeated for a while: L times or more with a probability of 1 / L, for up to `LONGEST` moves, or
    until it is illegal or the episode ends. So where episodes are short, random moves make up less than their share.

    Args:
        config: the largest share of random moves and the smallest noise.
        seed: of the run.
        slots: numbers of the n environments; None: all of the run.

    Attributes:
        noise: [n] float64 in [0, 1], how much of the noise of moves each environment has.
    """

    def __init__(self, config: ActingConfig, seed: int, slots: range | None = None) -> None:
        """Starts with no random move under way; see the class for the arguments."""
        self._slots = np.arange(config.num_envs) if slots is None else np.asarray(slots)
        self.noise = 1.0 - (1.0 - config.min_noise) * _from_last(config.num_envs)[self._slots]
        share = random_shares(config.random_moves, config.num_envs)[self._slots]
        # so many random moves begin that, with their lengths, they make up the share
        self._begin_prob = share / (share + _MEAN_LENGTH * (1.0 - share))
        self._full_share = config.full_search_share
        self._seed, self._rows = seed, np.arange(len(self._slots))
        self._repeat = np.zeros(len(self._slots), np.int64)
        self._action = np.zeros(len(self._slots), np.int32)

    def choose(self, actions: NDArray[np.int32], legal_actions: NDArray[np.bool_], moves: int) -> NDArray[np.int32]:
        """Replaces some of the searched actions by random ones.

        Args:
            actions: [n] int32, what the search found.
            legal_actions: [n, A] bool.
            moves: number of the move in the run, names the random streams.

        Returns:
            [n] int32, all of them legal.
        """
        if not self._begin_prob.any():
            return actions
        goes_on = (self._repeat > 0) & legal_actions[self._rows, self._action]
        begins = ~goes_on & (_unit(self._keys("explore", moves)) < self._begin_prob)
        lengths = np.minimum(1.0 / _unit(self._keys("explore/length", moves)), LONGEST).astype(np.int64)
        random = pick(legal_actions, self._keys("explore/action", moves)).astype(np.int32)
        self._action = np.where(begins, random, self._action)
        self._repeat = np.where(begins, lengths, self._repeat * goes_on)
        explores = self._repeat > 0
        self._repeat -= explores
        return np.where(explores, self._action, actions)

    def in_full(self, moves: int) -> bool:
        """Returns whether a move is searched in full, in all environments or in none.

        Source: playout cap randomisation, Wu (arXiv:1902.10565) section 3.1: outcomes of many games teach values, full
        searches policies.

        Args:
            moves: number of the move in the run.
        """
        share = self._full_share
        return share == 1.0 or bool(_unit(stream_keys(self._seed, "full search", [0], moves))[0] < share)

    def forget(self, done: NDArray[np.bool_]) -> None:
        """Ends the random moves of episodes that are over.

        Args:
            done: [n] bool.
        """
        self._repeat[done] = 0

    def state_dict(self) -> dict[str, Any]:
        """Returns the random moves under way."""
        return {"repeat": self._repeat.copy(), "action": self._action.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with `state_dict`."""
        self._repeat[:] = state["repeat"]
        self._action[:] = state["action"]

    def _keys(self, purpose: str, moves: int) -> NDArray[np.uint64]:
        return stream_keys(self._seed, purpose, self._slots, moves)


def _from_last(num_envs: int) -> NDArray[np.float64]:
    """Returns how far every environment is from the last, 1 in the first to 0; a single one is the last."""
    return np.arange(num_envs - 1, -1, -1) / max(num_envs - 1, 1)


def _unit(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Returns random bits as numbers in (0, 1)."""
    return ((keys >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
