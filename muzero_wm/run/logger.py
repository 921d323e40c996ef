"""Progress on the screen, metrics.jsonl and TensorBoard, fed from one call.

Logged with every line: updates, steps, games, elapsed (seconds), fraction (of the budget), and the speeds over the last
20 seconds: games_per_minute, updates_per_second, positions_per_second.
"""

from __future__ import annotations

import json
import math
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from muzero_wm.config import LearningConfig
from muzero_wm.run.screen import Screen
from muzero_wm.storage.files import open_append
from muzero_wm.storage.folder import RunDirError

_WINDOW_SECONDS = 20.0


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
        self._screen = Screen(console)
        try:
            self._file = open_append(run_dir / "metrics.jsonl", keep=_reached(resume_at))
        except OSError as error:
            raise RunDirError(f"{run_dir}: metrics.jsonl cannot be written: {error.strerror}") from None
        self._writer: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(run_dir), purge_step=None if resume_at is None else resume_at[1] + 1)
        self._name = str(run_dir)
        self._recent: deque[tuple[float, int, int, int]] = deque()
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
        steps = f"{budget.max_steps:,} steps" if budget.max_steps is not None else ""
        self._screen.start(f"{self._name}: {' or '.join(filter(None, (minutes, updates, steps)))}")

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
        self._screen.show(row, metrics)

    def message(self, text: str) -> None:
        """Prints a line that stays, above the progress display."""
        self._screen.message(text)

    def notice(self, text: str) -> bool:
        """Shows a line in the progress display, from a signal handler too; returns False where there is none."""
        return self._screen.notice(text)

    def close(self) -> None:
        """Closes the display and the files; may be called twice."""
        self._screen.close()
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
