"""Frames are stored once: a stack is taken apart before it is stored, and put together when somebody reads it.

A stack of k holds the last k observations of an episode; where fewer were seen, the first stands for those before it.
So all that a slot needs is its newest frame, and how many of the slots in front of it belong to the same episode.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs.base import EnvSpec


def newest(spec: EnvSpec, observations: NDArray[Any]) -> NDArray[Any]:
    """Returns what is stored of observations: the newest frame of each.

    Args:
        spec: says how many frames stand one behind the other.
        observations: [n, *observation_shape].

    Returns:
        [n, *frame_shape], in the same memory.
    """
    return observations if spec.frames == 1 else observations[:, -spec.frame_shape[0] :]


def reach_back(position: NDArray[np.int64], frames: int) -> NDArray[np.uint8]:
    """Returns how many frames in front of its own a stack shows, beyond which the first one is repeated.

    Args:
        position: [n] steps since the beginning of the segment, which is that of the episode or far enough in front of
            whatever is read.
        frames: k.
    """
    return np.minimum(position, frames - 1).astype(np.uint8)


def stacks(ring: dict[str, NDArray[Any]], slots: NDArray[np.int64], spec: EnvSpec) -> NDArray[Any]:
    """Returns the observations of slots.

    Args:
        ring: arrays over all slots: "observation" and, where several frames make one, "since" (`reach_back`).
        slots: [...] int64.
        spec: shapes.

    Returns:
        [..., *observation_shape].
    """
    stored = ring["observation"]
    # `take` copies rows as they lie, a fifth faster than indexing
    if spec.frames == 1:
        return stored.take(slots, axis=0)
    back = np.minimum(np.arange(spec.frames - 1, -1, -1), ring["since"][slots][..., None])
    found = stored.take((slots[..., None] - back) % len(stored), axis=0)
    return found.reshape(*slots.shape, *spec.observation_shape)


def stored_whole(spec: EnvSpec, observations: NDArray[Any]) -> str | None:
    """Returns why stored observations cannot be used: earlier versions kept whole stacks. None where they can.

    Args:
        spec: of the environment.
        observations: [n, ...] of a checkpoint.
    """
    if spec.frames == 1 or np.shape(observations)[1:] != spec.observation_shape:
        return None
    return (
        f"the checkpoint holds stacks of {spec.frames} frames, as earlier versions stored them, and this one stores "
        "each frame once; its agent can be loaded and evaluated, to learn on begin a new run"
    )
