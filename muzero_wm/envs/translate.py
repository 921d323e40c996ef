"""Between an environment's language and a model's: functions made of the plain data in `language.py`."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs.base import EnvError, EnvSpec
from muzero_wm.envs.language import Acted, Key, Observed, Part, Picture

MASK = "action_mask"


class Translator:
    """Speaks for one environment: raw observations and masks in, raw actions out.

    Where the spec holds no language (built-in boards, OpenSpiel, agents saved by earlier versions), both sides are the
    model's: arrays of the spec's shape, and numbers of actions.
    """

    def __init__(self, spec: EnvSpec) -> None:
        """Prepares the translation.

        Args:
            spec: the environment, or what a checkpoint says of it.
        """
        self._spec = spec
        self._observed = spec.language.observed if spec.language else None
        self._acted = spec.language.acted if spec.language else None
        self._encode = encoding(self._observed, "observation", exact=True) if self._observed else None
        self._decode = decoding(self._acted) if self._acted else int

    def observation(self, raw: Any) -> NDArray[Any]:
        """Returns an observation as the model takes it.

        Args:
            raw: what `reset` and `step` of the environment return; with frame_stack=k a sequence of the last k of
                them, oldest first, or of all where there were fewer. An array that already has the model's shape and
                cannot be a raw observation is taken as it is.

        Returns:
            [*observation_shape] in the spec's dtype.

        Raises:
            EnvError: it is neither.
        """
        if self._observed is None or self._encode is None:
            return self._own(raw, None)
        try:
            k = self._observed.frames
            encoded = self._encode(raw) if k == 1 else self._stacked(self._encode, k, raw)
        except EnvError as error:
            return self._own(raw, error)
        return encoded.astype(self._spec.observation_dtype, copy=False)

    def legal_actions(self, raw: Any, info: Any = None, given: Any = None) -> NDArray[Any] | None:
        """Returns which actions are legal.

        Args:
            raw: as for `observation`.
            info: what the environment returned beside it.
            given: a mask that goes before both.

        Returns:
            [A], nonzero where legal; of another shape where the mask has none that fits; None where no mask is given.
        """
        mask = given
        if mask is None and self._observed is not None and self._observed.mask is not None:
            last = raw[-1] if self._observed.frames > 1 and isinstance(raw, Sequence) else raw
            if isinstance(last, dict):
                mask = at(last, self._observed.mask, "observation")
        if mask is None and info is not None:
            mask = info.get(MASK)
        if mask is None or self._acted is None:
            return None if mask is None else np.asarray(mask)
        return allowed(self._acted, mask)

    def action(self, number: int) -> Any:
        """Returns what `step` of the environment takes for an action in [0, A): an integer, or an array."""
        return self._decode(number)

    def _stacked(self, encode: Callable[[Any], NDArray[Any]], k: int, raw: Any) -> NDArray[Any]:
        hint = f"observation: expected the last {k} of frame_stack={k}, oldest first (fewer as an episode begins)"
        count = len(raw) if isinstance(raw, Sequence) or (isinstance(raw, np.ndarray) and raw.ndim) else 0
        if not 1 <= count <= k:
            several = isinstance(raw, Sequence) and not isinstance(raw, str) and count
            raise EnvError(f"{hint}, got {f'{count} of them' if several else _told(raw)}")
        try:
            shown = [encode(frame) for frame in raw]
        except EnvError as error:
            raise EnvError(f"{hint}, but of one of them: {error}") from error
        return np.concatenate([shown[0]] * (k - count) + shown)

    def _own(self, raw: Any, error: EnvError | None) -> NDArray[Any]:
        """Returns what is in the model's language already, or raises what is wrong with it as a raw observation."""
        try:
            array = np.asarray(raw)
        except ValueError:
            array = np.asarray(None)
        if array.shape != self._spec.observation_shape or array.dtype.kind not in "biuf":
            raise error or EnvError(
                f"observation: expected numbers of shape {self._spec.observation_shape}, "
                f"got {array.dtype} of shape {array.shape}"
            )
        return _converted("observation", array, self._spec.observation_dtype)


def encoding(observed: Observed, label: str, exact: bool = False) -> Callable[[Any], NDArray[Any]]:
    """Returns what makes an array of one raw observation, stacked frames left aside.

    Args:
        observed: how.
        label: what observations are called, for messages.
        exact: numbers that the dtype cannot hold are refused. An environment's are looked at by `check-env`, not in
            every step.

    Returns:
        A function that returns uint8 or float32, and raises EnvError where a raw observation is not of the space.
    """
    encoders = [_part_encoding(part, label, exact) for part in observed.parts]
    if len(encoders) == 1:
        return _pictured(encoders[0], observed.picture, label) if observed.picture else encoders[0]
    return lambda raw: np.concatenate([encode(raw).ravel() for encode in encoders], dtype=np.float32)


def opencv(what: str, extra: str = "images") -> Any:
    """Imports OpenCV.

    Args:
        what: needs it, for the message.
        extra: that brings it.

    Returns:
        The module `cv2`.

    Raises:
        EnvError: it is not installed.
    """
    first = "cv2" not in sys.modules
    try:
        import cv2
    except ImportError:
        raise EnvError(f'{what} OpenCV: pip install "muzero-wm[{extra}]"') from None
    if first:  # for pictures of this size its threads only wait, and keep a core busy with that
        cv2.setNumThreads(1)
    return cv2


def decoding(acted: Acted) -> Callable[[int], Any]:
    """Returns what makes the argument of `step` of the number of an action.

    Args:
        acted: how.

    Returns:
        A function of a number in [0, A) that returns an integer, or a new array of the space's shape and dtype.
    """
    start, sizes, shape = np.array(acted.start, np.int64), np.array(acted.sizes, np.int64), acted.shape
    if shape is None:
        return lambda number: int(number) + acted.start[0]
    strides = np.cumprod(np.append(sizes[1:], 1)[::-1])[::-1]
    return lambda number: (number // strides % sizes + start).reshape(shape).astype(acted.dtype)


def allowed(acted: Acted, mask: Any, by_part: bool = False) -> NDArray[Any]:
    """Returns a mask over the A actions.

    Args:
        acted: the actions.
        mask: [A], or the masks of the parts one behind the other; anything else is left for others to refuse.
        by_part: a mask that could be either is meant as masks of the parts.

    Returns:
        [A], nonzero where the action is allowed.
    """
    array = np.asarray(mask)
    combined = acted.shape is not None
    if combined and array.size == sum(acted.sizes) and (by_part or array.size != acted.count):
        parts = np.split(array.ravel() != 0, np.cumsum(acted.sizes)[:-1])
        return functools.reduce(lambda left, right: np.logical_and.outer(left, right).ravel(), parts)
    return array.ravel() if array.size == acted.count else array


def at(raw: Any, path: tuple[Key, ...], label: str) -> Any:
    """Returns what keys lead to.

    Args:
        raw: an observation.
        path: the keys.
        label: what the observation is called, for messages.

    Returns:
        The part.

    Raises:
        EnvError: it is not there.
    """
    part = raw
    for key in path:
        try:
            part = part[key]
        except (KeyError, IndexError, TypeError):
            raise EnvError(f"{named(label, path)} is missing, got {_told(raw)}") from None
    return part


def named(label: str, path: tuple[Key, ...]) -> str:
    """Returns what a part of an observation is called, for example "observation['camera']"."""
    return label + "".join(f"[{key!r}]" for key in path)


def _pictured(encode: Callable[[Any], NDArray[Any]], picture: Picture, label: str) -> Callable[[Any], NDArray[Any]]:
    """Returns what encodes an image and then makes it grey and another size; OpenCV is looked for when it is called."""
    size = None if picture.size is None else picture.size[::-1]

    def prepared(raw: Any) -> NDArray[Any]:
        cv2 = opencv(f"{label}: resize and grey need")
        planes = list(encode(raw))
        if picture.grey:
            planes = [
                cv2.cvtColor(np.stack(planes[c : c + 3], axis=-1), cv2.COLOR_RGB2GRAY) for c in range(0, len(planes), 3)
            ]
        if size is not None:
            planes = [cv2.resize(np.ascontiguousarray(p), size, interpolation=cv2.INTER_AREA) for p in planes]
        return np.stack(planes)

    return prepared


def _part_encoding(part: Part, label: str, exact: bool) -> Callable[[Any], NDArray[Any]]:
    called, path, shape, dtype = named(label, part.path), part.path, part.raw, np.dtype(part.dtype)
    if not part.sizes:
        axes, wanted = part.axes, part.shape
        return lambda raw: _array(called, at(raw, path, label), shape, dtype, exact).transpose(axes).reshape(wanted)
    start, sizes = np.array(part.start, np.int64), np.array(part.sizes, np.int64)
    offsets, total = np.cumsum(sizes) - sizes, math.prod(part.shape)

    def one_hot(raw: Any) -> NDArray[Any]:
        value = at(raw, path, label)
        index = _array(called, value, shape, np.dtype(np.int64)).ravel() - start
        if ((index < 0) | (index >= sizes)).any():
            raise EnvError(f"{called} must be in {part.space}, got {_told(value)}")
        row = np.zeros(total, np.float32)
        row[offsets + index] = 1.0
        return row

    return one_hot


def _array(label: str, raw: Any, shape: tuple[int, ...], dtype: np.dtype[Any], exact: bool = False) -> NDArray[Any]:
    try:
        array = np.asarray(raw, None if exact else dtype)
    except (TypeError, ValueError, OverflowError):
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise EnvError(f"{label} must be numbers of shape {shape}, got {_told(raw)}")
    if array.shape != shape:
        raise EnvError(f"{label} must have shape {shape}, got {array.shape}")
    return _converted(label, array, dtype) if exact else array


def _converted(label: str, array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Returns an array in a dtype; raises where whole numbers are expected and others came, which would be rounded."""
    with np.errstate(invalid="ignore"):
        converted = array.astype(dtype, copy=False)
    if dtype.kind in "iu" and array.dtype != dtype and (wrong := converted != array).any():
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        raise EnvError(f"{label}: expected whole numbers from {low} to {high} ({dtype}), got {array[wrong][0]!s:.20}")
    return converted


def _told(value: Any) -> str:
    """Returns a value for a message, in one line; of an array with axes the shape says more than its first numbers."""
    if isinstance(value, np.ndarray) and value.ndim > 1:
        return f"an array of shape {value.shape}"
    return " ".join(str(value)[:80].split())
