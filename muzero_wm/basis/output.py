"""Output to a terminal or a pipe that is gone is lost, and nothing else with it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any


class _Lasting:
    """A stream that goes on where nobody reads it any more."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes text, or loses it."""
        with self._losing():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes lines, or loses them."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Writes what is left, or loses it."""
        with self._losing():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            _lose(self._stream.fileno())
            self._stream.flush()


def _lose(file: int) -> None:
    """Sends to nowhere what will be written to a descriptor, by other code and other languages as well."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, file)
    os.close(nowhere)


def write_last(file: int, text: str) -> None:
    """Writes text past all buffers, so that it may interrupt a `print`; or loses it.

    Args:
        file: descriptor.
        text: what to write.
    """
    try:
        os.write(file, text.encode())
    except OSError:
        _lose(file)


def outlast() -> None:
    """Lets standard output and error go on in this process where nobody reads them any more."""
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """Lets standard output and error go on for a while where nobody reads them any more."""
    before = sys.stdout, sys.stderr
    outlast()
    now = sys.stdout, sys.stderr
    try:
        yield
    finally:
        if sys.stdout is now[0]:
            sys.stdout = before[0]
        if sys.stderr is now[1]:
            sys.stderr = before[1]


def _lasting(stream: Any) -> Any:
    """Returns a stream that lasts; one that is no file of the system, as in a notebook, stays what it is."""
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):
        return stream
    return _Lasting(stream)
