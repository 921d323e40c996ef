"""What an adapter makes of one environment, and what it shows after every step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs.base import EnvError, EnvSpec


@dataclass(slots=True)
class Moment:
    """What one environment shows after a reset or a step.

    Attributes:
        observation: as the player to move sees it; anything NumPy turns into the spec's shape and dtype.
        legal_actions: [A] bool or integers, which actions are legal; None: all, of an environment that has never given
            any. Not looked at when the episode is over.
        to_play: seat to move, always 0 for one player; at the end of an episode the seat whose turn it would be.
        reward: of the action just played, from the view of the player who played it.
        terminated: the rules ended the episode.
        truncated: a time limit cut the episode; does not count where the rules ended it in the same step.
    """

    observation: Any
    legal_actions: Any = None
    to_play: int = 0
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False


class SingleEnv(ABC):
    """One environment as an adapter presents it; whatever it raises is told with slot, seed and step.

    Attributes:
        spec: what a model must know.
        repeatable: the same reset seed and actions show the same again.
        raw: the `gymnasium.Env` that is adapted, None where it is something else; `check-env` listens to it.
        doubts: how images were read of which the shape does not say where their channels are, one line each.
        saves_state: `save` and `load` are there, so an unfinished episode is loaded and not played again.
    """

    spec: EnvSpec
    repeatable: bool = True
    saves_state: bool = False
    raw: Any = None
    doubts: tuple[str, ...] = ()

    @abstractmethod
    def reset(self, seed: int) -> Moment:
        """Begins an episode that depends on nothing but `seed`, an integer in [0, 2**31).

        Where several episodes are played in one game, as the lives of an Atari game, it goes on in the game whose
        episode has just ended; `save` must be there then, since such an episode cannot be played again.
        """

    def new_game(self, seed: int) -> Moment:
        """Begins an episode that depends on nothing but `seed`, whatever was played before."""
        return self.reset(seed)

    @abstractmethod
    def step(self, action: int) -> Moment:
        """Plays a legal action in [0, A); never called after the end of an episode."""

    def save(self) -> bytes:
        """Returns all that changes from step to step, but for what is shown; called where an episode goes on.

        Raises:
            EnvError: this kind of environment cannot be saved.
        """
        raise EnvError(f"{self.spec.name} cannot be saved")

    def load(self, state: bytes, shown: NDArray[Any]) -> Moment:
        """Goes on where an environment of the same name was saved, in another process perhaps.

        Args:
            state: what its `save` returned.
            shown: the observation that it showed last.

        Returns:
            The moment at which it was saved, its reward 0.

        Raises:
            EnvError: the state is of something else.
        """
        raise EnvError(f"{self.spec.name} cannot be loaded")

    def clone(self) -> SingleEnv:
        """Returns an independent copy that stands where this one stands: the true rules, for players that search them.

        Raises:
            EnvError: this kind of environment cannot be copied.
        """
        raise EnvError(f"{self.spec.name} cannot be copied, so its true rules cannot be searched")

    def stir(self, seed: int) -> bool:
        """Lets what chance decides from here on follow from a seed, the episode so far stays as it is.

        Args:
            seed: of the draws that follow, >= 0.

        Returns:
            Whether that is possible; False where chance cannot be reached, or there is none.
        """
        return False

    def mcts_move(self, num_simulations: int, seed: int) -> int | None:
        """Returns a move of the environment's own fast tree search with random rollouts.

        Args:
            num_simulations: rollouts, >= 1.
            seed: the same seed gives the same move in the same position.

        Returns:
            A legal action; None where there is no such search, as for most.
        """
        return None

    def render(self) -> NDArray[np.uint8] | None:
        """Returns a picture [H, W, 3] of the present moment for people; None where the environment draws none."""
        return None

    def close(self) -> None:  # noqa: B027 - most have nothing to free
        """Frees what the environment holds."""
