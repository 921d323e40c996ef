"""Unfinished episodes as arrays: the actions that led there, or the states that environments have saved themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs.base import EnvError


def pack(actions: Sequence[NDArray[np.int32]], states: Sequence[bytes]) -> dict[str, NDArray[Any]]:
    """Returns the arrays of n slots.

    Args:
        actions: [n] what was played in each unfinished episode; not kept of slots that have a state.
        states: [n] what each environment has saved; empty: nothing.

    Returns:
        "action" and "state", those of all slots one behind the other, and "state_length" [n].
    """
    kept = [np.zeros(0, np.int32) if state else played for played, state in zip(actions, states, strict=True)]
    return {
        "action": np.concatenate(kept, dtype=np.int32),
        "state": np.frombuffer(b"".join(states), np.uint8).copy(),
        "state_length": np.array([len(state) for state in states], np.int64),
    }


def unpack(
    name: str, snapshot: Mapping[str, Any], lengths: NDArray[np.int64]
) -> tuple[list[NDArray[np.int32]], list[bytes]]:
    """Restores `pack`; snapshots of earlier versions hold no states.

    Args:
        name: of the environment, for messages.
        snapshot: its arrays, or tensors.
        lengths: [n] steps of the unfinished episodes.

    Returns:
        Actions and states.

    Raises:
        EnvError: the arrays do not fit each other.
    """
    sizes = np.asarray(snapshot.get("state_length", np.zeros(len(lengths), np.int64)), np.int64)
    state = np.asarray(snapshot.get("state", np.zeros(0, np.uint8)), np.uint8)
    actions = np.asarray(snapshot["action"], np.int32)
    played = np.where(sizes > 0, 0, lengths) if sizes.shape == lengths.shape else lengths
    for what, array, counts in (("state", state, sizes), ("action", actions, played)):
        if counts.shape != lengths.shape or (counts < 0).any() or array.shape != (counts.sum(),):
            raise EnvError(
                f"{name}: snapshot[{what!r}] must have the {counts.sum()} entries of {len(lengths)} slots, "
                f"got shape {array.shape}"
            )
    return _split(actions, played), [part.tobytes() for part in _split(state, sizes)]


def _split(array: NDArray[Any], counts: NDArray[np.int64]) -> list[NDArray[Any]]:
    return np.split(array, np.cumsum(counts)[:-1])
