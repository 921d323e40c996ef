"""What is changed about samples at random: boards are turned, images moved and made brighter or darker.

Symmetries turn observation, policy and actions together, as the batch is made. Images are changed where the batch is
learnt from, and nothing but them: playing, reanalyze, bootstraps and evaluation see what the environment shows.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Generic, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muzero_wm.basis.errors import UserError
from muzero_wm.config import LearningConfig
from muzero_wm.envs.base import EnvSpec, Symmetry
from muzero_wm.replay.batch import Batch
from muzero_wm.replay.targets import A


def apply_symmetries(batch: Batch[NDArray[Any]], symmetries: tuple[Symmetry, ...], rng: np.random.Generator) -> None:
    """Turns every sample by a symmetry drawn for it, in place; all its steps by the same one.

    Args:
        batch: observations [B, C, H, W] and targets.
        symmetries: of the environment; fewer than two change nothing.
        rng: source of randomness.
    """
    if len(symmetries) < 2:
        return
    choice = rng.integers(len(symmetries), size=len(batch.slot))
    cells = np.stack([symmetry.observation for symmetry in symmetries])[choice]
    moves = np.stack([symmetry.action for symmetry in symmetries])[choice]
    batch.observation = _turn_planes(batch.observation, cells, leading=1)
    batch.next_observation = _turn_planes(batch.next_observation, cells, leading=2)
    targets = batch.targets
    targets.policy = np.take_along_axis(targets.policy, moves[:, None, :], 2)
    # new policy[a] = old policy[moves[a]], so the old action m is now the a with moves[a] == m
    targets.action = np.take_along_axis(np.argsort(moves, 1), targets.action.astype(np.int64), 1).astype(np.int32)


def _turn_planes(planes: NDArray, cells: NDArray, leading: int) -> NDArray:
    flat = planes.reshape(*planes.shape[:-2], math.prod(planes.shape[-2:]))
    index = cells.reshape(len(cells), *(1,) * leading, cells.shape[-1])
    return np.take_along_axis(flat, index, -1).reshape(planes.shape)


class Changes(NamedTuple, Generic[A]):
    """What is done to the K + 1 observations of each of B samples, the root first; None: nothing.

    Attributes:
        offset: [B, K + 1, 2] int64, down and to the right, from where each pixel comes.
        factor: [B, K + 1] float32, by which numbers are multiplied.
    """

    offset: A | None
    factor: A | None


def check_images(config: LearningConfig, spec: EnvSpec) -> None:
    """Raises UserError where images are to be changed and an environment shows none, or one that is too small."""
    shape, shift = spec.observation_shape, config.random_shift
    name = "random_shift" if shift else "random_intensity"
    if not shift and not config.random_intensity:
        return
    if spec.num_players != 1 or len(shape) != 3:
        seen = f"{'two players' if spec.num_players != 1 else 'one player'} and {list(shape)}"
        raise UserError(
            f"learning.{name}: expected images [C, H, W] of one player, {spec.name} has {seen}; set it to 0"
        )
    if shift >= min(shape[1:]):
        raise UserError(f"learning.random_shift: expected less than {min(shape[1:])}, a side of the image, got {shift}")


def draw_changes(
    config: LearningConfig, shape: tuple[int, ...], rng: np.random.Generator
) -> Changes[NDArray[Any]] | None:
    """Returns how the images of a batch are changed, every one of them in its own way; None where they are not.

    Source: DrQ (arXiv:2004.13649) for the shift; SPR (arXiv:2007.05929) for the intensity 1 + s clip(N(0, 1), -2, 2).

    Args:
        config: how much.
        shape: [B, K + 1]; what is imagined and what really followed are compared through different draws.
        rng: source of randomness; asked for what is changed only.
    """
    shift, size = config.random_shift, config.random_intensity
    if not shift and not size:
        return None
    offset = rng.integers(-shift, shift, (*shape, 2), endpoint=True) if shift else None
    normal = rng.standard_normal(shape, np.float32) if size else None
    return Changes(offset, None if normal is None else 1.0 + np.float32(size) * normal.clip(-2.0, 2.0))


def change_images(batch: Batch[Tensor], changes: Changes[Tensor]) -> Batch[Tensor]:
    """Returns a batch with other observations, all else the same.

    Preparing an observation multiplies it (`model.observation`), so that what is brighter before is brighter after.

    Args:
        batch: observations [B, C, H, W] and [B, K, C, H, W].
        changes: on the same device.
    """
    offset, factor = changes
    root, following = batch.observation, batch.next_observation
    if offset is not None:
        root = _shifted(root, offset[:, 0])
        following = _shifted(following.flatten(0, 1), offset[:, 1:].flatten(0, 1)).view_as(following)
    if factor is not None:
        root = root * factor[:, 0, None, None, None]
        following = following * factor[:, 1:, None, None, None]
    return replace(batch, observation=root, next_observation=following)


def _shifted(images: Tensor, offset: Tensor) -> Tensor:
    """Returns images [n, C, H, W] moved by offsets [n, 2]; what comes from outside is what the edge shows."""
    rows, columns = (
        (torch.arange(side, device=offset.device) + offset[:, axis, None]).clamp(0, side - 1)
        for axis, side in enumerate(images.shape[2:])
    )
    moved = torch.gather(images, 2, rows[:, None, :, None].expand_as(images))
    return torch.gather(moved, 3, columns[:, None, None, :].expand_as(images))
