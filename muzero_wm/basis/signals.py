"""Ctrl-C, SIGTERM and a closed terminal: the first ends a run in order and within seconds, the second at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from muzero_wm.basis.handlers import STOP_SIGNALS, OwnHandlers
from muzero_wm.basis.output import write_last

Tick = Callable[[], None]
"""Called several times a second by what takes long; may raise to give it up."""

SECONDS_TO_END = 10.0


def proceed() -> None:
    """Does nothing: the `Tick` of who never gives up."""


class Interrupted(KeyboardInterrupt):
    """A signal ended the run.

    Attributes:
        signum: which one; a program that ends by it exits with 128 + signum.
        saved: whether a checkpoint was written because of it.
    """

    def __init__(self, signum: int, saved: bool) -> None:
        """Keeps both."""
        super().__init__(signal.Signals(signum).name)
        self.signum, self.saved = signum, saved


class RoundTooLongError(Exception):
    """The round does not come to its end within the time that a signal leaves."""


class StopSignals:
    """Turns signals into a wish that the training loop looks up; a context manager.

    In a thread that is not the main one nothing can be caught, and signals do what they always did. SIGHUP stays
    ignored where it is, as by nohup.

    Args:
        seconds_to_save: time to set aside for writing the checkpoint.

    Attributes:
        requested: the signal that came, None before.
        seconds_to_save: may be raised when saving turns out to take longer.
        show: shows a line within a live display, which a line on standard error would tear; returns False where there
            is none. It is called in the middle of anything, a print included.
    """

    def __init__(self, seconds_to_save: float = 1.0) -> None:
        """Catches nothing yet."""
        self.requested: int | None = None
        self.seconds_to_save = seconds_to_save
        self.show: Callable[[str], bool] = lambda text: False
        self._since = 0.0
        self._handlers: OwnHandlers | None = None

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            hangup_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            caught = [number for number in STOP_SIGNALS if number != signal.SIGHUP or not hangup_ignored]
            self._handlers = OwnHandlers(caught, self._caught)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handlers is not None:
            self._handlers.remove()
        self._handlers = None

    def check(self) -> None:
        """Returns while there is time to go on with the round; signals are caught again where foreign code caught them.

        Raises:
            RoundTooLongError: a signal came and its time is nearly over.
        """
        if self._handlers is not None:
            self._handlers.keep()
        if self.requested is None:
            return
        left = SECONDS_TO_END - 2.0 * self.seconds_to_save - 1.0
        if time.monotonic() - self._since > max(0.0, left):
            raise RoundTooLongError

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None:
            raise Interrupted(number, saved=False)
        self.requested, self._since = number, time.monotonic()
        text = f"{signal.Signals(number).name}: saving a checkpoint, then ending; once more ends at once"
        # Where the terminal is gone, this is also how standard error comes to last.
        if number == signal.SIGHUP or not self.show(text):
            write_last(2, f"\n{text}\n")
