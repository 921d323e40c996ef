"""Environments that are objects, spread over processes.

Each worker holds a part of the slots and steps it as `SlotEnv` does; seeds, openings and episodes follow from the
number of a slot, so nothing depends on how many workers there are. Arrays lie in memory that all share, and a step
costs one small message there and one back. A worker writes down which slot it calls before it calls it: so an
environment that hangs or takes its process down can be named.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import one_line
from muzero_wm.basis.processes import Child, RemoteTraceback, StartError, remote_traceback
from muzero_wm.envs.base import BatchedEnv, EnvError, EnvSpec, Step, checked_openings
from muzero_wm.envs.naming.handover import Handover, handover
from muzero_wm.envs.slots.saved import pack, unpack
from muzero_wm.envs.slots.shared import CALLS, SharedSlots
from muzero_wm.envs.slots.single import Moment, SingleEnv
from muzero_wm.envs.slots.slots import SlotEnv, place

_SECONDS_TO_CLOSE = 2.0
_LOOK_UP_SECONDS = 0.1


class WorkerEnv(BatchedEnv):
    """Steps n environments of one kind in W processes; the same episodes as `SlotEnv`, bit for bit.

    What an environment raises arrives with its message and, as its cause, its traceback. An environment that takes too
    long has its process killed; a process that ends is not replaced. After any such error everything is closed.
    """

    def __init__(
        self,
        name: str,
        maker: Callable[[str], Callable[[], SingleEnv]],
        spec: EnvSpec,
        num_envs: int,
        seed: int = 0,
        *,
        workers: int = 1,
        timeout: float | None = None,
        first_slot: int = 0,
        random_openings: float = 0.0,
        max_random_plies: int = 0,
    ) -> None:
        """Starts the processes and waits until each has made its environments.

        Args:
            name: as for `envs.make`.
            maker: called with the name in each process, returns what makes one environment; at the top of a module.
            spec: what it is.
            num_envs: n >= 1.
            seed: episode e of slot i is seeded from (seed, i, e), whatever n and W are.
            workers: W >= 1; no more than n are started.
            timeout: seconds that one reset or step of one environment may take; None: for ever.
            first_slot: number of the first slot, where this is a part of a larger batch.
            random_openings: two players: probability that a game starts after random moves.
            max_random_plies: such a start has 1 to this many uniformly random legal moves.

        Raises:
            EnvError: an environment cannot be made, or not in another process, or an option is impossible.
        """
        checked_openings(spec, random_openings, max_random_plies)
        self.spec, self.num_envs = spec, num_envs
        self._name, self._seed, self._first_slot, self._timeout = name, seed, first_slot, timeout
        count = min(workers, num_envs)
        edges = [num_envs * w // count for w in range(count + 1)]
        self._parts = [slice(*edges[w : w + 2]) for w in range(count)]
        self._shared = SharedSlots(spec, num_envs, count)
        self._shared.place[:, 1] = -1
        self._children: list[Child] = []
        self._busy = [True] * count
        along = handover(name)
        options = {"random_openings": random_openings, "max_random_plies": max_random_plies}
        try:
            for w, rows in enumerate(self._parts):
                arguments = (
                    name,
                    maker,
                    along,
                    spec,
                    self._shared,
                    w,
                    rows,
                    seed,
                    {"first_slot": first_slot + rows.start, **options},
                )
                self._children.append(
                    Child(
                        _serve,
                        arguments,
                        f"environments-{w}",
                        files=(self._shared.file,),
                        needs_main=along.needs_main,
                    )
                )
            self._shared.close()
            for w in range(count):
                self._answer(w)
        except BaseException:
            self.close()
            raise

    def reset(self) -> Step:
        """Starts a new episode in every slot.

        Returns:
            The first step, its rewards 0 and nothing ended.

        Raises:
            EnvError: an environment failed, took too long or took its process down.
        """
        self._ask([("reset",)] * len(self._parts))
        return self._shared.read()

    def step(self, actions: NDArray[np.integer[Any]]) -> Step:
        """Plays one action in every slot and starts the next episode where one ended.

        Args:
            actions: [n] integers, each legal in its slot.

        Returns:
            What followed.

        Raises:
            EnvError: an action is illegal or the array has the wrong shape or dtype (nothing has been played then), or
                an environment failed, took too long or took its process down.
        """
        self._shared.action[:] = self._checked_moves(actions, self._shared.legal_actions)
        self._ask([("step",)] * len(self._parts))
        return self._shared.read()

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Returns what `SlotEnv` returns for the same slots."""
        parts = self._ask([("snapshot",)] * len(self._parts))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} | {
            "observation": self._shared.observation.copy(),
            "legal_actions": self._shared.legal_actions.copy(),
        }

    def restore(self, snapshot: Mapping[str, Any], keep_episodes: bool = True) -> tuple[Step, NDArray[np.bool_]]:
        """Has every worker load its unfinished episodes, or play them again.

        Args:
            snapshot: what `snapshot` returned, here or in a `SlotEnv`, with the same name, size and seed.
            keep_episodes: False gives up the unfinished episodes and begins the next in every slot.

        Returns:
            The present observations; and [n] bool, which episodes go on.

        Raises:
            EnvError: the snapshot's arrays have other shapes, or an environment failed in a way that ends it.
        """
        counts, shared = np.zeros(self.num_envs, np.int64), self._shared
        like = {"observation": shared.observation, "legal_actions": shared.legal_actions}
        saved = self._checked_snapshot(snapshot, {"episode": counts, "length": counts, **like})
        for name, array in like.items():
            array[:] = saved[name]
        actions, states = unpack(self._name, snapshot, saved["length"])
        questions = []
        for rows in self._parts:
            mine = {name: saved[name][rows] for name in ("episode", "length")} | pack(actions[rows], states[rows])
            questions.append(("restore", mine, keep_episodes))
        answers = self._ask(questions)
        self.not_restored = next((why for _, why in answers if why), "")
        return shared.read(), np.concatenate([goes_on for goes_on, _ in answers])

    def close(self) -> None:
        """Ends the processes: politely where they wait, at once where they are in the middle of something."""
        deadline = time.monotonic() + _SECONDS_TO_CLOSE
        waiting = [child for child, busy in zip(self._children, self._busy, strict=False) if not busy]
        for child in waiting:
            child.tell(None)
        for child in waiting:
            child.join(deadline - time.monotonic())
        for child in self._children:
            child.close()
        self._children = []

    def _ask(self, questions: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Sends every worker its question and returns the answers.

        They are looked at in the order of the slots, so the first slot that failed is the one that is told.
        """
        if not self._children:
            raise EnvError(f"{self._name}: its processes are closed, by close or after an error; make it again")
        try:
            for w, question in enumerate(questions):
                self._busy[w] = True
                self._children[w].tell(question)
            return [self._answer(w) for w in range(len(questions))]
        except BaseException:
            self.close()
            raise

    def _answer(self, w: int) -> Any:
        pipe = self._children[w].pipe
        try:
            while self._timeout is not None and not pipe.poll(min(_LOOK_UP_SECONDS, self._timeout / 4.0)):
                self._check_time(w, self._timeout)
            kind, *content = self._children[w].receive()
        except (EOFError, ConnectionResetError):
            raise EnvError(f"{self._name}: the process of {self._lost(w)}") from None
        except StartError as error:
            raise EnvError(f"{self._name}: {error}") from None
        self._busy[w] = False
        if kind == "error":
            raise EnvError(content[0]) from RemoteTraceback(content[1])
        return content[0]

    def _check_time(self, w: int, timeout: float) -> None:
        """Kills a worker whose environment takes too long, and raises."""
        since = float(self._shared.since[w])
        if since > 0.0 and time.monotonic() - since > timeout:
            self._children[w].close()  # so that what it wrote down stays
            what, where = self._called(w)
            raise EnvError(
                f"{self._name}: {what} takes longer than acting.env_timeout_seconds, {timeout:g} s ({where})"
            )

    def _lost(self, w: int) -> str:
        """Returns which slots a worker had, how it ended, and what it did last."""
        first, last = (self._first_slot + slot for slot in (self._parts[w].start, self._parts[w].stop - 1))
        slots = f"slot {first}" if first == last else f"slots {first} to {last}"
        reason = self._children[w].exit_reason()
        if self._shared.place[w, 1] < 0:
            return f"{slots} ended at its start: {reason}"
        what, where = self._called(w)
        return f"{slots} ended {'in' if self._shared.since[w] > 0.0 else 'after'} {what}: {reason} ({where})"

    def _called(self, w: int) -> tuple[str, str]:
        """Returns what a worker called last, and of which slot, episode, seed and step."""
        slot, episode, step, call = (int(part) for part in self._shared.place[w])
        return CALLS[call], place(self._seed, slot, episode, step)


class _WatchedSlots(SlotEnv):
    """Writes down what is called before it is called."""

    def __init__(
        self, make: Callable[[], SingleEnv], num_envs: int, seed: int, shared: SharedSlots, w: int, **options: Any
    ) -> None:
        super().__init__(make, num_envs, seed, **options)
        self._place, self._since = shared.place[w], shared.since[w : w + 1]

    def _begin(self, i: int, new_game: bool) -> NDArray[Any]:
        self._calls(i, "reset")
        observation = super()._begin(i, new_game)
        self._since[0] = 0.0
        return observation

    def _play(self, i: int, move: int) -> Moment:
        self._calls(i, "step")
        moment = super()._play(i, move)
        self._since[0] = 0.0
        return moment

    def _save(self, i: int) -> bytes:
        if not self.envs[i].saves_state:
            return b""
        self._calls(i, "save")
        state = super()._save(i)
        self._since[0] = 0.0
        return state

    def _load(self, i: int, state: bytes, shown: NDArray[Any], legal: NDArray[np.bool_]) -> str:
        self._calls(i, "load")
        problem = super()._load(i, state, shown, legal)
        self._since[0] = 0.0
        return problem

    def _calls(self, i: int, call: str) -> None:
        self._place[:] = self._first_slot + i, self._episode[i], self._length[i], CALLS.index(call)
        self._since[0] = time.monotonic()


def _serve(
    pipe: Connection,
    name: str,
    maker: Callable[[str], Callable[[], SingleEnv]],
    along: Handover,
    spec: EnvSpec,
    shared: SharedSlots,
    w: int,
    rows: slice,
    seed: int,
    options: dict[str, Any],
) -> None:
    """Answers questions about a part of the slots until told to stop."""
    env: SlotEnv | None = None
    shared.close()
    try:
        along.take(name)
        env = _WatchedSlots(maker(name), rows.stop - rows.start, seed, shared, w, **options)
        if env.spec != spec:
            raise EnvError(f"{name}: is something else every time it is made: {spec}, then {env.spec}")
        pipe.send(("done", None))
        while (question := pipe.recv()) is not None:
            pipe.send(("done", _respond(env, shared, rows, *question)))
    except EnvError as error:
        pipe.send(("error", str(error), remote_traceback()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone
    except Exception as error:
        pipe.send(("error", f"{name}: {one_line(error)}", remote_traceback()))
    finally:
        if env is not None:
            env.close()


def _respond(env: SlotEnv, shared: SharedSlots, rows: slice, what: str, *content: Any) -> Any:
    """Does what a question asks for; returns what does not lie in the shared memory."""
    match what:
        case "step":
            shared.write(env.step(shared.action[rows]), rows)
            return None
        case "reset":
            shared.write(env.reset(), rows)
            return None
        case "snapshot":
            return {
                name: array for name, array in env.snapshot().items() if name not in ("observation", "legal_actions")
            }
        case _:
            saved, keep_episodes = content
            seen = {"observation": shared.observation[rows], "legal_actions": shared.legal_actions[rows]}
            step, goes_on = env.restore(
                {**saved, **{name: array.copy() for name, array in seen.items()}}, keep_episodes
            )
            shared.write(step, rows)
            return goes_on, env.not_restored
