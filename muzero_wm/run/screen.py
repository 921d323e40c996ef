"""Where a run shows itself: a panel drawn again and again on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from rich.console import Console
from rich.live import Live

from muzero_wm.run.panel import RunPanel, plain_line

_LINE_SECONDS = 10.0
_DRAWINGS_PER_SECOND = 2.0  # the time goes on while a round takes long


class Screen:
    """Shows what is logged; stores nothing.

    Args:
        console: standard output when None.
    """

    def __init__(self, console: Console | None = None) -> None:
        """Shows nothing yet."""
        self._console = console or Console()
        self._live: Live | None = None
        self._panel = RunPanel("")
        self._last_line = -math.inf

    def start(self, title: str) -> None:
        """Opens the panel, or prints the title where there is none.

        Args:
            title: the run and its budget.
        """
        if self._console.is_terminal:
            self._panel = RunPanel(title)
            self._live = Live(self._panel, console=self._console, refresh_per_second=_DRAWINGS_PER_SECOND)
            self._live.start(refresh=True)
        else:
            self.message(title)

    def show(self, row: Mapping[str, float], metrics: Mapping[str, float]) -> None:
        """Shows what was logged; see `RunPanel.update` for the arguments."""
        if self._live is not None:
            self._panel.update(row, metrics)
            self._live.refresh()
            return
        now = time.monotonic()
        if now - self._last_line >= _LINE_SECONDS or row["fraction"] >= 1.0:
            self._last_line = now
            self.message(plain_line(row, metrics))

    def message(self, text: str) -> None:
        """Prints a line that stays, above the panel."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def notice(self, text: str) -> bool:
        """Has the panel say something at its end; safe in a signal handler, which may have interrupted a drawing.

        Args:
            text: one line.

        Returns:
            False where there is no panel: nothing was shown.
        """
        self._panel.notice = text
        return self._live is not None

    def close(self) -> None:
        """Leaves the panel as it is and goes on below it; may be called twice."""
        if self._live is not None:
            self._live.stop()
            self._live = None
