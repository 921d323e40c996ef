"""How an OpenSpiel position is shown to a network.

OpenSpiel's tensors follow no rule: some are seen by the player who asks, most look the same to both and do not say
whose turn it is, and two games lay their boards out flat. Here every tensor becomes planes [C, H, W] or a vector, and
between two players a last plane (or number) says which seat looks. With that seat a tensor that looks the same to both
players is complete. Where both have the same goals and the pieces of each have planes of their own, the planes are
exchanged for the second player too, so that one's own pieces come first.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs.base import EnvError

OWN_VIEW = {"connect_four": "egocentric_obs_tensor", "checkers": "egocentric"}
"""Games with an option that shows the position as the player who asks sees it."""

_OWN_FIRST = {
    "amazons": (0, 2, 1, 3),
    "dots_and_boxes": (0, 1, 2, 6, 7, 8, 3, 4, 5),
    "go": (1, 0, 2, 3),
    "gomoku": (1, 0, 2),
    "lines_of_action": (1, 0, 2),
    "mnk": (0, 2, 1),
    "tic_tac_toe": (0, 2, 1),
}
"""Planes in the order in which the second player sees what the first sees in order."""

_PROBED_GAMES, _PROBED_MOVES = 20, 1000

Floats = NDArray[np.float32]


class View:
    """Turns positions of one game into observations.

    Numbers above 1 are divided by the largest that random games showed at their place, so that counters and seeds weigh
    no more than stones.

    Attributes:
        shape: of an observation.
        dtype: uint8 where random games showed nothing but zeros and ones, else float32.
    """

    def __init__(self, name: str, game: Any) -> None:
        """Plays some random games to see which numbers come up.

        Args:
            name: what the environment is called.
            game: a `pyspiel.Game`.

        Raises:
            EnvError: the game cannot be played from its first position on.
        """
        self._name = name
        kind = game.get_type().short_name
        self._arranged = _arrangement(kind, list(game.observation_tensor_shape()), game.get_parameters())
        self._second = list(_OWN_FIRST[kind]) if kind in _OWN_FIRST else None
        self._scale: Floats = np.ones(1, np.float32)
        is_board = is_binary = True
        for state in _random_positions(name, game):
            planes = self._planes(state, state.current_player())
            is_board = planes.ndim == 3
            is_binary = is_binary and bool(((planes == 0) | (planes == 1)).all())
            self._scale = np.maximum(self._scale, np.abs(planes).max((1, 2), keepdims=True) if is_board else planes)
        self.dtype = np.dtype(np.uint8 if is_board and is_binary else np.float32)
        self.shape: tuple[int, ...] = (len(planes) + (game.num_players() == 2), *planes.shape[1:])

    def __call__(self, state: Any, seat: int) -> NDArray[Any]:
        """Returns the observation of a `pyspiel.State` for the player in `seat`.

        Raises:
            EnvError: a number came up that the observation's dtype cannot hold.
        """
        planes = self._planes(state, seat)
        shown = np.empty(self.shape, self.dtype)
        inner = shown[: len(planes)]
        if self.dtype == np.uint8:
            inner[:] = planes
            if not np.array_equal(inner, planes):
                raise EnvError(f"{self._name}: expected an observation of zeros and ones, got {np.unique(planes)}")
        else:
            np.divide(planes, self._scale, out=inner)
        shown[len(planes) :] = seat
        return shown

    def _planes(self, state: Any, seat: int) -> Floats:
        planes = self._arranged(np.asarray(state.observation_tensor(seat), np.float32))
        return planes[self._second] if seat == 1 and self._second else planes


def _arrangement(kind: str, shape: list[int], parameters: dict[str, Any]) -> Callable[[Floats], Floats]:
    """Returns what makes planes [C, H, W] or a vector out of OpenSpiel's flat tensor."""
    if kind == "dots_and_boxes":  # [empty or whose, cell, line or box]
        rows, columns = parameters["num_rows"] + 1, parameters["num_cols"] + 1
        return lambda x: x.reshape(3, rows, columns, 3).transpose(0, 3, 1, 2).reshape(9, rows, columns)
    if kind == "gomoku":  # [whose, cells of a board of two dimensions or more]
        return lambda x: x.reshape(3, parameters["size"], -1)
    if len(shape) == 2:
        return lambda x: x.reshape(1, *shape)
    return lambda x: x.reshape(shape if len(shape) == 3 else math.prod(shape))


def _random_positions(name: str, game: Any) -> Iterator[Any]:
    """Yields positions in play; each is gone when the next is asked for."""
    rng = random.Random(0)
    moves = 0
    for _ in range(_PROBED_GAMES):
        state = game.new_initial_state()
        if state.is_terminal():
            raise EnvError(f"{name}: the game is over before the first move")
        while not state.is_terminal() and moves < _PROBED_MOVES:
            yield state
            legal = state.legal_actions()
            if not legal:
                raise EnvError(f"{name}: a position of a game in play has no legal move")
            state.apply_action(rng.choice(legal))
            moves += 1
