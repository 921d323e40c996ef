"""Symmetries of boards: observation, policy and actions are turned together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs.base import Symmetry
from muzero_wm.replay.batch import Batch


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
    flat = planes.reshape(*planes.shape[:-2], -1)
    index = cells.reshape(len(cells), *(1,) * leading, cells.shape[-1])
    return np.take_along_axis(flat, index, -1).reshape(planes.shape)
