"""From the replay to the device: the batches of several updates, laid out and moved at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muzero_wm.config import LearningConfig
from muzero_wm.envs.base import Symmetry
from muzero_wm.learning.augment import Changes, apply_symmetries, draw_changes
from muzero_wm.model.world_model import WorldModel
from muzero_wm.replay.batch import Batch, Draws
from muzero_wm.replay.buffer import ReplayBuffer

MOST_CELLS = 48


@dataclass
class Laid:
    """What one update is made from.

    Attributes:
        samples: the batch as the replay made it, for whatever is asked on this side: names, errors, priorities.
        batch: the same on the device; on the CPU it is the same memory.
        cells: [c] int64 on the device, which cells of a board self-prediction compares; None for all.
        changes: of its images, on the device; None for none.
    """

    samples: Batch[NDArray[Any]]
    batch: Batch[Tensor]
    cells: Tensor | None
    changes: Changes[Tensor] | None = None


def lay_out(
    buffer: ReplayBuffer,
    draws: Draws,
    beta: float,
    rng: np.random.Generator,
    *,
    ends: NDArray[np.float32] | None = None,
    model: WorldModel,
    config: LearningConfig,
    symmetries: tuple[Symmetry, ...] = (),
    device: torch.device,
) -> list[Laid]:
    """Makes batches and brings them to the device.

    Args:
        buffer: what was drawn from.
        draws: [U, B] steps and their odds.
        beta: exponent of the importance weights.
        rng: draws what is random in a batch, one batch after the other: how many are laid out at once changes nothing.
        ends: values with which returns end, of `fresh_bootstraps`; None for the stored ones.
        model: says which cells its boards have.
        config: says by how much images are changed.
        symmetries: by which every sample is turned at random; none of them changes nothing.
        device: where the batches go.

    Returns:
        What U updates are made from.
    """
    samples, cells, changes = [], [], []
    for index in range(len(draws.slot)):
        each = buffer.batch(draws[index], beta, rng, ends)
        apply_symmetries(each, symmetries, rng)
        samples.append(each)
        cells.append(draw_cells(model, rng))
        changes.append(draw_changes(config, each.targets.value.shape, rng))
    some = [each for each in cells if each is not None]
    chosen = torch.stack(some).to(device) if some else cells
    changed = _move_changes(changes, device)
    return [Laid(*each) for each in zip(samples, move(samples, device), chosen, changed, strict=True)]


def move(samples: Sequence[Batch[NDArray[Any]]], device: torch.device) -> list[Batch[Tensor]]:
    """Returns batches of equal shapes as tensors on a device; one copy of each kind of array for all of them."""

    def tensor(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    if len(samples) == 1 or device.type == "cpu":
        return [each.map(tensor) for each in samples]
    together = Batch.stack(samples).map(tensor)
    return [together.map(lambda stacked, index=index: stacked[index]) for index in range(len(samples))]  # type: ignore[misc]


def _move_changes(
    drawn: Sequence[Changes[NDArray[Any]] | None], device: torch.device
) -> Sequence[Changes[Tensor] | None]:
    """Returns what was drawn on a device; one copy of each kind of array for all batches."""
    some = [each for each in drawn if each is not None]
    if not some:
        return [None] * len(drawn)
    offsets, factors = (
        None if kind[0] is None else torch.from_numpy(np.stack(kind)).to(device) for kind in zip(*some, strict=True)
    )
    return [
        Changes(None if offsets is None else offsets[index], None if factors is None else factors[index])
        for index in range(len(some))
    ]


def draw_cells(model: WorldModel, rng: np.random.Generator) -> Tensor | None:
    """Returns the cells of a large board that self-prediction compares this time, [MOST_CELLS] int64; None for all.

    Comparing all of them takes as long as the rest of an update and says little more.
    """
    cells = math.prod(model.latent_shape[1:])
    if cells <= MOST_CELLS:
        return None
    return torch.from_numpy(np.sort(rng.permutation(cells)[:MOST_CELLS]))
