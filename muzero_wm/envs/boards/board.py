"""Board games from Numba kernels: the true rules over rows, and a BatchedEnv that plays thousands of games at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from muzero_wm.basis.seeding import stream_keys
from muzero_wm.envs.base import BatchedEnv, EnvError, EnvSpec, Step, Symmetry, checked_openings, illegal_action
from muzero_wm.envs.boards import batch
from muzero_wm.envs.boards.kernels import IN_PLAY, LOST, PLIES, SCORED, STATUS, UNIT, WON, next_random

States = NDArray[np.int64]
PLANES = ("stones of the player to move", "stones of the opponent", "empty cells")


@dataclass(frozen=True)
class BoardGame:
    """A two-player zero-sum board game of strictly alternating turns: its sizes and its compiled rules.

    The methods work on [n, state_width] int64 rows (see `kernels.py` for the layout) and change none of them.

    Attributes:
        name: what finds it again, options included.
        height: rows of the observation planes.
        width: columns of the observation planes.
        num_actions: A.
        state_width: entries of a state row.
        max_plies: length of the longest game.
        symmetries: the identity first.
        reset: kernel (row): the first position.
        step: kernel (row, action): plays a legal move of a game in play and sets PLIES and STATUS.
        legal: kernel (row, out [A] bool): writes every entry; the game is in play.
        observe: kernel (row, out [C, height, width] uint8): writes every entry, 0 or 1; row 0 is the top row. It is
            called for games that are over too.
        planes: what each of the C planes of an observation shows to the player to move. The first two are the stones
            of that player and those of the opponent.
        passing: the move that passes, None where the game has none.
    """

    name: str
    height: int
    width: int
    num_actions: int
    state_width: int
    max_plies: int
    symmetries: tuple[Symmetry, ...]
    reset: Any
    step: Any
    legal: Any
    observe: Any
    planes: tuple[str, ...] = PLANES
    passing: int | None = None

    def spec(self) -> EnvSpec:
        """Returns what a model must know about the game."""
        return EnvSpec(
            name=self.name,
            observation_shape=(len(self.planes), self.height, self.width),
            observation_dtype=np.dtype(np.uint8),
            num_actions=self.num_actions,
            num_players=2,
            max_episode_steps=self.max_plies,
            value_bounds=(-1.0, 1.0),
            symmetries=self.symmetries,
        )

    def first_states(self, n: int) -> States:
        """Returns [n, W] rows of the first position."""
        states = np.zeros((n, self.state_width), np.int64)
        masks = np.empty((n, self.num_actions), np.bool_)
        moves, streams = np.empty((n, 0), np.int32), np.zeros(n, np.uint64)
        batch.new_games(self.reset, self.step, self.legal, next_random, states, masks, moves, streams, 0.0, 0)
        return states

    def look(self, states: States) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.int8]]:
        """Returns what the player to move sees.

        Args:
            states: [n, W] rows.

        Returns:
            Observations [n, C, H, W] uint8, legal moves [n, A] bool (meaningless where the game is over), seat to move
            [n] int8.
        """
        n = len(states)
        observation = np.empty((n, len(self.planes), self.height, self.width), np.uint8)
        legal_actions = np.empty((n, self.num_actions), np.bool_)
        to_play = np.empty(n, np.int8)
        batch.look(self.legal, self.observe, self._rows(states), legal_actions, observation, to_play)
        return observation, legal_actions, to_play

    def legal_actions(self, states: States) -> NDArray[np.bool_]:
        """Returns the legal moves [n, A] of rows in play; no move is legal where the game is over."""
        legal: NDArray[np.bool_] = self.look(states)[1] & (states[:, STATUS] == IN_PLAY)[:, None]
        return legal

    def play(self, states: States, actions: ArrayLike) -> States:
        """Plays one move in every row.

        Args:
            states: [n, W] rows in play.
            actions: [n] integers, each legal in its row.

        Returns:
            [n, W] new rows.

        Raises:
            EnvError: a move is illegal or its game is over.
        """
        after = self._rows(states).copy()
        moves = np.ascontiguousarray(actions, np.int64)
        self.play_in_place(after, moves)
        return after

    def outcome(self, states: States) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Returns which games are over [n] bool and the result [n] float32 for the player who moved last.

        The result is 1 for a win, -1 for a loss, 0 for a draw or a game in play, and what the rules say it is for a
        game that is scored.
        """
        status = states[:, STATUS]
        scores = np.clip(states[:, -1] / UNIT, -1.0, 1.0)
        result = np.select([status == WON, status == LOST, status == SCORED], [1.0, -1.0, scores], 0.0)
        return status != IN_PLAY, result.astype(np.float32)

    def play_in_place(
        self, states: States, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Plays one move in every row of `states` itself, or in none if one is illegal.

        Args:
            states: [n, W] contiguous rows in play.
            actions: [n] moves in [0, A).

        Returns:
            Rewards [n] float32 of the players who moved and ends [n] bool.

        Raises:
            EnvError: a move is illegal or its game is over.
        """
        n = len(states)
        reward, terminated = np.empty(n, np.float32), np.empty(n, np.bool_)
        masks = np.empty((n, self.num_actions), np.bool_)
        if actions.shape != (n,) or (n and not 0 <= actions.min() <= actions.max() < self.num_actions):
            raise EnvError(f"{self.name}: expected {n} actions in [0, {self.num_actions}), got {actions.tolist()}")
        slot = batch.play(self.step, self.legal, states, actions, masks, reward, terminated)
        if slot >= 0:
            raise illegal_action(self.name, slot, int(actions[slot]), self.legal_actions(states[slot : slot + 1])[0])
        return reward, terminated

    def _rows(self, states: States) -> States:
        if states.ndim != 2 or states.shape[1] != self.state_width:
            raise EnvError(f"{self.name}: states must have shape [n, {self.state_width}], got {states.shape}")
        return np.ascontiguousarray(states, np.int64)


class BoardEnv(BatchedEnv):
    """Plays n games of one BoardGame in lockstep, each with its own random stream.

    Attributes:
        game: the true rules.
        states: [n, W] int64, the true state of every game; copy it to keep it.
        moves: [n, P] int32, the moves that led there, as many as `states` says; -1 those before a `restore`.
    """

    states: States

    def __init__(
        self,
        game: BoardGame,
        num_envs: int,
        seed: int = 0,
        *,
        random_openings: float = 0.0,
        max_random_plies: int = 0,
    ) -> None:
        """Prepares the games; `reset` starts them.

        Args:
            game: the rules.
            num_envs: n >= 1.
            seed: seed of the random openings; slot i depends on (seed, i) only, not on n.
            random_openings: probability that a game starts after random moves.
            max_random_plies: such a start has 1 to this many uniformly random legal moves.

        Raises:
            EnvError: an opening option is impossible.
        """
        self.game = game
        self.spec = game.spec()
        self._openings = checked_openings(self.spec, random_openings, max_random_plies)
        self.num_envs = num_envs
        self.states = game.first_states(num_envs)
        self.moves = np.full((num_envs, game.max_plies), -1, np.int32)
        self._streams = stream_keys(seed, f"env/{game.name}", np.arange(num_envs))

    def reset(self) -> Step:
        """Starts a new game in every slot; random streams go on from where they are.

        Returns:
            The first step, its rewards 0 and nothing ended.
        """
        game = self.game
        masks = np.empty((self.num_envs, game.num_actions), np.bool_)
        batch.new_games(
            game.reset, game.step, game.legal, next_random,
            self.states, masks, self.moves, self._streams, *self._openings,
        )  # fmt: skip
        return self._quiet_step()

    def step(self, actions: NDArray[np.integer[Any]]) -> Step:
        """Plays one move in every slot and starts the next game where one ended.

        Args:
            actions: [n] integers, each legal in its slot.

        Returns:
            What followed.

        Raises:
            EnvError: a move is illegal or the array has the wrong shape or dtype; nothing has been played.
        """
        game = self.game
        plies, checked = self.states[:, PLIES].copy(), self._checked_actions(actions)
        mover = (plies % 2).astype(np.int8)
        reward, terminated = game.play_in_place(self.states, checked)
        kept = np.flatnonzero((plies >= 0) & (plies < game.max_plies))
        self.moves[kept, plies[kept]] = checked[kept]
        final_observation = np.zeros((self.num_envs, *self.spec.observation_shape), np.uint8)
        masks = np.empty((self.num_envs, game.num_actions), np.bool_)
        batch.next_games(
            game.reset, game.step, game.legal, game.observe, next_random,
            self.states, terminated, masks, final_observation, self.moves, self._streams, *self._openings,
        )  # fmt: skip
        observation, legal_actions, to_play = game.look(self.states)
        truncated = np.zeros(self.num_envs, np.bool_)
        final_to_play = np.where(terminated, 1 - mover, 0).astype(np.int8)
        return Step(
            observation, legal_actions, to_play, reward, terminated, truncated, final_observation, final_to_play
        )

    def close(self) -> None:
        """Does nothing: the games are plain arrays."""

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Returns copies of all that changes from step to step, for `restore`."""
        return {"states": self.states.copy(), "streams": self._streams.copy()}

    def restore(self, snapshot: Mapping[str, Any], keep_episodes: bool = True) -> tuple[Step, NDArray[np.bool_]]:
        """Continues from a snapshot of an environment of the same game, size and options.

        Args:
            snapshot: what `snapshot` returned.
            keep_episodes: False gives up the unfinished games and begins the next in every slot.

        Returns:
            The present observations, rewards 0 and nothing ended; and [n] bool, which games go on: all or none.

        Raises:
            EnvError: the snapshot's arrays have other shapes.
        """
        checked = self._checked_snapshot(snapshot, {"states": self.states, "streams": self._streams})
        self.states[:], self._streams[:] = checked["states"], checked["streams"]
        self.moves[:] = -1
        self.not_restored = "" if keep_episodes else "unfinished games were given up"
        return self._quiet_step() if keep_episodes else self.reset(), np.full(self.num_envs, keep_episodes)

    def _quiet_step(self) -> Step:
        n = self.num_envs
        observation, legal_actions, to_play = self.game.look(self.states)
        return Step(
            observation,
            legal_actions,
            to_play,
            np.zeros(n, np.float32),
            np.zeros(n, np.bool_),
            np.zeros(n, np.bool_),
            np.zeros_like(observation),
            np.zeros(n, np.int8),
        )
