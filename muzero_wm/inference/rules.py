"""Searches in which the rules of the game are the model: nodes are true positions, and nothing is imagined.

Source: AlphaZero (arXiv:1712.01815). Of the network only representation and prediction are asked, one call for all
roots in every simulation; rewards, ends and legal moves are the game's.
"""

from __future__ import annotations

import sys
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import UserError
from muzero_wm.envs.base import EnvError, EnvSpec
from muzero_wm.envs.boards.board import BoardGame, States
from muzero_wm.envs.boards.expand import expand, settle
from muzero_wm.envs.boards.kernels import IN_PLAY, STATUS
from muzero_wm.envs.naming.naming import parse_name
from muzero_wm.envs.registry import KINDS, board_game
from muzero_wm.inference.backends.base import Arrays, RecurrentFn, remember

_LIBRARIES = {kind.partition(":")[0] for kind in KINDS}


def rules_of(spec: EnvSpec) -> BoardGame:
    """Returns the rules that a search can take in the place of a learned model.

    Args:
        spec: of the environment.

    Raises:
        UserError: they are not known, or are code of a module that nobody has imported yet.
    """
    module = parse_name(spec.name).kind
    if module and module not in _LIBRARIES and module not in sys.modules:
        # a name in a stranger's checkpoint must not run code
        raise UserError(
            f"search.model: the rules of {spec.name} are code of the module {module}; import it first, or make the "
            "environment"
        )
    try:
        return board_game(spec.name)
    except EnvError as error:
        raise UserError(f"search.model: rules needs them: {error}; use learned") from None


class Answer(Protocol):
    """What is thought of n positions."""

    @property
    def prior_logits(self) -> NDArray[np.float32]:
        """Returns logits [n, A]."""

    @property
    def value(self) -> NDArray[np.float32]:
        """Returns values [n], seen by the players to move."""


class Evaluator(Protocol):
    """What evaluates observations; its answers end with the next call."""

    def initial(self, observation: NDArray) -> Answer:
        """Evaluates observations [n, *observation_shape]."""


class RulesSession:
    """The positions of one search after another, and buffers that are used again.

    Args:
        worker: evaluates; nobody else may use it at the same time.
        game: the rules.
    """

    def __init__(self, worker: Evaluator, game: BoardGame) -> None:
        """Starts without memory; the first search allocates it."""
        self._worker, self._game = worker, game
        self._memory = np.zeros((0, game.state_width), np.int64)
        self._rows: dict[int, _Rows] = {}

    def start(
        self, states: States, num_nodes: int, discount: float, leaves_per_step: int = 1
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], RecurrentFn]:
        """Evaluates the roots of a search.

        Args:
            states: [B, W] int64, true positions in play.
            num_nodes: most nodes of one tree, the root included.
            discount: of every edge that does not end the game, in [-1, 1].
            leaves_per_step: K; the recurrent function is asked for up to K * B rows, leaf by leaf.

        Returns:
            Policy logits [B, A] and values [B] of the roots, and the recurrent function of the search. The latter ends
            with the next call of `start`, and its results with its own next call.
        """
        game, worker, cache, batch = self._game, self._worker, self._rows, len(states)
        if len(self._memory) < num_nodes * batch:
            self._memory = np.empty((num_nodes * batch, game.state_width), np.int64)
        pool = self._memory
        pool[:batch] = states
        root = worker.initial(game.look(states)[0])

        def recurrent_fn(parent_index: NDArray[np.int32], action: NDArray[np.int32], node_index: int) -> Arrays:
            rows = remember(cache, len(action), lambda: _Rows(len(action), game))
            expand(
                game.step, game.legal, game.observe, pool, parent_index, action, batch, node_index * batch,
                rows.reward, rows.over, rows.legal, rows.observation,
            )  # fmt: skip
            found = worker.initial(rows.observation)
            np.copyto(rows.logits, found.prior_logits)
            np.copyto(rows.value, found.value)
            settle(rows.over, rows.legal, discount, rows.logits, rows.value, rows.discount)
            return rows.reward, rows.discount, rows.logits, rows.value

        return root.prior_logits, root.value, recurrent_fn


class _Rows:
    """What is said of the positions of one network call, for one number of rows."""

    def __init__(self, count: int, game: BoardGame) -> None:
        self.reward, self.discount, self.value = (np.zeros(count, np.float32) for _ in range(3))
        self.over = np.zeros(count, np.bool_)
        self.legal = np.zeros((count, game.num_actions), np.bool_)
        self.logits = np.zeros((count, game.num_actions), np.float32)
        self.observation = np.zeros((count, *game.spec().observation_shape), np.uint8)


def checked_states(
    game: BoardGame, states: NDArray | None, observations: NDArray, legal_actions: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Returns which actions [B, A] are legal at the roots of a search: those of a mask that the rules allow too.

    Args:
        game: the rules.
        states: [B, W] int64, true positions.
        observations: [B, *observation_shape], what is seen of them.
        legal_actions: [B, A] bool.

    Raises:
        UserError: there are no states, or they are not positions in play that are observed, one for each root.
    """
    if states is None:
        raise UserError(
            f"states: a search by the rules of {game.name} starts from true positions, which an observation does not "
            "hold; pass states=, for example env.states of envs.make"
        )
    shape = len(legal_actions), game.state_width
    if states.shape != shape or states.dtype != np.int64:
        raise UserError(f"states: expected an int64 array of {shape}, got {states.dtype} of {states.shape}")
    over = np.flatnonzero(states[:, STATUS] != IN_PLAY)
    if len(over):
        raise UserError(f"states: row {over[0]} is a game that is over, there is nothing to search")
    seen, legal, _ = game.look(states)
    other = np.flatnonzero((seen != observations).reshape(len(seen), -1).any(1))
    if len(other):
        raise UserError(f"states: row {other[0]} is another position than the observation of this row shows")
    legal = legal & legal_actions
    empty = np.flatnonzero(~legal.any(1))
    if len(empty):
        raise UserError(f"legal_actions: row {empty[0]} allows no action that is legal by the rules of {game.name}")
    return legal
