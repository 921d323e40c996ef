"""What happens to an observation before the first layer: nothing, a division by its bounds, or normalisation.

It is part of the model, so whoever has the weights treats observations as training did. For inference it is folded into
the first layer (`fold`) and costs nothing, but for clipping (`limits`, `clipped`).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from muzero_wm.basis.errors import UserError
from muzero_wm.config import ModelConfig
from muzero_wm.envs.base import EnvSpec

Kind = Literal["raw", "scale", "normalize"]
Limits = tuple[NDArray[np.float32], NDArray[np.float32]]

FARTHEST = 10.0
"""Deviations from the mean, at most, of the outermost number that the statistics have seen; others are clipped."""

LARGEST_OFFSET = 100.0
"""Deviations from 0, at most, of any number that the statistics have seen.

Folding subtracts the offset after the first layer's multiplication, in float32; a larger one would cost digits.
"""


class Statistics(NamedTuple):
    """What a store of observations looks like; every array is float64 of the observation's shape, or [C, 1, 1]."""

    num_observations: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]  # standard deviation of the population


class Observation(nn.Module):
    """Brings observations to the size that networks learn from.

    raw: as they are. scale: divided by the largest number that the environment allows, so in [-1, 1]. normalize: by
    statistics of what was seen (`take`, later `renew`). Every feature of a vector then has mean 0 and deviation 1;
    every channel of an image has root mean square 1 and keeps its 0, since that is what convolutions pad with. A
    feature or channel that seldom leaves its usual value is shrunk until nothing is beyond `FARTHEST`; what comes later
    and is beyond it is clipped.

    Args:
        config: says which of them.
        spec: the environment's bounds and shape.
        conv: the first layer is a convolution.

    Attributes:
        seen: observations seen when the statistics were taken, 0 before: `count`, known without asking the device.

    Raises:
        UserError: "scale" without known bounds.
    """

    shift: Tensor | None
    scale: Tensor | None
    count: Tensor | None

    def __init__(self, config: ModelConfig, spec: EnvSpec, conv: bool) -> None:
        """Starts with no shift and, unless the bounds say more, no scale; see the class for the arguments."""
        super().__init__()
        kind = observation_kind(config, spec)
        shape = (spec.observation_shape[0], 1, 1) if conv else spec.observation_shape
        normalize = kind == "normalize"
        self.register_buffer("shift", torch.zeros(shape) if normalize and not conv else None)
        self.register_buffer("scale", torch.ones(shape) if normalize else None)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64) if normalize else None)
        if kind == "scale":
            self.register_buffer("scale", torch.tensor(1.0 / _largest(spec)), persistent=False)
        self.seen = 0
        self.register_load_state_dict_post_hook(_look_again)

    @property
    def waiting(self) -> bool:
        """Whether statistics are needed and were not taken yet."""
        return self.count is not None and self.seen == 0

    def forward(self, observation: Tensor) -> Tensor:
        """Returns observations [B, ...] of any real dtype as the first layer wants them, float32 unless raw."""
        if self.scale is None:
            return observation
        x = observation.float()
        x = (x if self.shift is None else x - self.shift) * self.scale
        return x if self.count is None or self.waiting else x.clamp(-FARTHEST, FARTHEST)

    def limits(self) -> Limits | None:
        """Returns the smallest and largest observation that are not clipped, [*shape] or [C, 1, 1]; None for any."""
        if self.scale is None or self.count is None or self.waiting:
            return None
        middle = torch.zeros_like(self.scale) if self.shift is None else self.shift
        return (middle - FARTHEST / self.scale).numpy(force=True), (middle + FARTHEST / self.scale).numpy(force=True)

    def undo(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the observations [B, ...] that are seen as `prepared`."""
        if self.scale is None:
            return prepared
        x = torch.from_numpy(prepared).to(self.scale.device) / self.scale
        return (x if self.shift is None else x + self.shift).numpy(force=True)

    @torch.no_grad()
    def take(self, statistics: Statistics, seen: int | None = None) -> None:
        """Normalises by these statistics from now on; only for "normalize".

        Args:
            statistics: per feature, or per channel where the first layer is a convolution.
            seen: observations seen so far; None: those behind the statistics.
        """
        assert self.scale is not None and self.count is not None
        _, low, high, mean, deviation = statistics
        largest = np.maximum(np.abs(low), np.abs(high))
        if self.shift is None:
            size = np.maximum(np.hypot(mean, deviation), largest / FARTHEST)
        else:
            farthest = np.maximum(high - mean, mean - low)
            size = np.maximum(deviation, np.maximum(farthest / FARTHEST, largest / LARGEST_OFFSET))
            size = np.where(low == high, largest, size)  # never seen to change
            self.shift.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(1.0 / np.where(size < 1e-30, 1.0, size)))
        self.seen = statistics.num_observations if seen is None else seen
        self.count.fill_(self.seen)

    @torch.no_grad()
    def renew(self, statistics: Statistics, seen: int, weight: Tensor, bias: Tensor) -> None:
        """Replaces the statistics, and changes the first layer so that it says of observations what it said before.

        But for a feature of which numbers were clipped: the largest ones count as much as when they were, and the
        others less. Else a feature that has become a thousand times as large would drown all the others.

        Args:
            statistics: per feature, or per channel where the first layer is a convolution.
            seen: observations seen so far.
            weight: [out, in], or [out, in, 3, 3] of a convolution; changed in place.
            bias: [out]; changed in place.
        """
        assert self.scale is not None
        old_scale, old_shift = self.scale.double(), None if self.shift is None else self.shift.double()
        middle = 0.0 if old_shift is None else old_shift
        low, high = (torch.from_numpy(end).to(old_scale.device) for end in (statistics.low, statistics.high))
        farthest = torch.maximum((low - middle).abs(), (high - middle).abs()) * old_scale
        clipped = (farthest / FARTHEST).clamp_min(1.0)
        self.take(statistics, seen)
        ratio = old_scale / self.scale / clipped
        if self.shift is not None and old_shift is not None:
            moved = ((self.shift - old_shift) * old_scale).clamp(-FARTHEST, FARTHEST) / clipped
            bias += (weight.double() @ moved.flatten()).to(bias.dtype)
        weight *= (ratio if weight.ndim == 4 else ratio.flatten()).to(weight.dtype)

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the first layer for observations as they come.

        Args:
            weight: [out, in], or [out, in, 3, 3] of a convolution.
            bias: [out].

        Returns:
            Weight and bias of the same shapes.
        """
        if self.scale is None:
            return weight, bias
        scale = self.scale if weight.ndim == 4 or self.scale.ndim == 0 else self.scale.flatten()
        scaled = weight.double() * scale.double()
        if self.shift is not None:
            bias = bias - scaled @ self.shift.flatten().double()
        return scaled.to(weight.dtype), bias.to(weight.dtype)


def _look_again(module: nn.Module, _: object) -> None:
    """Reads how much was seen from what was just loaded."""
    assert isinstance(module, Observation)
    # where only the layout of a model is made, there are no numbers
    if module.count is not None and not module.count.is_meta:
        module.seen = int(module.count)


def clipped(observation: NDArray, limits: Limits | None) -> NDArray:
    """Returns observations [B, ...] of any real dtype within the limits of `Observation.limits`."""
    return observation if limits is None else np.clip(observation, *limits)


def observation_kind(config: ModelConfig, spec: EnvSpec) -> Kind:
    """Returns what is done to observations.

    "auto": nothing to boards and whatever stays in [-1, 1]; images with known bounds are divided by them; everything
    else is normalised.
    """
    if config.observation != "auto":
        return config.observation
    bounds, bytes_ = spec.observation_bounds, spec.observation_dtype == np.uint8
    if (bounds is None and bytes_) or (bounds is not None and max(map(abs, bounds)) <= 1.0):
        return "raw"
    image = bytes_ or len(spec.observation_shape) == 3
    return "scale" if bounds is not None and image else "normalize"


def _largest(spec: EnvSpec) -> float:
    """Returns the largest size of a number in an observation; planes without bounds are boards of 0 and 1."""
    if spec.observation_bounds is not None:
        return max(map(abs, spec.observation_bounds))
    if spec.observation_dtype == np.uint8:
        return 1.0
    raise UserError(
        f"model.observation: scale needs known bounds of the observation, {spec.name} states none; use normalize or raw"
    )
