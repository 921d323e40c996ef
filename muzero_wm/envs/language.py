"""The language of an environment as plain data: what its raw observations and actions look like.

A model sees one array and answers with the number of an action. An environment may show dicts, channels last or numbers
that begin at -1. What lies between the two is decided once, when the spaces are read (`spaces.py`), and travels with
the agent in its checkpoint: strings, numbers and lists, of which `translate.py` makes functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Key = str | int

MOST_FRAMES = 64
"""Most observations that are shown at once."""

_LONGEST_TEXT, _MOST_PARTS, _DEEPEST = 200, 4096, 64


SIDES = (8, 256)
"""Shortest and longest side of an image that gets another size."""


@dataclass(frozen=True)
class Part:
    """One array of numbers, or some choices, within an observation.

    Attributes:
        path: keys that lead to it, () where it is the whole observation.
        space: how its space is written.
        raw: its shape as the environment shows it.
        dtype: "uint8" or "float32", what its numbers become.
        axes: the raw axes in the order in which they are taken; () for choices.
        shape: what it becomes; choices become one one-hot vector behind the other.
        sizes: how many values each choice has; () for numbers.
        start: the smallest value of each choice.
    """

    path: tuple[Key, ...]
    space: str
    raw: tuple[int, ...]
    dtype: str
    axes: tuple[int, ...]
    shape: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    start: tuple[int, ...] = ()

    def told(self, alone: bool) -> str:
        """Returns how it is read, in words; `alone`: it is no part of a vector."""
        count = f"{math.prod(self.shape)} number{'s' if math.prod(self.shape) > 1 else ''}"
        if self.sizes:
            how = f"one-hot, {count}"
        elif len(self.shape) == 3:
            where = "first" if self.axes == tuple(range(len(self.raw))) else "last"
            where = f", channels {where}" if len(self.raw) > 2 else ""
            planes = "plane" if self.shape[0] == 1 else "planes"
            how = (
                f"{self.shape[0]} {planes} of {self.shape[1]} x {self.shape[2]}{where}{'' if alone else ', flattened'}"
            )
        else:
            how = count
        return f"{''.join(f'[{key!r}] ' for key in self.path)}{self.space}: {how}"

    def problem(self) -> str | None:
        """Returns what is impossible about a part that others wrote, None if it can be."""
        if not _is_text(self.space) or not _is_path(self.path):
            return "expected a space and keys in words"
        numbers = (*self.raw, *self.axes, *self.shape, *self.sizes)
        if self.dtype not in ("uint8", "float32") or any(type(n) is not int or n < 0 for n in numbers):
            return f"expected uint8 or float32 and whole numbers, got {self.dtype!r:.20}, {str(numbers)[:80]}"
        if self.sizes:
            fits = len(self.sizes) == len(self.start) == math.prod(self.raw) and self.shape == (sum(self.sizes),)
            fits = fits and all(type(n) is int and abs(n) < 2**62 for n in self.start) and min(self.sizes) > 0
        else:
            fits = sorted(self.axes) == list(range(len(self.raw))) and math.prod(self.raw) == math.prod(self.shape)
        return None if fits else f"expected shapes that fit, got {str(self.raw)[:40]} and {str(self.shape)[:40]}"


@dataclass(frozen=True)
class Picture:
    """What is done to an image [C, H, W]: first it is made grey, then it gets another size.

    Attributes:
        size: height and width, None: as they are.
        grey: every three channels, red, green and blue, become one.
    """

    size: tuple[int, int] | None = None
    grey: bool = False

    def __bool__(self) -> bool:
        """Returns whether anything is done."""
        return self.grey or self.size is not None

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns what [C, H, W] becomes."""
        channels, *sides = shape
        return (channels // 3 if self.grey else channels, *(self.size or sides))

    def told(self) -> str:
        """Returns what is done, in words."""
        size = "" if self.size is None else f"{self.size[0]} x {self.size[1]} by area"
        return f"made {', then '.join(filter(None, ('grey' if self.grey else '', size)))}"

    def problem(self) -> str | None:
        """Returns why this cannot be done to any image, None if it can."""
        fits = self.size is None or (isinstance(self.size, tuple) and len(self.size) == 2)
        low, high = SIDES
        if not fits or any(type(side) is not int or not low <= side <= high for side in self.size or ()):
            return f"resize must be a side or (height, width) in [{low}, {high}], got {str(self.size)[:40]}"
        return None if type(self.grey) is bool else f"grey must be true or false, got {str(self.grey)[:40]}"

    def misfit(self, parts: tuple[Part, ...]) -> str | None:
        """Returns why this cannot be done to an observation of these parts, None if it can."""
        if self and (len(parts) != 1 or len(parts[0].shape) != 3):
            spaces = ", ".join(part.space for part in parts)
            return f"resize and grey are for an image, the observation is {spaces[:80]}"
        if self.grey and (channels := parts[0].shape[0]) % 3:
            count = f"{channels} channel{'' if channels == 1 else 's'}"
            return f"grey needs red, green and blue, the image has {count}"
        return None


AS_IT_IS = Picture()
"""Nothing is done."""


@dataclass(frozen=True)
class Observed:
    """How raw observations become one array.

    Attributes:
        parts: what it is made of; several are flattened and put side by side.
        mask: keys that lead to the mask of legal actions within the observation, None where there is none.
        frames: how many observations are shown at once, oldest first.
        picture: what is done to each, where it is an image.
    """

    parts: tuple[Part, ...]
    mask: tuple[Key, ...] | None = None
    frames: int = 1
    picture: Picture = AS_IT_IS

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        shapes = [part.shape for part in self.parts]
        one = shapes[0] if len(shapes) == 1 else (sum(map(math.prod, shapes)),)
        one = self.picture.shape(one) if self.picture else one
        return one if self.frames == 1 else (self.frames * one[0], *one[1:])


@dataclass(frozen=True)
class Acted:
    """What the numbers of actions stand for.

    Attributes:
        space: how the space is written.
        sizes: [parts] how many choices each part of an action has; all combinations count, the last part fastest.
        start: [parts] the smallest value of each part.
        shape: of the array that `step` takes; None where it takes a plain integer.
        dtype: of that array.
    """

    space: str
    sizes: tuple[int, ...]
    start: tuple[int, ...]
    shape: tuple[int, ...] | None = None
    dtype: str = "int64"

    @property
    def count(self) -> int:
        """Number of actions."""
        return math.prod(self.sizes)

    def problem(self) -> str | None:
        """Returns what is impossible about actions that others wrote, None if they can be."""
        numbers = (*self.sizes, *(self.shape or ()))
        if not _is_text(self.space) or self.dtype not in _INTEGERS or not 0 < len(self.sizes) <= _MOST_PARTS:
            return "expected a space of integers"
        if any(type(n) is not int or n < 1 for n in numbers) or len(self.sizes) != len(self.start):
            return f"expected positive numbers of choices, got {str(numbers)[:80]}"
        if any(type(n) is not int or abs(n) >= 2**62 for n in self.start):
            return "expected whole numbers to begin with"
        fits = math.prod(self.shape or ()) == len(self.sizes)
        return None if fits else "expected one number of choices for each part of an action"


_INTEGERS = frozenset(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))


@dataclass(frozen=True)
class Language:
    """What an environment shows and takes.

    Attributes:
        observed: its observations.
        acted: its actions.
    """

    observed: Observed
    acted: Acted

    def told(self) -> list[str]:
        """Returns how every space is read, in words."""
        observed, acted = self.observed, self.acted
        lines = [part.told(len(observed.parts) == 1) for part in observed.parts]
        lines += [observed.picture.told()] if observed.picture else []
        if observed.mask is not None:
            lines.append(f"{''.join(f'[{key!r}] ' for key in observed.mask)}the mask of legal actions")
        how = f"{acted.count} actions" + ("" if acted.shape is None else ", all combinations")
        return [*lines, f"{acted.space}: {how}"]

    def to_dict(self) -> dict[str, Any]:
        """Returns strings, numbers and lists, so that a checkpoint can hold them."""
        return {"observed": asdict(self.observed), "acted": asdict(self.acted)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Language:
        """Restores `to_dict`.

        Args:
            state: what `to_dict` returned; lists may stand for tuples.

        Returns:
            The language; ask `problem` before using what others wrote.

        Raises:
            KeyError: something is missing.
            TypeError: something is of another kind, or too much.
        """
        observed, acted = state["observed"], state["acted"]
        parts = tuple(Part(**{name: _frozen(value) for name, value in part.items()}) for part in observed["parts"])
        # checkpoints of earlier versions have none
        picture = Picture(**{name: _frozen(value) for name, value in observed.get("picture", {}).items()})
        return cls(
            Observed(parts, _frozen(observed["mask"]), observed["frames"], picture),
            Acted(**{name: _frozen(value) for name, value in acted.items()}),
        )

    def problem(self, shape: tuple[int, ...], num_actions: int) -> str | None:
        """Returns what is impossible about a language that others wrote.

        Args:
            shape: of the observations that the model takes.
            num_actions: A.

        Returns:
            What is wrong, None if nothing is.
        """
        observed, acted = self.observed, self.acted
        if not 0 < len(observed.parts) <= _MOST_PARTS or observed.frames not in range(1, MOST_FRAMES + 1):
            return "expected parts of an observation"
        if observed.mask is not None and not _is_path(observed.mask):
            return "expected keys to the mask in words"
        pictured = observed.picture.problem() or observed.picture.misfit(observed.parts)
        problems = [*(part.problem() for part in observed.parts), acted.problem(), pictured]
        problem = next((found for found in problems if found is not None), None)
        if problem is None and (observed.shape != shape or acted.count != num_actions):
            return f"its language is of {observed.shape} and {acted.count} actions, not of {shape} and {num_actions}"
        return problem


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def _is_path(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) <= _DEEPEST and all(_is_text(k) or type(k) is int for k in value)
