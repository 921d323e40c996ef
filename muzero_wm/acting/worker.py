"""Where acting runs: beside the learner in a process of its own, or inline; the hand-over is the same.

A round is begun with weights and collected later, so learner and actor work at the same time and meet only at the
border of a round. The state at that border comes back with what was played: from it a run is resumed, and a process
that crashed or hangs is replaced by one that plays the same round again.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.acting.actor import Actor, SearchError
from muzero_wm.acting.episodes import Played
from muzero_wm.basis.errors import UserError, one_line
from muzero_wm.basis.malloc import keep_freed_memory
from muzero_wm.basis.processes import Child, RemoteTraceback, StartError, remote_traceback
from muzero_wm.basis.signals import Tick, proceed
from muzero_wm.config import Config
from muzero_wm.envs.naming.handover import Handover, handover
from muzero_wm.envs.naming.imports import MAIN
from muzero_wm.model.device import resolve_device
from muzero_wm.model.world_model import WorldModel
from muzero_wm.replay.stored import Stored, TermError, stored_for

Weights = dict[str, torch.Tensor]

_LOOK_UP_SECONDS = 0.2
_SHORTEST_START_SECONDS = 60.0  # a new process imports its libraries first
_SECONDS_TO_CLOSE = 3.0


class ActingError(UserError):
    """Acting failed; the message says where and why.

    Attributes:
        arrays: for inspection, where numbers were the reason.
    """

    def __init__(self, message: str, arrays: dict[str, NDArray[Any]] | None = None) -> None:
        """Keeps the arrays beside the message."""
        super().__init__(message)
        self.arrays = arrays or {}


class Round(NamedTuple):
    """What an actor brings to the border of a round.

    Attributes:
        played: steps of its n slots.
        border: its state there, from which it would go on.
        lost: [n] bool, slots whose unfinished episodes were given up before this round.
        counts: for the log; those of several actors are added.
        notes: what happened on the way that somebody should know, one line each.
    """

    played: Played
    border: Mapping[str, Any]
    lost: NDArray[np.bool_]
    counts: dict[str, float]
    notes: list[str]


class ActorHandle(ABC):
    """Acts in a range of a run's slots, one round at a time: `begin`, then `collect`.

    Args:
        config: the run's configuration.
        slots: numbers of the environments; a part of `acting.num_envs`, or all of them.
        state: where to go on (`Round.border`); None begins.
    """

    def __init__(self, config: Config, slots: range, state: Mapping[str, Any] | None = None) -> None:
        """Keeps the arguments."""
        self._config, self._slots, self._border = config, slots, state
        self._stored = stored_for(config)
        self._lost = np.zeros(len(slots), np.bool_)
        self._notes: list[str] = []

    def prepare(self, tick: Tick = proceed) -> None:  # noqa: B027
        """Waits until a round can begin at once; `begin` does not need it.

        Args:
            tick: as for `collect`.
        """

    @abstractmethod
    def begin(self, weights: Weights, moves: int | None = None) -> None:
        """Hands over the weights of the round; does not wait for it.

        Args:
            weights: of the network that plays.
            moves: of every environment, at most `acting.steps_per_round`, which None stands for.
        """

    @abstractmethod
    def collect(self, tick: Tick = proceed) -> Round:
        """Waits for the round and returns it.

        Args:
            tick: called several times a second; may raise to give the round up.

        Raises:
            ActingError: the environment or the process failed.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends acting."""

    def _began(self, goes_on: NDArray[np.bool_], why: str) -> None:
        if not goes_on.all():
            self._lost |= ~goes_on
            lost = int((~goes_on).sum())
            self._notes.append(f"{lost} of {len(goes_on)} unfinished episodes were dropped, the next begin: {why}")

    def _finished(self, played: Played, border: Mapping[str, Any], counts: dict[str, float] | None = None) -> Round:
        self._border = border
        round_ = Round(played, border, self._lost, counts or {}, self._notes)
        self._lost, self._notes = np.zeros_like(self._lost), []
        return round_


class InlineActor(ActorHandle):
    """Acts in this process, when the round is collected."""

    def __init__(self, config: Config, slots: range, state: Mapping[str, Any] | None = None) -> None:
        """Builds the actor; see `ActorHandle` for the arguments."""
        super().__init__(config, slots, state)
        self._actor = _build(config, slots, state, stored=self._stored)
        self._began(self._actor.goes_on, self._actor.env.not_restored)

    def begin(self, weights: Weights, moves: int | None = None) -> None:
        """Takes the round's weights."""
        self._actor.load_weights(weights)
        self._moves = moves or self._config.acting.steps_per_round

    def collect(self, tick: Tick = proceed) -> Round:
        """Plays the round and returns it."""
        try:
            played = self._actor.play(self._moves, tick)
        except SearchError as error:
            raise ActingError(f"acting failed: {error}", error.arrays) from error
        except (envs.EnvError, TermError) as error:
            raise ActingError(f"acting failed: {error}") from error
        return self._finished(played, self._actor.state_dict())

    def close(self) -> None:
        """Closes the environments."""
        self._actor.close()


class _WorkerLostError(Exception):
    """The acting process is gone or does not answer; the message completes "the acting process ..."."""


class ProcessActor(ActorHandle):
    """Acts in a spawned process with one torch thread.

    A process that crashes or hangs is replaced, and the new one plays the round again from its border with the same
    weights. Where the round fails a second time, its unfinished episodes are given up.
    """

    def __init__(self, config: Config, slots: range, state: Mapping[str, Any] | None = None) -> None:
        """Starts the process, which is ready when the first round is collected; see `ActorHandle` for the arguments."""
        super().__init__(config, slots, state)
        self._restarts = 0
        here = not config.acting.env_workers and config.acting.env_timeout_seconds is None
        blame = here and not envs.is_built_in(config.env)
        self._hint = "; if it is the environment, acting.env_workers=1 names its seed and step" if blame else ""
        self._task: tuple[dict[str, NDArray[Any]], int] = ({}, 0)
        self._along = handover(config.env, config.model.torso)
        _check_importable(self._stored)
        self._start()

    def _start(self, keep_episodes: bool = True) -> None:
        arguments = (self._config, self._along, self._slots, self._border, keep_episodes, self._stored)
        self._child = Child(_serve, arguments, "actor", needs_main=self._along.needs_main)
        self._ready = self._busy = False
        self._memory = 0.0
        self._waiting_since = time.monotonic()

    def prepare(self, tick: Tick = proceed) -> None:
        """Waits until the process has imported and compiled what it needs and made its environments."""
        with contextlib.suppress(_WorkerLostError):  # the round will meet the same end, and restart
            self._await_start(tick)

    def begin(self, weights: Weights, moves: int | None = None) -> None:
        """Sends what the round needs; returns at once.

        Raises:
            ActingError: the process must be replaced because of its size, and may not.
        """
        limit = self._config.acting.max_memory_mib
        if limit is not None and self._memory > limit:
            self._restart(f"the acting process holds {self._memory:.0f} MiB, more than acting.max_memory_mib", True)
        # arrays, not tensors: nothing shared stays behind when either side ends
        arrays = {name: tensor.numpy() for name, tensor in weights.items()}
        self._task = (arrays, moves or self._config.acting.steps_per_round)
        if self._ready:
            self._send_task()

    def collect(self, tick: Tick = proceed) -> Round:
        """Waits for the round.

        Raises:
            ActingError: an environment failed, or the process did so more often than `acting.max_restarts`.
        """
        keep_episodes = True
        while True:
            try:
                return self._round(tick)
            except _WorkerLostError as lost:
                self._restart(f"the acting process {lost}", keep_episodes)
                keep_episodes = False

    def _await_start(self, tick: Tick) -> None:
        goes_on, why = self._receive(tick)
        self._ready = True
        self._began(goes_on, why)

    def _round(self, tick: Tick) -> Round:
        if not self._ready:
            self._await_start(tick)
            self._send_task()
        played, border, memory = self._receive(tick)
        self._busy = False
        self._memory = memory
        restarts = {"acting/restarts": float(self._restarts)} if self._restarts else {}
        return self._finished(played, border, {"acting/memory_mib": memory} | restarts)

    def _send_task(self) -> None:
        self._busy, self._waiting_since = True, time.monotonic()
        self._child.tell(self._task)

    def _receive(self, tick: Tick) -> Any:
        limit = self._config.acting.timeout_seconds
        if limit is not None and not self._ready:
            limit = max(limit, _SHORTEST_START_SECONDS)
        try:
            while not self._child.pipe.poll(_LOOK_UP_SECONDS):
                tick()
                if limit is not None and time.monotonic() - self._waiting_since > limit:
                    raise _WorkerLostError(f"gave no answer for {limit:g} s (acting.timeout_seconds)")
            kind, *content = self._child.receive()
        except StartError as error:
            raise ActingError(f"acting failed: {error}") from None
        except (EOFError, OSError):
            raise _WorkerLostError(f"ended unexpectedly ({self._child.exit_reason()})") from None
        if kind == "error":
            message, arrays, remote = content
            raise ActingError(f"acting failed: {message}", arrays) from RemoteTraceback(remote)
        return content

    def _restart(self, why: str, keep_episodes: bool) -> None:
        allowed = self._config.acting.max_restarts
        if self._restarts >= allowed:
            raise ActingError(f"{why}; it was restarted {allowed} times before (acting.max_restarts){self._hint}")
        self._restarts += 1
        self._notes.append(f"{why}; restart {self._restarts} of at most {allowed}")
        self._child.close()
        self._start(keep_episodes)

    def close(self) -> None:
        """Ends the process: politely where it waits for a round, at once where it is in the middle of one."""
        if self._ready and not self._busy:
            self._child.tell(None)
            self._child.join(_SECONDS_TO_CLOSE)
        self._child.close()


def _check_importable(stored: Sequence[Stored]) -> None:
    """Checks that another process finds what computes the things that terms of the loss have stored.

    Raises:
        EnvError: it does not.
    """
    for each in stored:
        try:
            found = pickle.dumps(each)
        except Exception as error:
            why = one_line(error)[:200]
        else:
            why = "it is defined in the program itself" if any(name.encode() in found for name in MAIN) else ""
        if why:
            raise envs.EnvError(f"what a term stores as {each.name!r} is found by no other process ({why})")


def _build(
    config: Config,
    slots: range,
    state: Mapping[str, Any] | None,
    keep_episodes: bool = True,
    stored: Sequence[Stored] = (),
) -> Actor:
    model = WorldModel(config.model, envs.spec(config.env))
    model = model.to(resolve_device(config.run.device, model.torso.spatial))
    return Actor(config, model, state, keep_episodes, slots, stored)


def _serve(
    pipe: Connection,
    config: Config,
    along: Handover,
    slots: range,
    state: Mapping[str, Any] | None,
    keep_episodes: bool,
    stored: Sequence[Stored],
) -> None:
    """Plays rounds until told to stop, or until the learner is gone."""
    torch.set_num_threads(1)
    keep_freed_memory()
    actor: Actor | None = None
    try:
        along.take(config.env)
        actor = _build(config, slots, state, keep_episodes, stored)
        pipe.send(("ready", actor.goes_on, actor.env.not_restored))
        while (task := pipe.recv()) is not None:
            weights, moves = task
            actor.load_weights({name: torch.from_numpy(array) for name, array in weights.items()})
            played = actor.play(moves)
            pipe.send(("round", played, actor.state_dict(), _memory_mib()))
    except (EOFError, BrokenPipeError):
        return  # the learner is gone
    except SearchError as error:
        pipe.send(("error", str(error), error.arrays, remote_traceback()))
    except UserError as error:
        pipe.send(("error", str(error), {}, remote_traceback()))
    except Exception:
        pipe.send(("error", remote_traceback(), {}, ""))
    finally:
        if actor is not None:
            actor.close()


def _memory_mib() -> float:
    """Returns the resident memory of this process, 0 where /proc does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0
