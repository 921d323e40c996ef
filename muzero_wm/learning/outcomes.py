"""What updates come to: tensors until the end of a round, then numbers, then means for the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muzero_wm.envs.base import EnvSpec
from muzero_wm.learning.losses import LossResult
from muzero_wm.model.world_model import WorldModel
from muzero_wm.replay.batch import Batch


@dataclass
class Made:
    """One update, where it was made.

    Attributes:
        good: [] bool, False where it was left out.
        loss: of its batch, without the graph it was differentiated by.
        norm: [] of the gradient before it was clipped.
        norms: [P] the same of each weight.
        names: of these weights.
    """

    good: Tensor
    loss: LossResult
    norm: Tensor
    norms: Tensor
    names: list[str]

    def numbers(self) -> dict[str, Tensor]:
        """Returns all scalars of the update, by name."""
        found = {"good": self.good, "total": self.loss.total, "gradient_norm": self.norm}
        return found | {f"loss/{name}": part for name, part in self.loss.parts.items()} | self.loss.logs


@dataclass
class Outcome:
    """One update, in numbers.

    Attributes:
        good: False where it was left out.
        total: loss.
        parts: of the loss.
        gradient_norm: before it was clipped.
        bad_gradients: names of the weights whose gradient is not finite.
        td_error: [B] float32, root value minus target.
        logs: what terms say besides, by the names of the log.
        teacher_latent: [B, D] on the device; None without self-prediction.
    """

    good: bool
    total: float
    parts: dict[str, float]
    gradient_norm: float
    bad_gradients: list[str]
    td_error: NDArray[np.float32]
    logs: dict[str, float]
    teacher_latent: Tensor | None


def fetch(made: Sequence[Made | None]) -> list[Outcome | None]:
    """Waits for updates and returns what they came to; None stays None."""
    known = [each for each in made if each is not None]
    if not known:
        return [None] * len(made)
    names = list(known[0].numbers())
    scalars = torch.stack([torch.stack([x.float() for x in each.numbers().values()]) for each in known]).tolist()
    errors = torch.stack([each.loss.td_error for each in known]).numpy(force=True)
    bad = (~torch.isfinite(torch.stack([each.norms for each in known]))).tolist()
    outcomes = iter(
        _outcome(each, dict(zip(names, row, strict=True)), error, flags)
        for each, row, error, flags in zip(known, scalars, errors, bad, strict=True)
    )
    return [None if each is None else next(outcomes) for each in made]


def _outcome(made: Made, numbers: dict[str, float], td_error: NDArray[np.float32], bad: list[bool]) -> Outcome:
    return Outcome(
        good=bool(numbers["good"]),
        total=numbers["total"],
        parts={name: numbers[f"loss/{name}"] for name in made.loss.parts},
        gradient_norm=numbers["gradient_norm"],
        bad_gradients=[name for name, flag in zip(made.names, bad, strict=True) if flag],
        td_error=td_error,
        logs={name: numbers[name] for name in made.loss.logs},
        teacher_latent=made.loss.teacher_latent,
    )


class Tally:
    """Means over the updates of a round, those that were left out aside.

    Args:
        model: knows its bins.
        spec: the environment's bounds.

    Attributes:
        good: updates taken in.
        latent: [B, D] the teacher's latents of the last one; None without self-prediction.
    """

    def __init__(self, model: WorldModel, spec: EnvSpec) -> None:
        """Has seen nothing yet."""
        self.good = 0
        self.latent: Tensor | None = None
        self._model, self._spec = model, spec
        self._totals: dict[str, float] = {}
        self._value_targets: list[NDArray[np.float32]] = []

    def add(self, samples: Batch[NDArray[Any]], outcome: Outcome) -> None:
        """Takes in an update that was made.

        Args:
            samples: what it was made from.
            outcome: what it came to.
        """
        targets, model = samples.targets, self._model
        self.good += 1
        self.latent = outcome.teacher_latent
        self._value_targets.append(targets.value[:, 0])
        numbers = outcome.logs | {f"loss/{name}": part for name, part in outcome.parts.items()}
        numbers |= {"loss/total": outcome.total, "loss/gradient_norm": outcome.gradient_norm}
        numbers["value/outside"] = model.value_support.outside(self._possible(targets.value))
        if model.imagines:
            numbers["reward/outside"] = model.reward_support.outside(targets.reward)
        numbers["value/abs_mean"] = float(np.abs(outcome.td_error + targets.value[:, 0]).mean())
        for name, number in numbers.items():
            self._totals[name] = self._totals.get(name, 0.0) + number

    def metrics(self) -> dict[str, float]:
        """Returns the means, by the names of the log."""
        return {name: total / self.good for name, total in self._totals.items()}

    def value_targets(self) -> NDArray[np.float32]:
        """Returns the value targets [n] of all roots; at least one update was taken in."""
        return np.concatenate(self._value_targets)

    def _possible(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns values within the bounds that the environment states; a search may promise a little more."""
        if self._spec.value_bounds is None:
            return values
        low, high = self._spec.value_bounds
        if self._spec.num_players == 2:  # seen from either side
            low, high = min(low, -high), max(high, -low)
        return np.clip(values, low, high)
