"""Random play of one environment, with a look at everything that it shows.

`SlotEnv` stops at the first thing that it cannot train on; a trial notes it and plays on, so that one check tells all.
"""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import one_line
from muzero_wm.basis.seeding import episode_seeds
from muzero_wm.envs.base import EnvError, EnvSpec
from muzero_wm.envs.checking.declared import (
    NOT_FINITE,
    NOT_UINT8,
    OUTSIDE,
    REWARD,
    SHAPE,
    WHOLE,
    Misfit,
    Tap,
    is_number,
)
from muzero_wm.envs.checking.findings import Findings, Severity
from muzero_wm.envs.checking.seats import Seats
from muzero_wm.envs.slots.single import Moment, SingleEnv

_MOST_CRASHES = 5
_KEPT_STEPS = 200  # of the first episodes, to be played again


class Shown(NamedTuple):
    """One moment, in a form that can be kept and compared."""

    observation: bytes
    legal_actions: bytes
    to_play: int
    reward: float
    ended: tuple[bool, bool]


class Episode(NamedTuple):
    """An episode that was played: its reset seed, its actions, and what was shown before and after each."""

    seed: int
    actions: list[int]
    shown: list[Shown]


class Stop(Exception):  # noqa: N818 - it ends an episode, it is no mistake of ours
    """Ends an episode in which nothing sensible can follow."""


class Trial:
    """Plays random episodes and notes what is wrong with them.

    Attributes:
        env: the environment.
        steps: steps played.
        lengths: of the episodes that ended.
        returns: of the episodes that ended, summed from the view of whoever moved.
        terminated: how many of them the rules ended.
        masked: whether a mask was given.
        kept: the first episodes, whole or cut.
        seats: the results of two players.
    """

    def __init__(self, env: SingleEnv, findings: Findings, seed: int) -> None:
        """Prepares random play.

        Args:
            env: the environment; this is the first that is done with it.
            findings: where to note what is wrong.
            seed: of the actions; episode e is reset as the e-th of slot 0 of a run's environments with this seed.
        """
        self.env, self.spec, self._findings, self._seed = env, env.spec, findings, seed
        self._tap = Tap(env.raw) if env.raw is not None else None
        self._rng = np.random.default_rng(seed)
        self.steps = self.terminated = self._crashes = self._begun = 0
        self.lengths: list[int] = []
        self.returns: list[float] = []
        self.masked = False
        self.kept: list[Episode] = []
        self.seats = Seats()
        self._where = ""
        self._now = Moment(None)
        self._legal: NDArray[np.bool_] = np.ones(self.spec.num_actions, np.bool_)
        self._episode = Episode(0, [], [])
        self._return = 0.0

    @property
    def broken(self) -> bool:
        """Whether too much went wrong to play on."""
        return self._crashes >= _MOST_CRASHES

    def play(self, steps: int, seconds: float) -> None:
        """Plays until there were `steps` in all, or that much time has passed; the last episode may stay unfinished."""
        end = time.monotonic() + seconds
        while not self.broken and self.steps < steps and time.monotonic() < end:
            try:
                if not self._episode.shown:
                    self._begin(int(episode_seeds(self._seed, 0, self._begun)[0]))
                self._move()
            except Stop:
                self._crashes += 1
                self._episode = Episode(0, [], [])

    def _begin(self, seed: int) -> None:
        self._begun += 1
        self._episode, self._return = Episode(seed, [], []), 0.0
        self._where = f"reset seed {seed}, step 0"
        try:
            moment = self.env.new_game(seed)
        except Exception as error:
            self._crash("reset raises", error, "let reset(seed=...) work at any time, also after the end of an episode")
        if moment.terminated or moment.truncated:
            self._note(
                "error", "episode over right after reset", "reset ends the episode", "let an episode have a step"
            )
            raise Stop
        self._take(moment)
        if self.spec.num_players == 2:
            self.seats.begin(moment)
        if sum(len(episode.actions) for episode in self.kept) < _KEPT_STEPS:
            self.kept.append(self._episode)

    def _move(self) -> None:
        action = int(self._rng.choice(np.flatnonzero(self._legal)))
        mover, given = self._now.to_play, "the mask allows" if self._now.legal_actions is not None else "there is"
        self._episode.actions.append(action)
        self._where = f"reset seed {self._episode.seed}, step {len(self._episode.actions)}"
        self.steps += 1
        try:
            moment = self.env.step(action)
        except Exception as error:
            remedy = "play every action that is allowed, and forbid the others by info['action_mask']"
            self._crash("a legal action is refused", error, remedy, f"action {action}, which {given}: ")
        self._take(moment)
        self._return += moment.reward
        ended = moment.terminated or moment.truncated
        if self.spec.num_players == 2:
            if self.spec.alternating and not ended and moment.to_play == mover:
                remedy = "declare alternating=False, or pass the turn after every move"
                self._note("error", "the turn is not passed", f"player {mover} moves twice in a row", remedy)
            self.seats.follow(mover, moment)
        longest = self.spec.max_episode_steps
        if longest is not None and len(self._episode.actions) > longest:
            remedy = "declare the longest episode there is, or leave the limit away"
            self._note("warning", "an episode longer than declared", f"declared are {longest} steps", remedy)
        if ended:
            self._finish(moment)

    def _finish(self, moment: Moment) -> None:
        self.lengths.append(len(self._episode.actions))
        self.returns.append(self._return)
        self.terminated += moment.terminated
        bounds = self.spec.value_bounds
        if self.spec.num_players == 1 and bounds is not None and not bounds[0] <= self._return <= bounds[1]:
            remedy = "widen value_bounds, or leave them away"
            seen = f"a return of {self._return:.6g}, declared is {bounds[0]:g} to {bounds[1]:g}"
            self._note("warning", "a return outside its bounds", seen, remedy)
        if self._tap is not None and self._tap.both_ends:
            remedy = "return truncated only where a limit cuts an episode that could go on"
            seen = "terminated and truncated in the same step; it counts as terminated"
            self._note("note", "terminated and truncated together", seen, remedy)
        self._episode = Episode(0, [], [])

    def _take(self, moment: Moment) -> None:
        """Looks at a moment from all sides and makes it the present one."""
        misfit = self._tap.misfit() if self._tap is not None else None
        if misfit is None or misfit.severity != "error":
            misfit = _misfit(moment, self.spec, self._tap is not None) or misfit
        if misfit is not None:
            self._note(*misfit)
        if self._tap is not None and self._tap.reused:
            seen = "the same array is returned every time, with new numbers; every step is copied here"
            self._note("note", "an array used again", seen, "nothing to do; other users would want a copy")
        if misfit is not None and misfit.title in (SHAPE, REWARD):
            raise Stop
        ended = moment.terminated or moment.truncated
        if not 0 <= moment.to_play < self.spec.num_players:
            seen = f"to_play is {moment.to_play}, of {self.spec.num_players} players"
            self._note("error", "a player who is not there", seen, "let to_play be the number of a seat, from 0")
            raise Stop
        if not ended:
            self._legal = self._checked_mask(moment.legal_actions)
        self._now = moment
        if len(self._episode.shown) <= _KEPT_STEPS:
            self._episode.shown.append(shown(moment, self.spec))

    def _checked_mask(self, given: Any) -> NDArray[np.bool_]:
        """Returns which actions are legal, after noting what is wrong with the mask."""
        wanted = (self.spec.num_actions,)
        if given is None and self.masked:
            remedy = (
                "give it in reset and in every step until the episode is over, all ones where every action is legal"
            )
            self._note("error", "a mask that goes missing", "the mask was given before and is missing now", remedy)
            raise Stop
        if given is None:
            return np.ones(wanted, np.bool_)
        self.masked = True
        remedy = f"give {wanted[0]} booleans, True where the action is legal"
        mask = np.asarray(given)
        if mask.shape != wanted or mask.dtype.kind not in "biuf":
            seen = f"the mask has shape {mask.shape} and dtype {mask.dtype}, expected {wanted} bool"
            self._note("error", "a mask of the wrong shape or dtype", seen, remedy)
            raise Stop
        if not mask.any():
            seen = "the mask allows no action, and the episode goes on"
            self._note("error", "a mask that allows nothing", seen, "end the episode where no action is left")
            raise Stop
        if mask.dtype.kind != "b" and not np.isin(mask, (0, 1)).all():
            seen = f"the mask holds {mask[~np.isin(mask, (0, 1))][0]:g}; everything but 0 counts as legal"
            self._note("warning", "a mask of other numbers than 0 and 1", seen, f"{remedy}; no list of legal actions")
        legal: NDArray[np.bool_] = mask != 0
        return legal

    def _crash(self, title: str, error: Exception, remedy: str, what: str = "") -> NoReturn:
        misfit = self._tap.misfit() if self._tap is not None else None
        if misfit is not None and misfit.severity == "error":
            self._note(*misfit)  # the adapter could not read what was returned; this says why
        elif isinstance(error, EnvError):
            self._note("error", "not usable", str(error), "see docs/custom-environment.md for what is expected")
        else:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{frame.filename.rpartition('/')[2]}, line {frame.lineno}"
            self._note("error", title, f"{what}{one_line(error)} ({place})", remedy)
        raise Stop from error

    def _note(self, severity: Severity, title: str, seen: str, remedy: str) -> None:
        self._findings.add(severity, title, f"{seen} ({self._where})", remedy)


def replayed(env: SingleEnv, episode: Episode, seed: int | None = None) -> list[Shown]:
    """Plays an episode once more.

    Args:
        env: where to play it.
        episode: its actions are played as long as something was shown after them.
        seed: another reset seed; None: its own.

    Returns:
        What is shown until it ends. A list shorter than what was shown means that it ended, or failed, before.
    """
    trace: list[Shown] = []
    try:
        trace.append(shown(env.new_game(episode.seed if seed is None else seed), env.spec))
        for action in episode.actions[: len(episode.shown) - 1]:
            if any(trace[-1].ended):
                break
            trace.append(shown(env.step(action), env.spec))
    except Exception:  # it failed where it did not before: that is what the caller wants to know
        return trace
    return trace


def _misfit(moment: Moment, spec: EnvSpec, watched: bool) -> Misfit | None:
    """Returns what is wrong with reward or observation; the bounds are left to the `Tap` where there is one."""
    if not is_number(moment.reward):
        return Misfit("error", REWARD, f"the reward is {moment.reward!r:.60}", "return a finite float")
    shape, dtype, bounds = spec.observation_shape, spec.observation_dtype, spec.observation_bounds
    try:
        given = np.asarray(moment.observation)
        with np.errstate(all="ignore"):
            taken = given.astype(dtype)
    except (TypeError, ValueError) as error:
        return Misfit("error", SHAPE, one_line(error), "return an array of numbers")
    if given.shape != shape:
        seen = f"observation has shape {given.shape}, declared is {shape}"
        return Misfit("error", SHAPE, seen, "return the shape that is declared, or declare this one")
    if not np.isfinite(taken).all():
        seen = f"observation is {str(given)[:100]}"
        return Misfit("error", NOT_FINITE, seen, "return finite numbers that float32 can hold")
    if dtype == np.uint8 and (given != taken).any():
        return Misfit("error", NOT_UINT8, f"{given[given != taken][0]:g} becomes {taken[given != taken][0]}", WHOLE)
    low, high = (taken.min(), taken.max()) if taken.size else (0, 0)
    if not watched and bounds is not None and not bounds[0] <= low <= high <= bounds[1]:
        seen = f"observation from {low:.6g} to {high:.6g}, declared is {bounds[0]:g} to {bounds[1]:g}"
        return Misfit("warning", OUTSIDE, seen, "widen observation_bounds, or clip what is returned")
    return None


def shown(moment: Moment, spec: EnvSpec) -> Shown:
    """Returns a moment in a form that can be kept and compared."""
    observation = np.asarray(moment.observation, spec.observation_dtype)
    legal = b"" if moment.legal_actions is None else (np.asarray(moment.legal_actions) != 0).tobytes()
    ended = bool(moment.terminated), bool(moment.truncated)
    digest = hashlib.blake2b(np.ascontiguousarray(observation).tobytes(), digest_size=16).digest()
    return Shown(digest, b"" if any(ended) else legal, int(moment.to_play), float(moment.reward), ended)


def first_difference(first: Sequence[Shown], second: Sequence[Shown]) -> tuple[int, str] | None:
    """Returns the step at which two plays of an episode part, and in what; None where they do not."""
    for step, (one, other) in enumerate(zip(first, second, strict=False)):
        for name in Shown._fields:
            if getattr(one, name) != getattr(other, name):
                return step, {"ended": "end", "legal_actions": "action mask", "to_play": "player to move"}.get(
                    name, name
                )
    return None if len(first) == len(second) else (min(len(first), len(second)), "end")
