"""Environments that start processes of their own, for `gym:tests.acting.helped:NAME`.

`Helpers-v0` starts a helper in every way there is at its first reset, ends it by a signal, and raises with the names of
those that live on. `Engine-v0` has one helper for all its life and asks it in every step.
`Struck-v0` loses its helper by Ctrl-C. `Orphan-v0` leaves one behind.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

LOG = "HELPED_LOG"  # a file to which the pids of engines are appended
_SECONDS = 5.0
_SLEEP = [sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(600)"]


class Steady(gymnasium.Env):
    """Shows the same and ends after five steps."""

    observation_space = spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._t += 1
        return np.zeros(2, np.float32), 0.0, self._t == 5, False, {}


def _ended(pid: int) -> bool:
    """Returns whether a child ends in time; it is killed where it does not."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def _started(**options: Any) -> int:
    helper = subprocess.Popen(_SLEEP, stdout=subprocess.PIPE, **options)
    assert helper.stdout is not None and helper.stdout.readline() == b"up\n"
    helper.stdout.close()
    helper.returncode = 0  # it is waited for here
    return helper.pid


def _spawned_by_posix() -> int:
    ours, theirs = os.pipe()
    pid = os.posix_spawn(_SLEEP[0], _SLEEP, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, theirs, 1)])
    os.close(theirs)
    with os.fdopen(ours) as told:
        assert told.readline() == "up\n"
    return pid


def _forked() -> int:
    pid = os.fork()
    if pid == 0:
        try:
            time.sleep(600)
        finally:  # SIGINT raises, as in any Python program
            os._exit(1)
    time.sleep(0.2)
    return pid


WAYS: dict[str, Callable[[], int]] = {
    "subprocess": _started,
    "subprocess with preexec_fn": lambda: _started(preexec_fn=lambda: None),
    "posix_spawn": _spawned_by_posix,
    "os.fork": _forked,
}


class Helpers(Steady):
    """Tries every way with both signals, once in a process."""

    tried = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if not Helpers.tried:
            Helpers.tried = True
            if alive := list(self._survivors()):
                raise RuntimeError(f"live on: {', '.join(alive)}")
        return super().reset(seed=seed, options=options)

    def _survivors(self) -> Iterator[str]:
        for number in (signal.SIGTERM, signal.SIGINT):
            for way, start in WAYS.items():
                pid = start()
                os.kill(pid, number)
                if not _ended(pid):
                    yield f"{way} after {number.name}"
        if "PYTHONSAFEPATH" in os.environ:
            yield "the folder of a Python script is not searched by it"
        for method in ("fork", "spawn", "forkserver"):
            helper = mp.get_context(method).Process(target=time.sleep, args=(600,))
            helper.start()
            time.sleep(0.2)
            helper.terminate()
            helper.join(_SECONDS)
            if helper.is_alive():
                helper.kill()
                yield f"multiprocessing by {method} after terminate"
            helper.join()


class Engine(Steady):
    """Asks `cat` in every step, and fails where it is gone."""

    def __init__(self) -> None:
        self._engine = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if LOG in os.environ:
            with open(os.environ[LOG], "a", encoding="ascii") as log:
                log.write(f"{self._engine.pid}\n")

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        time.sleep(0.01)
        assert self._engine.stdin is not None and self._engine.stdout is not None
        self._engine.stdin.write(b"?\n")
        self._engine.stdin.flush()
        if self._engine.stdout.readline() != b"?\n":
            raise RuntimeError("the engine is gone")
        return super().step(action)

    def close(self) -> None:
        self._engine.terminate()
        self._engine.wait()


class Struck(Steady):
    """Is where a terminal's Ctrl-C reaches the program and the engine alike: the engine is gone at the third step."""

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        step = super().step(action)
        if self._t == 3 and LOG in os.environ:
            os.kill(os.getpid(), signal.SIGINT)
            raise RuntimeError("the engine is gone")
        return step


class Orphan(Steady):
    """Forks a helper that holds on to all that is open, and takes its process down at the third step."""

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        step = super().step(action)
        if self._t == 3:
            if os.fork() == 0:
                time.sleep(60.0)
                os._exit(0)
            os._exit(3)
        return step


for kind in (Helpers, Engine, Struck, Orphan):
    gymnasium.register(f"{kind.__name__}-v0", entry_point=kind, disable_env_checker=True)
