"""Saves the checkpoints of a run and decides what a full disk means for it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from muzero_wm.basis.errors import CheckpointError, UserError
from muzero_wm.storage.checkpoint import CheckpointWarning, SaveError, save_checkpoint


class Part(Protocol):
    """Is what a run saves and restores."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Goes on from a saved state."""


def restore(parts: Mapping[str, Part], saved: Mapping[str, Any]) -> None:
    """Gives each part of a run its saved state.

    Args:
        parts: by the name they were saved under.
        saved: from `load_checkpoint`.

    Raises:
        CheckpointError: a state is missing, or does not fit the part it is for; one line.
    """
    for name, part in parts.items():
        if name not in saved:
            raise CheckpointError(f"the checkpoint holds no {name}")
        try:
            part.load_state_dict(saved[name])
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, OverflowError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"{name}: the checkpoint does not fit this configuration: {reason}") from None


class Settings(Protocol):
    """Is the part of a run's settings that a saver follows; `config.RunConfig` says what they mean."""

    @property
    def keep_checkpoints(self) -> int:
        """Newest checkpoints kept."""

    @property
    def keep_best(self) -> str | None:
        """Metric that tells the best one, which is kept too."""

    @property
    def on_save_error(self) -> str:
        """What a failing save means."""


class CheckpointSaver:
    """Writes the checkpoints of one run.

    Args:
        folder: where they are kept.
        config: how many are kept, by which metric the best is told, and what happens when a save fails.
    """

    def __init__(self, folder: Path, config: Settings) -> None:
        self._folder, self._config = folder, config
        self._metric: float | None = None
        self._failing = False

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Remembers the metric of `run.keep_best` where a line of metrics has it."""
        if self._config.keep_best is not None and self._config.keep_best in metrics:
            self._metric = float(metrics[self._config.keep_best])

    def save(self, payload: Mapping[str, Any], step: int, *, last: bool = False) -> bool:
        """Saves a checkpoint.

        Args:
            payload: as for `save_checkpoint`.
            step: number of the checkpoint.
            last: the run ends here, so a failure is an error whatever `run.on_save_error` says.

        Returns:
            Whether it was saved; the first of several failures in a row is told by a `CheckpointWarning`.

        Raises:
            SaveError: it could not be saved, and the run must not go on without.
        """
        try:
            save_checkpoint(self._folder, payload, step=step, keep=self._config.keep_checkpoints, metric=self._metric)
        except SaveError as error:
            if last or self._config.on_save_error == "stop":
                raise
            if not self._failing:
                _tell(f"{error}; the run goes on, earlier checkpoints stay, the next save tries again")
            self._failing = True
            return False
        if (self._config.keep_best or "").startswith("evaluation/"):
            self._metric = None  # was measured with these very weights, and says nothing of those that follow
        if self._failing:
            _tell(f"{self._folder}: saving works again, step {step} is there")
        self._failing = False
        return True


def _tell(text: str) -> None:
    warnings.warn(text, CheckpointWarning, stacklevel=3)
