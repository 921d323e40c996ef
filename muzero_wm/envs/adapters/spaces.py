"""Gymnasium's spaces as a planner takes them: one array of numbers to see, one row of actions to choose from.

Observations, `read_observation_space`:

| space | becomes |
|---|---|
| Box of rank 0 or 1 | a vector |
| Box of rank 2 | [1, H, W] if H, W >= 8, or if it holds whole numbers (a board) and H, W >= 3; else a vector |
| Box of rank 3 | [C, H, W]; [H, W, C] is turned: see `guess_channels`, and the option `channels` of a name |
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

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from muzero_wm.envs.base import MOST_NUMBERS, EnvError
from muzero_wm.envs.language import AS_IT_IS, Acted, Key, Observed, Part, Picture
from muzero_wm.envs.naming.naming import Channels
from muzero_wm.envs.translate import MASK, allowed, decoding, encoding, named, opencv

MOST_COMBINATIONS = 4096
"""Most actions that a MultiDiscrete or MultiBinary space may be flattened to."""

_BOARD_SIDE, _IMAGE_SIDE = 3, 8
_ENDLESS = 2.0**31  # the limits of int32 and float32 are written where there is no limit
_SHOWN = 80  # characters of a space
_IMAGE_RANKS = (3, 4)

Bounds = tuple[float, float] | None
Order = tuple[tuple[int, ...], tuple[int, ...]]  # axes as they are taken, and the shape they are given then


@dataclass(frozen=True)
class Encoder:
    """How to turn what an environment shows into an array.

    Attributes:
        observed: the same as plain data.
        dtype: uint8 or float32.
        bounds: smallest and largest number it may hold, None where there is a number without limit.
        encode: takes a raw observation, returns the array; raises EnvError if the observation is not of the space.
        doubts: how images were read of which the shape does not say where their channels are, one line each.
    """

    observed: Observed
    dtype: np.dtype[Any]
    bounds: Bounds
    encode: Callable[[Any], NDArray[Any]]
    doubts: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.observed.shape


class Actions:
    """What the numbers of actions stand for.

    Attributes:
        acted: the same as plain data.
        count: A.
        decode: takes a number in [0, A), returns what the environment's `step` takes.
    """

    def __init__(self, acted: Acted) -> None:
        """Keeps the argument."""
        self.acted, self.count, self.decode = acted, acted.count, decoding(acted)

    def allowed(self, mask: Any, by_part: bool = False) -> NDArray[Any]:
        """Returns a mask over the A actions, see `translate.allowed`."""
        return allowed(self.acted, mask, by_part)


def read_observation_space(
    name: str, space: spaces.Space[Any], channels: Channels | None = None, picture: Picture = AS_IT_IS
) -> Encoder:
    """Returns how to encode the observations of a space.

    Args:
        name: what the environment is called, for messages.
        space: see the head of this file.
        channels: where images have theirs; None: their shapes tell.
        picture: what is done to an image.

    Returns:
        The encoder.

    Raises:
        EnvError: the space, or a part of it, is not supported, there is no image that `channels` or `picture` could be
            about, or OpenCV is missing.
    """
    label = f"{name}: observation"
    found, mask = _leaves(label, space)
    if channels is not None and not any(len(leaf.shape or ()) in _IMAGE_RANKS for _, leaf in found):
        raise EnvError(
            f"{name}: channels={channels} is for arrays of three or four dimensions, there is none in {space}"
        )
    read = [_read(named(label, path), path, leaf, channels) for path, leaf in found]
    parts = tuple(part for part, _ in read)
    if picture:
        opencv(f"{name}: resize and grey need")
        if misfit := picture.misfit(parts):
            raise EnvError(f"{name}: {misfit}")
    observed = Observed(parts, mask, picture=picture)
    if not 0 < math.prod(observed.shape) <= MOST_NUMBERS:
        raise EnvError(f"{name}: an observation must have 1 to {MOST_NUMBERS} numbers, got shape {observed.shape}")
    one = len(read) == 1  # the parts of a vector stand in any order
    doubts = tuple(doubt(part) for part in observed.parts if one and channels is None and is_doubtful(part))
    dtype = np.dtype(observed.parts[0].dtype if one else np.float32)
    return Encoder(observed, dtype, _around([bounds for _, bounds in read]), encoding(observed, label), doubts)


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
        return Actions(Acted(space_text(space), (int(space.n),), (int(space.start),)))
    if isinstance(space, spaces.MultiDiscrete):
        return _combined(name, space, np.asarray(space.nvec), np.asarray(space.start))
    if isinstance(space, spaces.MultiBinary):
        return _combined(name, space, np.full(space.shape, 2), np.zeros(space.shape, np.int64))
    if isinstance(space, spaces.Box):
        raise EnvError(f"{name}: continuous actions are not supported, the action space is {space}")
    raise EnvError(f"{name}: the action space must be Discrete, MultiDiscrete or MultiBinary, got {space}")


def numbers(path: tuple[Key, ...], space: spaces.Space[Any], dtype: np.dtype[Any], order: Order) -> Part:
    """Returns how an array of numbers is taken.

    Args:
        path: where it is.
        space: its space.
        dtype: uint8 or float32.
        order: how its axes are taken, and what shape they are given.

    Returns:
        The part.
    """
    return Part(path, space_text(space), tuple(space.shape or ()), dtype.name, *order)


def guess_channels(shape: tuple[int, ...]) -> tuple[Channels, bool]:
    """Returns where an array of three dimensions has its channels, and whether that is sure.

    Two equal sides beside a different third are height and width. Where all differ, a first or last side of at most
    half of the others is that of the channels. Everything else is a guess: the sides that are more alike are taken for
    height and width, and channels first where they are as much alike.

    Args:
        shape: [3] of the array.

    Returns:
        "first" or "last", and False where that is a guess.
    """
    a, b, c = shape
    if a == b == c:
        return "first", a <= 1
    if b == c or a == b:
        return ("first" if b == c else "last"), True
    if 2 * a <= min(b, c) or 2 * c <= min(a, b):
        return ("first" if a < c else "last"), True
    return ("first" if max(b, c) * min(a, b) <= max(a, b) * min(b, c) else "last"), False


def image_order(shape: tuple[int, ...], channels: Channels) -> Order:
    """Returns how an image, or several behind each other, is taken.

    Args:
        shape: [3] or [4], the last three dimensions are the image's.
        channels: where it has its channels.

    Returns:
        The order of the axes, and [C, H, W]; channels of several images stand side by side.
    """
    rank = len(shape)
    axes = tuple(range(rank))
    if channels == "last":
        axes = (*axes[:-3], rank - 1, rank - 3, rank - 2)
    turned = tuple(shape[axis] for axis in axes)
    return axes, (math.prod(turned[:-2]), *turned[-2:])


def is_doubtful(part: Part) -> bool:
    """Returns whether the shape of a part leaves open where its channels are, or says something else than was taken."""
    if len(part.raw) not in _IMAGE_RANKS or part.sizes:
        return False
    likely, sure = guess_channels(part.raw[-3:])
    return not sure or image_order(part.raw, likely)[0] != part.axes


def doubt(part: Part) -> str:
    """Returns how a doubtful part is read and could be read."""
    taken, other = (image_order(part.raw, "first"), "last"), (image_order(part.raw, "last"), "first")
    if taken[0][0] != part.axes:
        taken, other = other, taken
    (_, (c, h, w)), (_, (d, i, j)) = taken[0], other[0]
    here = f"{named('observation', part.path)} of shape {part.raw}"
    return f"{here} is read as {c} planes of {h} x {w}; with channels={taken[1]} it would be {d} of {i} x {j}"


def _combined(name: str, space: spaces.Space[Any], choices: NDArray[Any], start: NDArray[Any]) -> Actions:
    """Returns all combinations of `choices` per part as single actions."""
    sizes = tuple(int(size) for size in choices.ravel())
    count = math.prod(sizes)
    if not 0 < count <= MOST_COMBINATIONS:
        raise EnvError(
            f"{name}: {space} has {count} combined actions, at most {MOST_COMBINATIONS} are supported; "
            "wrap the environment so that it offers fewer"
        )
    first = tuple(int(number) for number in start.ravel())
    return Actions(Acted(space_text(space), sizes, first, choices.shape, np.dtype(space.dtype).name))


def _leaves(
    label: str, space: spaces.Space[Any], path: tuple[Key, ...] = ()
) -> tuple[list[tuple[tuple[Key, ...], spaces.Space[Any]]], tuple[Key, ...] | None]:
    """Returns the parts of a space with the keys that lead to them, and the keys to the mask or None."""
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return [(path, space)], None
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else dict(enumerate(space.spaces))
    mask = (*path, MASK) if MASK in parts else None
    shown = {key: part for key, part in parts.items() if key != MASK}
    if not shown:
        raise EnvError(f"{named(label, path)}: there is nothing in it")
    if bad := [key for key in shown if not isinstance(key, str | int)]:
        raise EnvError(f"{named(label, path)}: keys must be strings or whole numbers, got {str(bad[0])[:80]}")
    if len(shown) > 1:
        return [((*path, key), part) for key, part in shown.items()], mask
    ((key, only),) = shown.items()
    found, deeper = _leaves(label, only, (*path, key))
    return found, mask or deeper


def _read(
    label: str, path: tuple[Key, ...], space: spaces.Space[Any], channels: Channels | None
) -> tuple[Part, Bounds]:
    if isinstance(space, spaces.Discrete):
        return _choices(path, space, np.array([space.n]), np.array([space.start])), (0.0, 1.0)
    if isinstance(space, spaces.MultiDiscrete):
        return _choices(path, space, space.nvec, space.start), (0.0, 1.0)
    if isinstance(space, spaces.MultiBinary):
        return numbers(path, space, np.dtype(np.uint8), _order(space.shape, True, channels)), (0.0, 1.0)
    if isinstance(space, spaces.Box):
        low = float(np.min(space.low.astype(np.float64), initial=np.inf))
        high = float(np.max(space.high.astype(np.float64), initial=-np.inf))
        kept = np.dtype(np.uint8 if space.dtype in (np.uint8, np.bool_) else np.float32)
        whole = np.dtype(space.dtype).kind in "biu"
        bounds = (low, high) if -_ENDLESS < low < high < _ENDLESS else None
        return numbers(path, space, kept, _order(space.shape, whole, channels)), bounds
    raise EnvError(
        f"{label}: expected Box, Discrete, MultiBinary, MultiDiscrete, or a Dict or Tuple of these that is not nested, "
        f"got {str(space)[:80]}; wrap the environment, or leave this part out"
    )


def _choices(path: tuple[Key, ...], space: spaces.Space[Any], sizes: NDArray[Any], start: NDArray[Any]) -> Part:
    counts, first = tuple(map(int, sizes.ravel())), tuple(map(int, start.ravel()))
    return Part(path, space_text(space), tuple(space.shape or ()), "float32", (), (sum(counts),), counts, first)


def _order(shape: tuple[int, ...], whole: bool, channels: Channels | None) -> Order:
    """Returns the order of the axes and the shape they are given then; `whole`: the numbers are whole."""
    axes = tuple(range(len(shape)))
    if len(shape) in _IMAGE_RANKS:
        return image_order(shape, channels or guess_channels(shape[-3:])[0])
    if len(shape) == 2 and min(shape) >= (_BOARD_SIDE if whole else _IMAGE_SIDE):
        return axes, (1, *shape)
    return axes, (math.prod(shape),)


def _around(bounds: list[Bounds]) -> Bounds:
    """Returns bounds of all parts, None where one has none."""
    known = [bound for bound in bounds if bound is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if len(known) == len(bounds) else None


def space_text(space: spaces.Space[Any]) -> str:
    """Returns how a space is written, in one line of at most 80 characters; a Box without its limits."""
    text = f"Box of {space.shape} {space.dtype}" if isinstance(space, spaces.Box) else str(space)
    return " ".join(text.split())[:_SHOWN]
