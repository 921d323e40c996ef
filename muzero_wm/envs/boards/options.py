"""Options of built-in games: what a name may say in parentheses, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from muzero_wm.basis.errors import did_you_mean
from muzero_wm.envs.base import EnvError
from muzero_wm.envs.naming.naming import EnvName

_MOST_LISTED = 6


@dataclass(frozen=True)
class Option:
    """One option of a game: `true` or `false` where its default is one of them, else a number.

    Attributes:
        default: what it is where a name does not say it; its type is that of the option.
        about: what it means, in a few words.
        low: smallest number.
        high: largest number.
        step: numbers are `low` and multiples of this above it.
    """

    default: bool | int | float
    about: str
    low: float = 0
    high: float = 0
    step: float = 1

    @property
    def values(self) -> str:
        """What may be said, in words."""
        if isinstance(self.default, bool):
            return "true or false"
        count = int((self.high - self.low) / self.step) + 1
        if count <= _MOST_LISTED:
            listed = [f"{self.low + i * self.step:g}" for i in range(count)]
            return f"{', '.join(listed[:-1])} or {listed[-1]}"
        kind = "a whole number" if isinstance(self.default, int) else f"a multiple of {self.step:g}"
        return f"{kind} from {self.low:g} to {self.high:g}"

    def takes(self, value: Any) -> bool:
        """Returns whether this may be its value."""
        if isinstance(self.default, bool):
            return type(value) is bool
        if type(value) is not int and not (type(value) is float and isinstance(self.default, float)):
            return False
        return bool(self.low <= value <= self.high) and (value - self.low) % self.step == 0


Options: TypeAlias = Mapping[str, Option]


def checked_options(name: EnvName, options: Options) -> dict[str, Any]:
    """Returns the values of all options of a game, in its order.

    Args:
        name: of a built-in game.
        options: those of the game.

    Returns:
        What the name says, defaults elsewhere.

    Raises:
        EnvError: an option is unknown, or its value is impossible.
    """
    for key in name.options:
        if key not in options:
            known = f"known: {', '.join(options)}" if options else f"{name.target} takes no options"
            raise EnvError(f"{name.text}: unknown option {key!r} ({known}){did_you_mean(key, options)}")
    for key, value in name.options.items():
        if not options[key].takes(value):
            raise EnvError(f"{name.text}: {key} must be {options[key].values}, got {value!r:.40}")
    values = {key: type(option.default)(name.options.get(key, option.default)) for key, option in options.items()}
    # -0.0 is 0.0, and is not to be written otherwise
    return {key: abs(value) if value == 0 and isinstance(value, float) else value for key, value in values.items()}


def canonical_name(target: str, values: Mapping[str, Any], options: Options) -> str:
    """Returns the shortest name of a game with these options: what is as usual is left out.

    Args:
        target: name of the game.
        values: of all its options.
        options: of the game.
    """
    said = {key: value for key, value in values.items() if value != options[key].default}
    inside = ", ".join(f"{key}={_written(value)}" for key, value in said.items())
    return f"{target}({inside})" if inside else target


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
