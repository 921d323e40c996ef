"""Signal handlers that belong to one process: what it starts sees ordinary signals.

A blocked or an ignored signal is inherited by every process that is started from here, so neither is used: a handler
is not, where another program is executed. Only a fork keeps it, and there the handlers from before are put back.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What asks a program to end."""

Handler = Callable[[int, FrameType | None], Any]
_installed: list[OwnHandlers] = []


class OwnHandlers:
    """Handlers of this process alone.

    Args:
        numbers: of the signals; one whose handler is not Python's to put back is left alone.
        handler: called for them, in the main thread.
    """

    def __init__(self, numbers: Iterable[int], handler: Handler) -> None:
        """Puts the handler in place; only the main thread may do so."""
        found = {number: signal.getsignal(number) for number in numbers}
        self._handler, self._before = handler, {n: before for n, before in found.items() if before is not None}
        for number in self._before:
            signal.signal(number, handler)
            signal.siginterrupt(number, False)  # a call that C code is waiting in goes on
        _installed.append(self)

    def keep(self) -> None:
        """Puts the handler in place again where other code has put its own; only the main thread may do so."""
        for number in self._before:
            if signal.getsignal(number) != self._handler:
                signal.signal(number, self._handler)
                signal.siginterrupt(number, False)

    def remove(self) -> None:
        """Puts the handlers from before back."""
        for number, before in self._before.items():
            signal.signal(number, before)
        with contextlib.suppress(ValueError):  # in a fork
            _installed.remove(self)

    def forked(self) -> None:
        """Puts the handlers from before back in a fork, unless other code has put its own."""
        for number, before in self._before.items():
            if signal.getsignal(number) == self._handler:
                signal.signal(number, before)


def ignore(number: int, frame: FrameType | None) -> None:
    """Does nothing, as a handler: unlike SIG_IGN, a program that is executed does not inherit it."""


def _forked() -> None:
    while _installed:
        _installed.pop().forked()


os.register_at_fork(after_in_child=_forked)
