"""Gymnasium's spaces as a planner takes them: one array of numbers to see, one row of actions to choose from.

Observations, `read_observation_space`:

| space | becomes |
|---|---|
| Box of rank 0 or 1 | a vector |
| Box of rank 2 | [1, H, W] if H, W >= 8, or if it holds whole numbers (a board) and H, W >= 3; else a vector |
| Box of rank 3 | [C, H, W]; [H, W, C] is turned where C is at most 16 and smaller than H and W |
| Box of rank 4 | stacked images: each turned as above, their channels side by side |
| MultiBinary | as a Box of whole numbers |
| Discrete, MultiDiscrete | one-hot vectors, one behind the other |
| flat Dict, flat Tuple | one vector of all parts in the space's order; a single part stays what it is |

uint8 stays uint8, bool and MultiBinary become uint8, everything else float32. Of a Dict "action_mask" is no part of the
observation: it is the mask.

Actions, `read_action_space`: Discrete as it is; MultiDiscrete and MultiBinary as all combinations, the last part
changing fastest.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from muzero_wm.envs.base import MOST_NUMBERS, EnvError

MOST_COMBINATIONS = 4096
"""Most actions that a MultiDiscrete or MultiBinary space may be flattened to."""

MASK = "action_mask"
_MOST_CHANNELS, _BOARD_SIDE, _IMAGE_SIDE = 16, 3, 8
_ENDLESS = 2.0**31  # the limits of int32 and float32 are written where there is no limit


@dataclass(frozen=True)
class Encoder:
    """How to turn what an environment shows into an array.

    Attributes:
        shape: of the array.
        dtype: uint8 or float32.
        bounds: smallest and largest number it may hold, None where there is a number without limit.
        encode: takes a raw observation, returns the array; raises EnvError if the observation is not of the space.
        masked: raw observations are dicts that hold the legal actions under "action_mask".
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    bounds: tuple[float, float] | None
    encode: Callable[[Any], NDArray[Any]]
    masked: bool = False


@dataclass(frozen=True)
class Actions:
    """What the numbers of actions stand for.

    Attributes:
        count: A.
        decode: takes a number in [0, A), returns what the environment's `step` takes.
        sizes: how many choices each part of a combined action has, () for a Discrete space.
    """

    count: int
    decode: Callable[[int], Any]
    sizes: tuple[int, ...] = ()

    def allowed(self, mask: Any, by_part: bool = False) -> NDArray[Any]:
        """Returns a mask over the A actions.

        Args:
            mask: [A], or the masks of the parts one behind the other; anything else is left for others to refuse.
            by_part: a mask that could be either is meant as masks of the parts.

        Returns:
            [A], nonzero where the action is allowed.
        """
        array = np.asarray(mask)
        if self.sizes and array.size == sum(self.sizes) and (by_part or array.size != self.count):
            parts = np.split(array.ravel() != 0, np.cumsum(self.sizes)[:-1])
            return functools.reduce(lambda left, right: np.logical_and.outer(left, right).ravel(), parts)
        return array.ravel() if array.size == self.count else array


def read_observation_space(name: str, space: spaces.Space[Any]) -> Encoder:
    """Returns how to encode the observations of a space.

    Args:
        name: what the environment is called, for messages.
        space: see the head of this file.

    Returns:
        The encoder.

    Raises:
        EnvError: the space, or a part of it, is not supported.
    """
    encoder = _read(f"{name}: observation", space)
    if not 0 < math.prod(encoder.shape) <= MOST_NUMBERS:
        raise EnvError(f"{name}: an observation must have 1 to {MOST_NUMBERS} numbers, got shape {encoder.shape}")
    return encoder


def read_action_space(name: str, space: spaces.Space[Any]) -> Actions:
    """Returns how to decode the actions of a space.

    Args:
        name: what the environment is called, for messages.
        space: Discrete, MultiDiscrete or MultiBinary.

    Returns:
        The actions.

    Raises:
        EnvError: actions are continuous, of another kind, or too many.
    """
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        return Actions(int(space.n), lambda action: action + first)
    if isinstance(space, spaces.MultiDiscrete):
        return _combined(name, space, np.asarray(space.nvec, np.int64), np.asarray(space.start))
    if isinstance(space, spaces.MultiBinary):
        return _combined(name, space, np.full(space.shape, 2), np.zeros(space.shape, np.int64))
    if isinstance(space, spaces.Box):
        raise EnvError(f"{name}: continuous actions are not supported, the action space is {space}")
    raise EnvError(f"{name}: the action space must be Discrete, MultiDiscrete or MultiBinary, got {space}")


def _combined(name: str, space: spaces.Space[Any], choices: NDArray[np.int64], start: NDArray[Any]) -> Actions:
    """Returns all combinations of `choices` per part as single actions."""
    sizes = choices.ravel()
    count = math.prod(sizes.tolist())
    if not 0 < count <= MOST_COMBINATIONS:
        raise EnvError(
            f"{name}: {space} has {count} combined actions, at most {MOST_COMBINATIONS} are supported; "
            "wrap the environment so that it offers fewer"
        )
    strides = np.cumprod(np.append(sizes[1:], 1)[::-1])[::-1]
    chosen = np.arange(count)[:, None] // strides % sizes + start.ravel()
    table = chosen.reshape(count, *choices.shape).astype(space.dtype)
    return Actions(count, lambda action: table[action].copy(), tuple(sizes.tolist()))


def _read(label: str, space: spaces.Space[Any]) -> Encoder:
    """Returns the encoder of a whole space or of the one part that it has."""
    parts = _parts(space)
    if parts is None:
        return _leaf(label, space)
    masked = MASK in parts
    if len(labelled := {key: (f"{label}[{key!r}]", part) for key, part in parts.items() if key != MASK}) != 1:
        return replace(_side_by_side(label, labelled), masked=masked)
    ((key, part),) = labelled.items()
    inner = _read(*part)
    return replace(inner, encode=lambda raw: inner.encode(_of(label, raw, key)), masked=masked)


def _side_by_side(label: str, labelled: dict[Any, tuple[str, spaces.Space[Any]]]) -> Encoder:
    """Returns the encoder of several leaves as one vector."""
    if not labelled:
        raise EnvError(f"{label}: there is nothing in it")
    encoders = {key: _leaf(*part) for key, part in labelled.items()}
    bounds = [encoder.bounds for encoder in encoders.values()]
    known = [bound for bound in bounds if bound is not None]

    def encode(raw: Any) -> NDArray[Any]:
        parts = [encoder.encode(_of(label, raw, key)).ravel() for key, encoder in encoders.items()]
        return np.concatenate(parts, dtype=np.float32)

    return Encoder(
        shape=(sum(math.prod(encoder.shape) for encoder in encoders.values()),),
        dtype=np.dtype(np.float32),
        bounds=(min(low for low, _ in known), max(high for _, high in known)) if len(known) == len(bounds) else None,
        encode=encode,
    )


def _parts(space: spaces.Space[Any]) -> dict[Any, spaces.Space[Any]] | None:
    if isinstance(space, spaces.Dict):
        return dict(space.spaces)
    return dict(enumerate(space.spaces)) if isinstance(space, spaces.Tuple) else None


def _of(label: str, raw: Any, key: Any) -> Any:
    try:
        return raw[key]
    except (KeyError, IndexError, TypeError):
        raise EnvError(f"{label}[{key!r}] is missing, got {str(raw)[:80]}") from None


def _leaf(label: str, space: spaces.Space[Any]) -> Encoder:
    if isinstance(space, spaces.Discrete):
        return _one_hots(label, space, np.array([space.start]), np.array([space.n]))
    if isinstance(space, spaces.MultiDiscrete):
        return _one_hots(label, space, space.start.ravel(), space.nvec.ravel())
    if isinstance(space, spaces.MultiBinary):
        return _numbers(label, space.shape, np.dtype(np.bool_), (0.0, 1.0))
    if isinstance(space, spaces.Box):
        low = float(np.min(space.low.astype(np.float64), initial=np.inf))
        high = float(np.max(space.high.astype(np.float64), initial=-np.inf))
        bounds = (low, high) if -_ENDLESS < low < high < _ENDLESS else None
        return _numbers(label, space.shape, np.dtype(space.dtype), bounds)
    raise EnvError(
        f"{label}: expected Box, Discrete, MultiBinary, MultiDiscrete, or a Dict or Tuple of these that is not nested, "
        f"got {str(space)[:80]}; wrap the environment, or leave this part out"
    )


def _one_hots(label: str, space: spaces.Space[Any], start: NDArray[Any], sizes: NDArray[Any]) -> Encoder:
    total = int(sizes.sum())
    offsets = np.cumsum(sizes) - sizes

    def encode(raw: Any) -> NDArray[Any]:
        index = _array(label, raw, space.shape or (), np.dtype(np.int64)).ravel() - start
        if ((index < 0) | (index >= sizes)).any():
            raise EnvError(f"{label} must be in {space}, got {str(raw)[:80]}")
        row = np.zeros(total, np.float32)
        row[offsets + index] = 1.0
        return row

    return Encoder((total,), np.dtype(np.float32), (0.0, 1.0), encode)


def _numbers(label: str, shape: tuple[int, ...], dtype: np.dtype[Any], bounds: tuple[float, float] | None) -> Encoder:
    """Returns the encoder of an array: turned so that channels come first, then given its shape."""
    axes, wanted = _layout(shape, dtype.kind in "biu")
    kept = np.dtype(np.uint8 if dtype in (np.uint8, np.bool_) else np.float32)
    return Encoder(wanted, kept, bounds, lambda raw: _array(label, raw, shape, kept).transpose(axes).reshape(wanted))


def _layout(shape: tuple[int, ...], whole: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the order of the axes and the shape they are given then; `whole`: the numbers are whole."""
    rank = len(shape)
    axes = tuple(range(rank))
    if rank == 2:
        return axes, (1, *shape) if min(shape) >= (_BOARD_SIDE if whole else _IMAGE_SIDE) else (math.prod(shape),)
    if rank not in (3, 4):
        return axes, (math.prod(shape),)
    image = shape[-3:]
    if image[2] <= _MOST_CHANNELS and image[2] < min(image[:2]):
        axes = (*axes[:-3], rank - 1, rank - 3, rank - 2)
        image = (image[2], image[0], image[1])
    return axes, (math.prod((*shape[:-3], image[0])), *image[1:])


def _array(label: str, raw: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        array = np.asarray(raw, dtype)
    except (TypeError, ValueError, OverflowError):
        raise EnvError(f"{label} must be numbers of shape {shape}, got {str(raw)[:80]}") from None
    if array.shape != shape:
        raise EnvError(f"{label} must have shape {shape}, got {array.shape}")
    return array
