"""What every environment looks like from inside: games in lockstep, one array row for each."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import UserError
from muzero_wm.envs.language import MOST_FRAMES, Language

MOST_NUMBERS = 1 << 24
"""Most numbers of an observation, and most actions."""


class EnvError(UserError):
    """An environment was named, set up or stepped in a way it cannot follow."""


@dataclass(frozen=True, eq=False)
class Symmetry:
    """One way to turn or mirror a board, for the board and for the moves alike.

    Attributes:
        observation: [H * W] int32; new cell j shows what cell `observation[j]` showed.
        action: [A] int32; `new_policy[a] = policy[action[a]]`, so the new name of move `action[a]` is `a`.
    """

    observation: NDArray[np.int32]
    action: NDArray[np.int32]

    def __eq__(self, other: object) -> bool:
        """Returns whether both permutations are equal."""
        if not isinstance(other, Symmetry):
            return NotImplemented
        return np.array_equal(self.observation, other.observation) and np.array_equal(self.action, other.action)

    def __hash__(self) -> int:
        """Returns a hash that agrees with equality."""
        return hash((self.observation.tobytes(), self.action.tobytes()))


@dataclass(frozen=True)
class EnvSpec:
    """What a model must know about an environment, read from the environment itself.

    Attributes:
        name: the name it was made by, for example "connect4".
        observation_shape: shape of one observation.
        observation_dtype: its dtype; uint8 planes for boards.
        num_actions: A, size of the discrete action set.
        num_players: 1, or 2 for zero-sum games.
        max_episode_steps: upper bound on the length of an episode, None where unknown.
        value_bounds: smallest and largest return, (-1, 1) for boards, None where unknown.
        symmetries: the identity first, then the others; () where there is no board.
        alternating: two players: every move passes the turn. False where a player may move twice in a row; whose turn
            follows a move is then learnt.
        observation_bounds: smallest and largest number an observation may hold, None where unknown.
        language: what the environment itself shows and takes, None where that is what the model sees and answers.
        frames: how many observations stand one behind the other along the first axis of `observation_shape`, oldest
            first, the first of an episode in place of those before it; the replay stores each once. Between two players
            1: a seat's history is not that of the steps.
    """

    name: str
    observation_shape: tuple[int, ...]
    observation_dtype: np.dtype[Any]
    num_actions: int
    num_players: int
    max_episode_steps: int | None = None
    value_bounds: tuple[float, float] | None = None
    symmetries: tuple[Symmetry, ...] = ()
    alternating: bool = True
    observation_bounds: tuple[float, float] | None = None
    language: Language | None = None
    frames: int = 1

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of the newest of the observations that stand one behind the other."""
        return (self.observation_shape[0] // self.frames, *self.observation_shape[1:])

    def to_json(self) -> dict[str, Any]:
        """Returns the spec in numbers, strings and lists; `from_dict` reads it too."""
        symmetries = [[each.observation.tolist(), each.action.tolist()] for each in self.symmetries]
        return self.to_dict() | {"symmetries": symmetries}

    def to_dict(self) -> dict[str, Any]:
        """Returns the spec in numbers, strings and arrays, so that a checkpoint can hold it."""
        return {
            "name": self.name,
            "observation_shape": list(self.observation_shape),
            "observation_dtype": self.observation_dtype.name,
            "num_actions": self.num_actions,
            "num_players": self.num_players,
            "max_episode_steps": self.max_episode_steps,
            "value_bounds": _plain(self.value_bounds),
            "symmetries": [[symmetry.observation, symmetry.action] for symmetry in self.symmetries],
            "alternating": self.alternating,
            "observation_bounds": _plain(self.observation_bounds),
            "language": None if self.language is None else self.language.to_dict(),
            "frames": self.frames,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> EnvSpec:
        """Restores `to_dict`; the environment itself is not needed.

        Args:
            state: what `to_dict` returned, arrays as anything NumPy reads.

        Returns:
            The spec.

        Raises:
            EnvError: something is missing or impossible.
        """
        try:
            language = state.get("language")  # checkpoints of earlier versions have none
            spec = cls(
                name=state["name"],
                observation_shape=tuple(state["observation_shape"]),
                observation_dtype=np.dtype({"uint8": np.uint8, "float32": np.float32}[state["observation_dtype"]]),
                num_actions=state["num_actions"],
                num_players=state["num_players"],
                max_episode_steps=state["max_episode_steps"],
                value_bounds=_pair(state["value_bounds"]),
                symmetries=tuple(Symmetry(*(_indices(part) for part in pair)) for pair in state["symmetries"]),
                alternating=state["alternating"],
                observation_bounds=_pair(state["observation_bounds"]),
                language=None if language is None else Language.from_dict(language),
                frames=state.get("frames", 1),  # those of earlier versions stored stacks as they are
            )
            if problem := spec.problem():
                raise EnvError(f"environment in the checkpoint: {problem}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, EnvError):
                raise
            raise EnvError(f"environment in the checkpoint: makes no sense ({type(error).__name__})") from None
        return spec

    def problem(self) -> str | None:
        """Returns what is impossible about a spec that others wrote, None if it can be."""
        shape, cells = self.observation_shape, math.prod(self.observation_shape[1:])
        positive = (*shape, self.num_actions, *(() if self.max_episode_steps is None else (self.max_episode_steps,)))
        if not isinstance(self.name, str) or not 0 < len(self.name) <= 200:
            return "expected a name"
        if any(type(n) is not int or n < 1 for n in positive) or self.num_players not in (1, 2):
            return f"expected positive numbers and 1 or 2 players, got {str(positive)[:80]}, {self.num_players!r:.20}"
        if len(shape) > 8 or math.prod(shape) > MOST_NUMBERS or self.num_actions > MOST_NUMBERS:
            return f"expected at most {MOST_NUMBERS} numbers and actions, got {str(positive)[:80]}"
        if self.observation_dtype not in (np.uint8, np.float32):
            return f"expected observations of dtype uint8 or float32, got {self.observation_dtype}"
        if type(self.frames) is not int or not 1 <= self.frames <= MOST_FRAMES or shape[0] % self.frames:
            return f"expected frames in 1 .. {MOST_FRAMES} that divide {shape[0]}, got {self.frames!r:.20}"
        if self.frames > 1 and self.num_players == 2:
            return f"expected 1 frame between two players, whose histories differ, got {self.frames}"
        if type(self.alternating) is not bool:
            return f"expected alternating to be true or false, got {self.alternating!r:.20}"
        for what, bounds in (("value", self.value_bounds), ("observation", self.observation_bounds)):
            if bounds is not None and not -math.inf < bounds[0] < bounds[1] < math.inf:
                return f"expected finite {what} bounds, got {bounds}"
        for symmetry in self.symmetries:
            for part, size in ((symmetry.observation, cells), (symmetry.action, self.num_actions)):
                if part.dtype != np.int32 or part.shape != (size,) or (np.sort(part) != np.arange(size)).any():
                    return f"expected symmetries that are permutations of {cells} cells and {self.num_actions} moves"
        return None if self.language is None else self.language.problem(self.observation_shape, self.num_actions)


@dataclass
class Step:
    """One lockstep step of n games; the arrays are new in every step, so they may be kept.

    Where an episode has just ended, `observation`, `legal_actions` and `to_play` already belong to the next episode and
    `final_observation` shows the one that ended.

    Attributes:
        observation: [n, *shape] as the player to move sees it.
        legal_actions: [n, A] bool.
        to_play: [n] int8, the seat to move (always 0 for one player).
        reward: [n] float32, from the view of the player who moved.
        terminated: [n] bool, the rules ended the episode.
        truncated: [n] bool, a time limit cut the episode.
        final_observation: [n, *shape], meaningful where the episode ended, zero elsewhere.
        final_to_play: [n] int8, the seat whose turn it would have been there, 0 elsewhere.
    """

    observation: NDArray[Any]
    legal_actions: NDArray[np.bool_]
    to_play: NDArray[np.int8]
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    final_observation: NDArray[Any]
    final_to_play: NDArray[np.int8]


class BatchedEnv(ABC):
    """Games of one kind, stepped together; slot i of every array is game i.

    Attributes:
        spec: what a model must know.
        num_envs: n.
        not_restored: why the last `restore` had to give up episodes, "" when it gave up none.
        states: [n, W] int64, the true positions of board games, which a search by the rules begins with; else None.
    """

    spec: EnvSpec
    num_envs: int
    not_restored: str = ""
    states: NDArray[np.int64] | None = None

    @abstractmethod
    def reset(self) -> Step:
        """Starts a new episode in every slot.

        Returns:
            The first step, its rewards 0 and nothing ended.
        """

    @abstractmethod
    def step(self, actions: NDArray[np.integer[Any]]) -> Step:
        """Plays one action in every slot and starts the next episode where one ended.

        Args:
            actions: [n] integers, each legal in its slot.

        Returns:
            What followed.

        Raises:
            EnvError: an action is illegal or the array has the wrong shape or dtype; nothing has been played.
        """

    @abstractmethod
    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Returns copies of all that changes from step to step, for `restore`."""

    @abstractmethod
    def restore(self, snapshot: Mapping[str, Any], keep_episodes: bool = True) -> tuple[Step, NDArray[np.bool_]]:
        """Continues from a snapshot of an environment of the same name, size, seed and options.

        Args:
            snapshot: what `snapshot` returned; tensors do as well as arrays.
            keep_episodes: False gives up the unfinished episodes and begins the next in every slot.

        Returns:
            The present observations, rewards 0 and nothing ended; and [n] bool, which episodes go on. In the other
            slots the next episode has begun, and `not_restored` says why.

        Raises:
            EnvError: the snapshot does not fit.
        """

    @abstractmethod
    def close(self) -> None:
        """Frees what the environment holds."""

    def _checked_snapshot(self, snapshot: Mapping[str, Any], like: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Returns the snapshot's arrays after checking that each has the shape of its namesake in `like`."""
        for name, mine in like.items():
            if name not in snapshot or tuple(snapshot[name].shape) != mine.shape:
                found = tuple(snapshot[name].shape) if name in snapshot else "nothing"
                raise EnvError(f"{self.spec.name}: snapshot[{name!r}] must have shape {mine.shape}, got {found}")
        return {name: np.asarray(snapshot[name]).astype(mine.dtype) for name, mine in like.items()}

    def _checked_actions(self, actions: Any) -> NDArray[np.int64]:
        """Returns the actions as int64 after checking shape, dtype and range."""
        array = np.asarray(actions)
        if array.shape != (self.num_envs,) or not np.issubdtype(array.dtype, np.integer):
            raise EnvError(
                f"{self.spec.name}: actions must be integers of shape ({self.num_envs},), "
                f"got {array.dtype} of shape {array.shape}"
            )
        outside = (array < 0) | (array >= self.spec.num_actions)
        if outside.any():
            slot = int(outside.argmax())
            raise EnvError(
                f"{self.spec.name}: action {array[slot]} in slot {slot} is outside [0, {self.spec.num_actions})"
            )
        return np.ascontiguousarray(array, np.int64)

    def _checked_moves(self, actions: Any, legal_actions: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Returns the actions as int64 after checking also that each is legal in its slot, by a mask [n, A]."""
        moves = self._checked_actions(actions)
        forbidden = ~legal_actions[np.arange(self.num_envs), moves]
        if forbidden.any():
            slot = int(forbidden.argmax())
            raise illegal_action(self.spec.name, slot, int(moves[slot]), legal_actions[slot])
        return moves


def _indices(found: Any) -> NDArray[Any]:
    """Returns what should be a permutation; in JSON it is a list."""
    array = np.asarray(found)
    return array.astype(np.int32) if isinstance(found, list) and array.dtype.kind == "i" else array


def _plain(bounds: tuple[float, float] | None) -> list[float] | None:
    return None if bounds is None else [float(bound) for bound in bounds]


def _pair(bounds: Any) -> tuple[float, float] | None:
    return None if bounds is None else (float(bounds[0]), float(bounds[1]))


def illegal_action(name: str, slot: int, action: int, legal: NDArray[np.bool_]) -> EnvError:
    """Returns the error for an action that the rules forbid.

    Args:
        name: the environment.
        slot: index of the game in the batch.
        action: what was asked for.
        legal: [A] bool, what would have been allowed.

    Returns:
        An EnvError that names all four.
    """
    return EnvError(f"{name}: action {action} in slot {slot} is illegal, legal are {np.flatnonzero(legal).tolist()}")


def mask_kept(name: str, before: bool, mask: Any) -> bool:
    """Checks that a mask of legal actions which was given once is given again: without one, all would count as legal.

    Args:
        name: the environment.
        before: whether a mask was given before.
        mask: what is given now, of an episode that goes on; None: nothing.

    Returns:
        Whether a mask has been given by now.

    Raises:
        EnvError: it is missing.
    """
    if before and mask is None:
        raise EnvError(
            f"{name}: the action mask was given before and is missing now; give it in reset and in every step until "
            "the episode is over, all ones where every action is legal"
        )
    return before or mask is not None


def checked_openings(spec: EnvSpec, share: float, most_plies: int) -> tuple[float, int]:
    """Returns the options of random openings after checking them.

    Args:
        spec: the environment.
        share: probability that a game starts after random moves.
        most_plies: most random moves of such a start.

    Returns:
        Both, as float and int.

    Raises:
        EnvError: an option is impossible.
    """
    if not 0.0 <= share <= 1.0:
        raise EnvError(f"random_openings must be in [0, 1], got {share}")
    if most_plies < 0 or (share > 0.0 and most_plies < 1):
        raise EnvError(f"max_random_plies must be at least 1 with random openings, got {most_plies}")
    if share > 0.0 and spec.num_players != 2:
        raise EnvError(f"random_openings are for games of two players, {spec.name} has one")
    return float(share), int(most_plies)
