"""Processes of ours: spawned, at the end of a pipe, and gone when the process that started them is gone.

None is a daemon in the sense of `multiprocessing`, because daemons may not start processes: an acting process has
environment workers of its own. Instead each is killed when it is closed, forgotten or left over at exit; and on Linux
the kernel kills it when its parent dies in whatever way.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing as mp
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from multiprocessing import resource_tracker, util
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_FIRST = 10  # multiprocessing waits for its processes at exit; what has a priority runs before


class RemoteTraceback(Exception):  # noqa: N818 - it says where an error comes from
    """The traceback of another process, as text; the cause of the error that is raised here."""

    def __str__(self) -> str:
        """Returns the text, set off from what is raised here."""
        return f"\n{self.args[0]}"


def remote_traceback() -> str:
    """Returns the traceback of the exception being handled, to be sent to another process."""
    return traceback.format_exc()


class Child:
    """A spawned process and our end of the pipe to it.

    Attributes:
        pipe: ours; end of file when the child is gone.
        pid: of the child.
    """

    def __init__(self, target: Callable[..., None], arguments: tuple[Any, ...], name: str) -> None:
        """Starts the process.

        Args:
            target: called there as `target(pipe, *arguments)`; ends when the pipe does.
            arguments: whatever `multiprocessing` can send, shared memory included.
            name: of the process.
        """
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(target, theirs, arguments), name=name, daemon=False)
        # A signal to the whole group, Ctrl-C for example, is for the parent alone to handle. What is blocked here stays
        # blocked in the child. The resource tracker comes first: starting it unblocks both signals.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.pid = self._process.pid
        self._end = util.Finalize(self, _end, args=(self._process, self.pipe), exitpriority=_FIRST)

    def tell(self, message: Any) -> None:
        """Sends a message; a process that is gone is noticed when it should answer."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(message)

    def join(self, seconds: float) -> None:
        """Waits for the process to end by itself."""
        self._process.join(timeout=max(0.0, seconds))

    def exit_reason(self) -> str:
        """Returns how the process ended, for a message; it has closed its pipe."""
        self._process.join(timeout=5)
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    def close(self) -> None:
        """Ends the process if it has not ended, by force, and frees what belongs to it; may be called again."""
        self._end()


def _end(process: BaseProcess, pipe: Connection) -> None:
    process.kill()
    process.join()
    process.close()
    pipe.close()


def _run(target: Callable[..., None], pipe: Connection, arguments: tuple[Any, ...]) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Every process would repeat the warnings of libraries; our own come from the parent.
    warnings.simplefilter("ignore")
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        target(pipe, *arguments)
