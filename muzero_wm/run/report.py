"""What a run says of itself, on the screen and in its log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from muzero_wm.config import Config
from muzero_wm.learning.health import HealthMonitor, return_bound
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.run.logger import RunLogger
from muzero_wm.run.progress import Progress


class Report:
    """Tells how a run goes.

    Args:
        log: where to.
        config: of the run.
        progress: of the run.
        replay: of the run.
    """

    def __init__(self, log: RunLogger, config: Config, progress: Progress, replay: ReplayBuffer) -> None:
        """Says nothing yet; the first line of metrics is due a while after this."""
        self._log, self._config, self._progress, self._replay = log, config, progress, replay
        self._health = HealthMonitor(promised=abs(config.model.initial_value or 0.0))
        self._last = progress.elapsed

    def line(self, text: str) -> None:
        """Shows a line that stays."""
        self._log.message(text)

    def warn(self, lines: Iterable[str]) -> None:
        """Shows warnings that stay, above the progress."""
        for line in lines:
            self._log.message(f"warning: {line}")

    def round(self, metrics: Mapping[str, float], now: bool = False) -> None:
        """Logs the metrics of a round and shows them, where it is time.

        Args:
            metrics: by name.
            now: it is time.
        """
        progress = self._progress
        seconds = progress.elapsed - self._last
        if not (now or seconds >= self._config.run.log_every_seconds or progress.fraction >= 1.0):
            return
        self._last = progress.elapsed
        row = {**metrics, "replay/steps": float(self._replay.num_steps)}
        if "value/abs_mean" in row:
            row["value/bound"] = return_bound(self._replay)
        flags, warnings = self._health.watch(row)
        self._log.log(
            row | flags,
            updates=progress.updates,
            steps=progress.steps,
            games=progress.games,
            elapsed=progress.elapsed,
            fraction=progress.fraction,
        )
        self.warn(warnings)
