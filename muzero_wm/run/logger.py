"""Progress on the screen, metrics.jsonl and TensorBoard, fed from one call.

Logged with every line: updates, steps, games, elapsed (seconds), fraction (of the budget), and the speeds over the last
20 seconds: games_per_minute, updates_per_second, positions_per_second.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from muzero_wm.config import LearningConfig
from muzero_wm.run.files import open_append
from muzero_wm.run.folder import RunDirError

_WINDOW_SECONDS = 20.0
_PLAIN_LINE_SECONDS = 10.0
_RETURN = "episode/return"


class LogWarning(UserWarning):
    """Tells that metrics were not written."""


class RunLogger:
    """Writes what a run reports; a context manager.

    Args:
        run_dir: the run folder; metrics.jsonl is appended to, TensorBoard events go beside it.
        tensorboard: write TensorBoard events too.
        console: where progress is shown, live on a terminal, else a line now and then; standard output when None.
        resume_at: environment steps and updates of the checkpoint that the run goes on from: what was logged beyond
            them will come again, so it is removed. None keeps everything.
    """

    def __init__(
        self,
        run_dir: Path,
        tensorboard: bool = True,
        console: Console | None = None,
        resume_at: tuple[int, int] | None = None,
    ) -> None:
        self._console = console or Console()
        try:
            self._file = open_append(run_dir / "metrics.jsonl", keep=_reached(resume_at))
        except OSError as error:
            raise RunDirError(f"{run_dir}: metrics.jsonl cannot be written: {error.strerror}") from None
        self._writer: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(run_dir), purge_step=None if resume_at is None else resume_at[1] + 1)
        self._live: Live | None = None
        self._name = self._title = str(run_dir)
        self._recent: deque[tuple[float, int, int, int]] = deque()
        self._last_line = -math.inf
        self._failing = False

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, budget: LearningConfig) -> None:
        """Opens the progress display.

        Args:
            budget: says when the run ends.
        """
        minutes = f"{budget.max_minutes:g} minutes" if budget.max_minutes is not None else ""
        updates = f"{budget.max_updates:,} updates" if budget.max_updates is not None else ""
        self._title = f"{self._name}: {' or '.join(filter(None, (minutes, updates)))}"
        if self._console.is_terminal:
            self._live = Live(Text(self._title, "bold"), console=self._console, auto_refresh=False)
            self._live.start()
        else:
            self.message(self._title)

    def log(
        self, metrics: Mapping[str, float], *, updates: int, steps: int, games: int, elapsed: float, fraction: float
    ) -> None:
        """Records one line of metrics and shows it.

        Args:
            metrics: scalars by name, "loss/value" for example; a NaN or an infinity is written as null.
            updates: learner updates since the run began.
            steps: environment steps since the run began, over all games.
            games: finished games since the run began.
            elapsed: seconds of training since the run began.
            fraction: share of the budget that is used, in [0, 1].
        """
        self._recent.append((elapsed, updates, steps, games))
        while len(self._recent) > 2 and elapsed - self._recent[1][0] > _WINDOW_SECONDS:
            self._recent.popleft()
        counts = {"updates": updates, "steps": steps, "games": games, "elapsed": elapsed, "fraction": fraction}
        row = {**counts, **self._speeds(), **metrics}
        finite = {name: float(value) if math.isfinite(value) else None for name, value in row.items()}
        finite.update(updates=updates, steps=steps, games=games)
        try:
            self._file.write(json.dumps(finite, allow_nan=False) + "\n")
            self._file.flush()
            if self._writer is not None:
                for name, value in row.items():
                    if name not in ("updates", "fraction"):
                        self._writer.add_scalar(name, value, updates)
        except OSError as error:
            self._lost(error)
        self._show(row, metrics)

    def message(self, text: str) -> None:
        """Prints a line that stays, above the progress display."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Closes the display and the files; may be called twice."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        try:
            if self._writer is not None:
                self._writer.close()
            self._file.close()
        except OSError as error:
            self._lost(error)
        self._writer = None

    def _lost(self, error: OSError) -> None:
        """Tells once that metrics cannot be written; a full disk is no reason to end a run."""
        if not self._failing:
            warnings.warn(f"{self._name}: metrics are lost: {error.strerror or error}", LogWarning, stacklevel=3)
        self._failing = True

    def _speeds(self) -> dict[str, float]:
        """Returns the speeds over the last seconds; with the first line, since the run began."""
        begin = self._recent[0] if len(self._recent) > 1 else (0.0, 0, 0, 0)
        seconds, updates, steps, games = (last - first for first, last in zip(begin, self._recent[-1], strict=True))
        per_second = 1.0 / seconds if seconds > 0 else 0.0
        return {
            "games_per_minute": games * per_second * 60.0,
            "updates_per_second": updates * per_second,
            "positions_per_second": steps * per_second,
        }

    def _show(self, row: Mapping[str, float], metrics: Mapping[str, float]) -> None:
        left = _clock(row["elapsed"] * (1.0 / row["fraction"] - 1.0)) if row["fraction"] > 0 else "?"
        if self._live is not None:
            self._live.update(self._panel(row, metrics, left), refresh=True)
            return
        now = time.monotonic()
        if now - self._last_line < _PLAIN_LINE_SECONDS and row["fraction"] < 1.0:
            return
        self._last_line = now
        losses = "  ".join(f"{name} {value:.3f}" for name, value in _losses(metrics).items())
        result = f"return {metrics[_RETURN]:.4g}  " if _RETURN in metrics else ""
        self._console.print(
            f"{row['fraction']:4.0%}  {left} left  {row['updates']:.0f} updates ({row['updates_per_second']:.1f}/s)  "
            f"{row['games']:.0f} games ({row['games_per_minute']:.0f}/min)  {row['steps']:.0f} steps "
            f"({row['positions_per_second']:.0f}/s)  {result}{losses}",
            highlight=False,
            soft_wrap=True,
        )

    def _panel(self, row: Mapping[str, float], metrics: Mapping[str, float], left: str) -> Group:
        head = Text.assemble((self._title, "bold"), f"   {row['fraction']:.0%}, {left} left")
        bar = ProgressBar(total=1.0, completed=min(row["fraction"], 1.0), width=min(72, self._console.width))
        counts = Table.grid(padding=(0, 3))
        for name, count, speed, unit in (
            ("updates", "updates", "updates_per_second", "/s"),
            ("steps", "steps", "positions_per_second", "/s"),
            ("games", "games", "games_per_minute", "/min"),
        ):
            counts.add_row(name, f"{row[count]:,.0f}", f"{row[speed]:,.0f} {unit}")
        if _RETURN in metrics:
            counts.add_row("return", f"{metrics[_RETURN]:,.4g}", "last 100")
        losses = Table.grid(padding=(0, 3))
        for name, value in _losses(metrics).items():
            losses.add_row(name, f"{value:.4f}")
        columns = Table.grid(padding=(0, 6))
        columns.add_row(counts, losses)
        return Group(head, bar, columns)


def _losses(metrics: Mapping[str, float]) -> dict[str, float]:
    """Returns the metrics called "loss/...", by their last name."""
    return {name.removeprefix("loss/"): value for name, value in metrics.items() if name.startswith("loss/")}


def _clock(seconds: float) -> str:
    """Returns seconds as m:ss or h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def _reached(resume_at: tuple[int, int] | None) -> Callable[[bytes], bool]:
    """Returns what tells a line of metrics up to a checkpoint from those beyond, which will come again."""

    def reached(line: bytes) -> bool:
        if resume_at is None:
            return True
        try:
            return int(json.loads(line)["steps"]) <= resume_at[0]
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            return True

    return reached
