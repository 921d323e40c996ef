"""A network that looks at a board from every side: the mean of its opinions over the symmetries.

What it thinks of a position and of its mirror image differs by chance, so the mean of both errs less than either.
Silver et al. (2016, Nature 529) average in the same way; the imagined steps of every side are its own here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs.base import Symmetry
from muzero_wm.envs.boards.board import BoardGame
from muzero_wm.inference.backends.base import Arrays, RecurrentFn
from muzero_wm.inference.inference import InferenceModel, Session
from muzero_wm.inference.rules import Evaluator, RulesSession
from muzero_wm.model.world_model import WorldModel


class Opinion(NamedTuple):
    """What is thought of n positions.

    Attributes:
        prior_logits: [n, A] float32.
        value: [n] float32.
    """

    prior_logits: NDArray[np.float32]
    value: NDArray[np.float32]


class SymmetricModel:
    """Evaluates every position from G sides, in G times the work.

    Args:
        network: evaluates one side.
        symmetries: of the board, G of them.
    """

    def __init__(self, network: InferenceModel, symmetries: tuple[Symmetry, ...]) -> None:
        """Keeps the arguments; see the class for them."""
        self.network = network
        self._views = Views(symmetries)
        self._sides = Sides(network, self._views)

    @property
    def backend(self) -> str:
        """Returns the name of the network's backend."""
        return self.network.backend

    @property
    def q_scale(self) -> float:
        """Returns which differences of q count as large in a search; see `InferenceModel`."""
        return self.network.q_scale

    def refresh(self, model: WorldModel) -> None:
        """Replaces the weights by a snapshot of `model`; no search may be running."""
        self.network.refresh(model)

    def initial(self, observation: NDArray) -> Opinion:
        """Evaluates observations.

        Args:
            observation: [B, C, H, W], any real dtype.

        Returns:
            Logits [B, A] and values [B].
        """
        return self._sides.initial(observation)

    def device_session(self, discount: float) -> str:
        """Returns why no tree grows beside the network on its device."""
        return "the mean over symmetries is taken on the CPU"

    def rules_session(self, game: BoardGame) -> RulesSession:
        """Returns a new session whose nodes are positions of a game; each thread needs one of its own.

        Args:
            game: the true rules.
        """
        return RulesSession(Sides(self.network.worker(), self._views), game)

    def session(self) -> SymmetricSession:
        """Returns a new session; each thread needs one of its own."""
        return SymmetricSession(self.network.session(plain=True), self._views)


class Sides:
    """Evaluates positions from all sides, without imagined steps.

    Args:
        network: evaluates one side.
        views: the sides.
    """

    def __init__(self, network: Evaluator, views: Views) -> None:
        """Keeps the arguments."""
        self._network, self._views = network, views

    def initial(self, observation: NDArray) -> Opinion:
        """Evaluates observations [B, C, H, W]."""
        out = self._network.initial(self._views.observation(observation))
        return Opinion(self._views.logits(out.prior_logits, 1), self._views.mean(out.value, 1))


class SymmetricSession:
    """One search after another over positions that are seen from G sides; see `Session`.

    Args:
        session: of the network, over all sides at once.
        views: the sides.
    """

    def __init__(self, session: Session, views: Views) -> None:
        """Keeps the arguments."""
        self._session, self._views = session, views

    def start(
        self, observation: NDArray, num_nodes: int, discount: float, leaves_per_step: int = 1
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], RecurrentFn]:
        """Evaluates the roots of a search; arguments and results are those of `Session.start`."""
        views, batch = self._views, len(observation)
        logits, value, recurrent = self._session.start(
            views.observation(observation), num_nodes, discount, leaves_per_step
        )

        def recurrent_fn(parent_index: NDArray[np.int32], action: NDArray[np.int32], node_index: int) -> Arrays:
            leaves = len(action) // batch
            parents = np.repeat(parent_index.reshape(leaves, 1, batch), len(views), axis=1).ravel()
            reward, factor, prior_logits, value = recurrent(parents, views.action(action, leaves), node_index)
            return (
                views.mean(reward, leaves),
                views.mean(factor, leaves),
                views.logits(prior_logits, leaves),
                views.mean(value, leaves),
            )

        return views.logits(logits, 1), views.mean(value, 1), recurrent_fn


class Views:
    """Boards and moves as they look from G sides, and back; rows come leaf by leaf, side by side, root by root.

    Args:
        symmetries: G of them.
    """

    def __init__(self, symmetries: tuple[Symmetry, ...]) -> None:
        """Turns the permutations into indices."""
        self._cells = np.stack([symmetry.observation for symmetry in symmetries])
        moves = np.stack([symmetry.action for symmetry in symmetries]).astype(np.int64)
        # a side's move a is the board's move moves[g, a], so the board's move m is the side's move back[g, m]
        self._back = np.argsort(moves, axis=1)

    def __len__(self) -> int:
        """Returns G."""
        return len(self._back)

    def observation(self, observation: NDArray) -> NDArray:
        """Returns boards [B, C, H, W] from all sides, [G * B, C, H, W]."""
        flat = observation.reshape(*observation.shape[:2], -1)
        return np.concatenate([flat[:, :, cells] for cells in self._cells]).reshape(-1, *observation.shape[1:])

    def action(self, action: NDArray[np.int32], leaves: int) -> NDArray[np.int32]:
        """Returns moves [K * B] of the board as those of all sides, [K * G * B]."""
        sides = self._back[:, action.reshape(leaves, -1)]
        return np.ascontiguousarray(sides.swapaxes(0, 1), np.int32).ravel()

    def logits(self, logits: NDArray[np.float32], leaves: int) -> NDArray[np.float32]:
        """Returns the logarithms [K * B, A] of mean probabilities, from those of all sides, [K * G * B, A]."""
        sides = logits.reshape(leaves, len(self), -1, logits.shape[1])
        sides = np.take_along_axis(sides, self._back[None, :, None, :], axis=3)
        highest = sides.max(axis=3, keepdims=True)
        odds = np.exp(sides - highest)
        probabilities = (odds / odds.sum(axis=3, keepdims=True)).mean(axis=1)
        return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)).reshape(-1, logits.shape[1])

    def mean(self, values: NDArray[np.float32], leaves: int) -> NDArray[np.float32]:
        """Returns means [K * B] of what all sides say, [K * G * B]."""
        return np.ascontiguousarray(values.reshape(leaves, len(self), -1).mean(axis=1, dtype=np.float32)).ravel()
