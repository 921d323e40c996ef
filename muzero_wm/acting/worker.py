"""Where acting runs: beside the learner in a process of its own, or inline; the hand-over is the same.

A round is begun with weights and collected later, so learner and actor work at the same time and meet only at the
border of a round.
"""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import signal
import traceback
from multiprocessing.connection import Connection
from typing import Protocol

import torch

from muzero_wm import envs
from muzero_wm.acting.actor import ActingResult, Actor
from muzero_wm.config import Config
from muzero_wm.errors import UserError
from muzero_wm.model.world_model import WorldModel
from muzero_wm.run.malloc import keep_freed_memory

Weights = dict[str, torch.Tensor]


class ActingError(UserError):
    """Acting failed; the message says where and why."""


class ActorHandle(Protocol):
    """One round at a time: `begin`, then `collect`."""

    def begin(self, weights: Weights) -> None:
        """Hands over the weights of the round; does not wait for it."""

    def collect(self) -> ActingResult:
        """Returns what the round brought."""
        ...

    def close(self) -> None:
        """Ends acting."""


class InlineActor:
    """Acts in this process, when the round is collected.

    Args:
        config: the run's configuration.
        start_round: rounds acted before.
    """

    def __init__(self, config: Config, start_round: int = 0) -> None:
        """Builds the actor."""
        self._actor = _build(config, start_round)
        self._steps = config.acting.steps_per_round

    def begin(self, weights: Weights) -> None:
        """Takes the round's weights."""
        self._actor.load_weights(weights)

    def collect(self) -> ActingResult:
        """Plays the round and returns it."""
        return self._actor.play(self._steps)

    def close(self) -> None:
        """Closes the environments."""
        self._actor.close()


class ProcessActor:
    """Acts in a spawned process with one torch thread.

    Args:
        config: the run's configuration.
        start_round: rounds acted before.
    """

    def __init__(self, config: Config, start_round: int = 0) -> None:
        """Starts the process; it is ready when the first round is collected."""
        context = mp.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, config, start_round), daemon=True, name="actor")
        self._process.start()
        theirs.close()

    def begin(self, weights: Weights) -> None:
        """Sends the round's weights; returns at once."""
        try:
            # arrays, not tensors: nothing shared stays behind when either side ends
            self._pipe.send({name: tensor.numpy() for name, tensor in weights.items()})
        except (BrokenPipeError, OSError):
            self._fail()

    def collect(self) -> ActingResult:
        """Waits for the round.

        Raises:
            ActingError: the process failed or ended.
        """
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self._fail()
        if isinstance(answer, str):
            raise ActingError(f"acting failed: {answer}")
        return answer

    def _fail(self) -> None:
        self._process.join(timeout=5)
        raise ActingError(f"the acting process ended unexpectedly (exit code {self._process.exitcode})")

    def close(self) -> None:
        """Ends the process: politely first."""
        with contextlib.suppress(BrokenPipeError, OSError):  # it may be gone already
            self._pipe.send(None)
        self._process.join(timeout=2)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        self._pipe.close()


def make_actor(config: Config, start_round: int = 0) -> ActorHandle:
    """Returns the actor that `acting.process` asks for."""
    return ProcessActor(config, start_round) if config.acting.process else InlineActor(config, start_round)


def _build(config: Config, start_round: int) -> Actor:
    return Actor(config, WorldModel(config.model, envs.spec(config.env)), start_round)


def _serve(pipe: Connection, config: Config, start_round: int) -> None:
    """Plays rounds until told to stop; Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        actor = _build(config, start_round)
        while (weights := pipe.recv()) is not None:
            actor.load_weights({name: torch.from_numpy(array) for name, array in weights.items()})
            pipe.send(actor.play(config.acting.steps_per_round))
        actor.close()
    except (EOFError, BrokenPipeError):
        return  # the learner is gone
    except UserError as error:
        pipe.send(str(error))
    except Exception:
        pipe.send(traceback.format_exc())
