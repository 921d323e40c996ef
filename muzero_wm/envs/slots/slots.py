"""Environments that are objects: one for each slot, stepped in turn.

An adapter (Gymnasium, OpenSpiel, PettingZoo, ...) translates one environment into a `SingleEnv`; everything that n of
them have in common is here. A slot is reset in the same step in which its episode ends, so every step is a real one and
none must be dropped. Every episode begins with a reset seed of its own and its actions are kept until it ends: few
environments can save their state, so an unfinished episode of the others is restored by playing it again.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import one_line
from muzero_wm.basis.foreign import foreign, foreign_step
from muzero_wm.basis.seeding import episode_seeds, stream_keys
from muzero_wm.envs.base import BatchedEnv, EnvError, Step, checked_openings, mask_kept
from muzero_wm.envs.slots.saved import pack, unpack
from muzero_wm.envs.slots.single import Moment, SingleEnv


def place(seed: int, slot: int, episode: int, step: int) -> str:
    """Returns how to find a moment again.

    Args:
        seed: of all slots.
        slot: number of the slot.
        episode: number of the slot's episode, from 0.
        step: number of its step.

    Returns:
        All of it, with the seed that the episode was reset with.
    """
    reset_seed = int(episode_seeds(seed, slot, episode)[0])
    return f"slot {slot}, episode {episode}, reset seed {reset_seed}, step {step}"


class SlotEnv(BatchedEnv):
    """Steps n environments of one kind.

    Attributes:
        envs: [n] the environments themselves; `clone` one to try something out.
    """

    @foreign
    def __init__(
        self,
        make: Callable[[], SingleEnv],
        num_envs: int,
        seed: int = 0,
        *,
        first_slot: int = 0,
        random_openings: float = 0.0,
        max_random_plies: int = 0,
    ) -> None:
        """Makes the environments.

        Args:
            make: makes one.
            num_envs: n >= 1.
            seed: episode e of slot i is seeded from (seed, i, e), whatever n is.
            first_slot: number of the first slot, where this is a part of a larger batch.
            random_openings: two players: probability that a game starts after random moves.
            max_random_plies: such a start has 1 to this many uniformly random legal moves.

        Raises:
            EnvError: an environment cannot be made, or an opening option is impossible.
        """
        self.num_envs = num_envs
        self.envs: list[SingleEnv] = []
        try:
            self.envs += [make() for _ in range(num_envs)]
        except BaseException:
            self.close()
            raise
        self.spec = self.envs[0].spec
        self._seed, self._first_slot = seed, first_slot
        self._openings = checked_openings(self.spec, random_openings, max_random_plies)
        self._legal = np.ones((num_envs, self.spec.num_actions), np.bool_)
        self._to_play = np.zeros(num_envs, np.int8)
        self._masked = np.zeros(num_envs, np.bool_)
        self._episode = np.full(num_envs, -1, np.int64)
        self._length = np.zeros(num_envs, np.int64)
        self._played = np.zeros((num_envs, 64), np.int32)  # actions of the unfinished episodes, openings left out
        self._shown = self._empty_step().observation

    @foreign
    def reset(self) -> Step:
        """Starts a new episode in every slot.

        Returns:
            The first step, its rewards 0 and nothing ended.
        """
        return self._quiet_step(lambda i: self._start_episode(i, new_game=True))

    @foreign_step
    def step(self, actions: NDArray[np.integer[Any]]) -> Step:
        """Plays one action in every slot and starts the next episode where one ended.

        Args:
            actions: [n] integers, each legal in its slot.

        Returns:
            What followed.

        Raises:
            EnvError: an action is illegal or the array has the wrong shape or dtype (nothing has been played then), or
                an environment raised or showed something impossible.
        """
        moves = self._checked_moves(actions, self._legal)
        step = self._empty_step()
        for i in range(self.num_envs):
            self._remember(i, int(moves[i]))
            moment = self._play(i, int(moves[i]))
            step.reward[i], step.terminated[i], step.truncated[i] = (
                moment.reward, moment.terminated, moment.truncated,
            )  # fmt: skip
            observation = moment.observation
            if moment.terminated or moment.truncated:
                step.final_observation[i], step.final_to_play[i] = observation, moment.to_play
                observation = self._start_episode(i)
            step.observation[i] = observation
        step.legal_actions[:], step.to_play[:] = self._legal, self._to_play
        self._shown = step.observation
        return step

    @foreign
    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Returns what names the unfinished episodes, the way into each or its state, and what they show now.

        Raises:
            EnvError: an environment cannot be saved though it says so.
        """
        played = [row[:length] for row, length in zip(self._played, self._length, strict=True)]
        return {
            "episode": self._episode.copy(),
            "length": self._length.copy(),
            **pack(played, [self._save(i) for i in range(self.num_envs)]),
            "observation": self._shown.copy(),
            "legal_actions": self._legal.copy(),
        }

    @foreign
    def restore(self, snapshot: Mapping[str, Any], keep_episodes: bool = True) -> tuple[Step, NDArray[np.bool_]]:
        """Loads the unfinished episodes, or plays them again and checks that they show what they showed.

        Args:
            snapshot: what `snapshot` of an environment of the same name, size and seed returned.
            keep_episodes: False gives up the unfinished episodes and begins the next, in a new game, in every slot.

        Returns:
            The present observations; and [n] bool, which episodes go on. An environment that its author calls
            nondeterministic, that does not show the same again or whose state is not taken begins its next episode.

        Raises:
            EnvError: the snapshot's arrays have other shapes.
        """
        like = {"episode": self._episode, "length": self._length, "observation": self._shown}
        saved = self._checked_snapshot(snapshot, like | {"legal_actions": self._legal})
        actions, states = unpack(self.spec.name, snapshot, saved["length"])
        self._episode[:], self._length[:] = saved["episode"], saved["length"]
        goes_on = np.full(self.num_envs, keep_episodes)
        self.not_restored = "" if keep_episodes else "unfinished episodes were given up"

        def resume(i: int) -> NDArray[Any]:
            if not keep_episodes:
                return self._start_episode(i, new_game=True)
            shown, legal = saved["observation"][i], saved["legal_actions"][i]
            problem = self._load(i, states[i], shown, legal) if states[i] else self._replay(i, actions[i], shown, legal)
            if not problem:
                observation: NDArray[Any] = shown
                return observation
            goes_on[i], self.not_restored = False, self.not_restored or problem
            return self._start_episode(i, new_game=True)

        return self._quiet_step(resume), goes_on

    @foreign
    def close(self) -> None:
        """Closes every environment, also after one that does not let itself be closed."""
        for env in self.envs:
            with contextlib.suppress(Exception):
                env.close()

    def where(self, i: int) -> str:
        """Returns how to find the present moment of slot i again."""
        return place(self._seed, self._first_slot + i, int(self._episode[i]), int(self._length[i]))

    def _save(self, i: int) -> bytes:
        """Returns the state of slot i, or nothing where its environment saves none."""
        if not self.envs[i].saves_state:
            return b""
        try:
            return self.envs[i].save()
        except Exception as error:
            raise EnvError(f"{self.spec.name}: save raised {one_line(error)} ({self.where(i)})") from error

    def _load(self, i: int, state: bytes, shown: NDArray[Any], legal: NDArray[np.bool_]) -> str:
        """Puts slot i into a state; returns why that could not be done, or ""."""
        try:
            self._take(i, self.envs[i].load(state, shown))
        except EnvError as error:
            return str(error)
        except Exception as error:
            return f"{self.spec.name}: load raised {one_line(error)} ({self.where(i)})"
        if not np.array_equal(self._legal[i], legal):
            return f"{self.spec.name} allows other actions when loaded ({self.where(i)})"
        return ""

    def _replay(self, i: int, actions: NDArray[np.int32], shown: NDArray[Any], legal: NDArray[np.bool_]) -> str:
        """Plays an unfinished episode of slot i again; returns why it could not be restored, or ""."""
        if not self.envs[i].repeatable:
            return f"{self.spec.name} is registered as nondeterministic"
        self._episode[i] -= 1
        try:
            observation = self._start_episode(i, new_game=True)
            for move in actions:
                self._remember(i, int(move))
                moment = self._play(i, int(move))
                observation = moment.observation
                if moment.terminated or moment.truncated:
                    return f"{self.spec.name} ends another way when played again ({self.where(i)})"
        except EnvError as error:
            return str(error)
        if not np.array_equal(observation, shown) or not np.array_equal(self._legal[i], legal):
            return f"{self.spec.name} shows something else when played again ({self.where(i)})"
        return ""

    def _start_episode(self, i: int, new_game: bool = False) -> NDArray[Any]:
        self._episode[i] += 1
        self._length[i] = 0
        observation = self._begin(i, new_game)
        share, most_plies = self._openings
        if share == 0.0:
            return observation
        draws = stream_keys(self._episode_seed(i), "opening", np.arange(max(most_plies, 1) + 2)) >> np.uint64(11)
        if float(draws[0]) * 2.0**-53 >= share:
            return observation
        for draw in draws[2 : 3 + int(draws[1] % np.uint64(most_plies))]:
            legal = np.flatnonzero(self._legal[i])
            moment = self._play(i, int(legal[int(draw % np.uint64(len(legal)))]))
            if moment.terminated or moment.truncated:  # too far: this game starts at the beginning
                return self._begin(i, new_game=True)
            observation = moment.observation
        return observation

    def _begin(self, i: int, new_game: bool) -> NDArray[Any]:
        """Begins an episode in slot i, in a new game or where the one before ended; returns its first observation."""
        env = self.envs[i]
        try:
            moment = (env.new_game if new_game else env.reset)(self._episode_seed(i))
        except EnvError as error:
            raise EnvError(f"{error} ({self.where(i)})") from error
        except (Exception, SystemExit) as error:
            raise EnvError(f"{self.spec.name}: reset raised {one_line(error)} ({self.where(i)})") from error
        if moment.terminated or moment.truncated:
            raise EnvError(f"{self.spec.name}: the episode is over right after reset ({self.where(i)})")
        self._take(i, moment)
        observation: NDArray[Any] = moment.observation
        return observation

    def _play(self, i: int, move: int) -> Moment:
        """Plays one action in slot i; returns the moment after checking it."""
        try:
            moment = self.envs[i].step(move)
        except EnvError as error:
            raise EnvError(f"{error} ({self.where(i)})") from error
        except (Exception, SystemExit) as error:
            raise EnvError(f"{self.spec.name}: step raised {one_line(error)} ({self.where(i)})") from error
        moment.truncated = moment.truncated and not moment.terminated
        mover = self._to_play[i]
        self._take(i, moment)
        over = moment.terminated or moment.truncated
        if self.spec.alternating and self.spec.num_players == 2 and moment.to_play == mover and not over:
            raise self._wrong(
                i,
                f"player {mover} moves twice in a row, but the game was taken for strictly alternating; declare it "
                '(EnvSpec.alternating = False, for Gymnasium metadata = {"alternating": False})',
            )
        return moment

    def _take(self, i: int, moment: Moment) -> None:
        """Checks what slot i shows and notes who may do what; the observation gets shape and dtype of the spec."""
        shape, dtype = self.spec.observation_shape, self.spec.observation_dtype
        try:
            observation = np.asarray(moment.observation, dtype)
        except (TypeError, ValueError) as error:
            raise self._wrong(i, f"observation must be numbers of shape {shape}, got {one_line(error)}") from error
        if observation.shape != shape:
            raise self._wrong(i, f"observation must have shape {shape}, got {observation.shape}")
        if dtype.kind == "f" and not np.isfinite(observation).all():
            raise self._wrong(i, f"observation must be finite, got {str(observation)[:200]}")
        moment.observation = observation
        if not math.isfinite(moment.reward):
            raise self._wrong(i, f"reward must be finite, got {moment.reward}")
        if not 0 <= moment.to_play < self.spec.num_players:
            raise self._wrong(i, f"to_play must be a seat in [0, {self.spec.num_players}), got {moment.to_play}")
        if moment.terminated or moment.truncated:
            return
        self._to_play[i] = moment.to_play
        try:
            self._masked[i] = mask_kept(self.spec.name, bool(self._masked[i]), moment.legal_actions)
        except EnvError as error:
            raise EnvError(f"{error} ({self.where(i)})") from error
        if moment.legal_actions is None:
            self._legal[i] = True
            return
        mask, wanted = np.asarray(moment.legal_actions), (self.spec.num_actions,)
        if mask.shape != wanted or not mask.any():
            got = "none" if mask.shape == wanted else f"shape {mask.shape}"
            raise self._wrong(i, f"action mask must have shape {wanted} and allow an action, got {got}")
        self._legal[i] = mask != 0

    def _wrong(self, i: int, what: str) -> EnvError:
        return EnvError(f"{self.spec.name}: {what} ({self.where(i)})")

    def _remember(self, i: int, move: int) -> None:
        """Writes down an action of slot i, unless its environment saves what came of it."""
        if not self.envs[i].saves_state:
            if self._length[i] == self._played.shape[1]:
                self._played = np.concatenate([self._played, np.zeros_like(self._played)], axis=1)
            self._played[i, self._length[i]] = move
        self._length[i] += 1

    def _episode_seed(self, i: int) -> int:
        return int(episode_seeds(self._seed, self._first_slot + i, self._episode[i])[0])

    def _quiet_step(self, observe: Callable[[int], NDArray[Any]]) -> Step:
        """Returns a step in which nothing was played; `observe(i)` gives slot i's observation."""
        step = self._empty_step()
        for i in range(self.num_envs):
            step.observation[i] = observe(i)
        step.legal_actions[:], step.to_play[:] = self._legal, self._to_play
        self._shown = step.observation
        return step

    def _empty_step(self) -> Step:
        n, spec = self.num_envs, self.spec
        return Step(
            observation=np.zeros((n, *spec.observation_shape), spec.observation_dtype),
            legal_actions=np.zeros((n, spec.num_actions), np.bool_),
            to_play=np.zeros(n, np.int8),
            reward=np.zeros(n, np.float32),
            terminated=np.zeros(n, np.bool_),
            truncated=np.zeros(n, np.bool_),
            final_observation=np.zeros((n, *spec.observation_shape), spec.observation_dtype),
            final_to_play=np.zeros(n, np.int8),
        )
