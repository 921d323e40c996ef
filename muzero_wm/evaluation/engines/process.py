"""An engine as a process: lines in, lines out, never waited for longer than asked.

Everything is read in one place, standard error too, so that an engine which writes much there is never held up; nothing
is read while nobody waits.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
import weakref
from collections.abc import Sequence

from muzero_wm.basis.processes import signal_name

_PART = 1 << 16
_MOST_WRITTEN = 1 << 22  # bytes of one answer
_REMEMBERED = 2000  # bytes of standard error, of which the last line is told
_SECONDS_TO_END = 0.5  # when asked to


class EngineFailure(Exception):  # noqa: N818 - the game is over by it, the program is not
    """An engine did not do as asked; says what it did, to be put behind its name."""


class EngineProcess:
    """A program and the pipes to it.

    It runs without a shell, in a session of its own: a Ctrl-C in the terminal is for us alone. It is ended with all it
    has started when it is closed, forgotten, or left over at exit; where we are killed, it meets the end of its input.

    Args:
        command: program and arguments.

    Raises:
        OSError: there is no such program, or it cannot be run.
    """

    def __init__(self, command: Sequence[str]) -> None:
        """Starts it; see the class for the arguments."""
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._in, self._out, self._err = (
            stream.fileno() for stream in (self._process.stdin, self._process.stdout, self._process.stderr)
        )
        for file in (self._in, self._out, self._err):
            os.set_blocking(file, False)
        self._open = {self._out, self._err}
        self._read, self._complaints = bytearray(), bytearray()
        self._taken = 0  # bytes of the present answer
        self._end = weakref.finalize(self, _end, self._process)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def send(self, line: str, seconds: float) -> float:
        """Sends a line, after which an answer begins.

        Args:
            line: without its end.
            seconds: until all of the answer must be there.

        Returns:
            The deadline, on the monotonic clock.

        Raises:
            EngineFailure: it ended, or does not read.
        """
        deadline, rest = time.monotonic() + seconds, f"{line}\n".encode()
        self._taken = 0
        while rest:
            try:
                rest = rest[os.write(self._in, rest) :]
            except BlockingIOError:
                self._wait(deadline, self._in)
            except BrokenPipeError:
                raise EngineFailure(self._how_it_ended()) from None
        return deadline

    def line(self, deadline: float) -> str:
        """Returns its next line, without its end and without what surrounds it.

        Args:
            deadline: on the monotonic clock.

        Raises:
            EngineFailure: it ended, wrote far too much, or wrote no whole line in time.
        """
        while (end := self._read.find(b"\n")) < 0:
            if self._out not in self._open:
                raise EngineFailure(self._how_it_ended())
            self._wait(deadline)
        found = bytes(self._read[:end])
        del self._read[: end + 1]
        self._taken += end + 1
        if self._taken > _MOST_WRITTEN:
            raise EngineFailure(f"wrote more than {_MOST_WRITTEN >> 20} MiB without an end")
        return found.decode(errors="replace").strip()

    def kill(self) -> None:
        """Ends it by force, at once; whoever waits for it meets its end. May be called from another thread."""
        if self._end.alive:  # until it is closed nobody waits for it, so the number is its own
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends it, by force where the end of its input is not enough, and frees its pipes; may be called again."""
        self._end()

    def _wait(self, deadline: float, to_write: int | None = None) -> None:
        """Waits until something comes, or can be written, and takes in what came."""
        left = deadline - time.monotonic()
        poll = select.poll()
        for file in self._open:
            poll.register(file, select.POLLIN)
        if to_write is not None:
            poll.register(to_write, select.POLLOUT)
        ready = poll.poll(1000 * left) if left > 0 else []
        if not ready:
            half = f", after {quoted(self._read)} without the end of its line" if self._read else ""
            raise EngineFailure(f"gave no answer in time{half}")
        for file, _ in ready:
            if file in self._open:
                self._take(file)

    def _take(self, file: int) -> None:
        try:
            part = os.read(file, _PART)
        except BlockingIOError:
            return
        if not part:
            self._open.discard(file)
        elif file == self._err:
            self._complaints += part
            del self._complaints[:-_REMEMBERED]
        else:
            self._read += part
            if len(self._read) > _MOST_WRITTEN:
                raise EngineFailure(f"wrote more than {_MOST_WRITTEN >> 20} MiB without an end")

    def _how_it_ended(self) -> str:
        """Returns how it ended, with the last line that it wrote on standard error."""
        with contextlib.suppress(BlockingIOError):
            while self._err in self._open and (part := os.read(self._err, _PART)):
                self._complaints += part
        half = f" in the middle of a line, {quoted(self._read)}" if self._read else ""
        lines = bytes(self._complaints).decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f"ended{half}{_status(self.pid)}" + (f"; its last words: {quoted(last)}" if last else "")


def quoted(text: str | bytes | bytearray) -> str:
    """Returns what an engine wrote, for a message: in quotes, in one line of bounded length."""
    words = text if isinstance(text, str) else bytes(text).decode(errors="replace")
    words = " ".join(words.split())
    return repr(words if len(words) <= 100 else f"{words[:100]}...")


def _status(pid: int) -> str:
    """Returns how a process that is about to end ended; it stays one that can be waited for."""
    end = time.monotonic() + _SECONDS_TO_END
    while (found := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
        if time.monotonic() > end:
            return ""
        time.sleep(0.01)
    if found.si_code == os.CLD_EXITED:
        return f" with exit code {found.si_status}"
    return f", killed by {signal_name(found.si_status)}"


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin and process.stdout and process.stderr
    with contextlib.suppress(OSError):
        process.stdin.close()
    with contextlib.suppress(ChildProcessError):
        _status(process.pid)
    # What it has started ends with it. Until it is waited for, the number is its own.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()
