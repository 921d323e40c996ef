"""How an environment is named: `connect4`, `gym:FrozenLake-v1(is_slippery=False)`, `openspiel:hex(board_size=5)`.

A name says everything there is to know to make the environment, so it is all that a configuration or a checkpoint must
hold of it.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any, Literal

from muzero_wm.envs.base import EnvError

Channels = Literal["first", "last"]

_NAME = re.compile(r"(?:(?P<kind>[A-Za-z_][\w.]*):)?(?P<target>[^()\s]+)(?:\((?P<options>.*)\))?")
_MOST_CHARACTERS = 200
_TRUTH = {"true": True, "false": False}  # as YAML writes them; as words both would count as true


@dataclass(frozen=True)
class EnvName:
    """The parts of a name.

    Attributes:
        text: the whole name.
        kind: what stands before the colon, "" for a built-in game: "gym", "openspiel", ..., or a dotted module.
        target: what the kind calls the environment, or the factory in the module.
        options: what stands in parentheses; "channels" only where its value is not `first` or `last`.
        channels: where images have their channels, None where the name does not say it.
    """

    text: str
    kind: str
    target: str
    options: dict[str, Any]
    channels: Channels | None = None


def parse_name(text: str) -> EnvName:
    """Takes a name apart.

    Args:
        text: "kind:target(option=value, ...)"; values are Python literals, `true` and `false` too; another bare word is
            a string.

    Returns:
        The parts.

    Raises:
        EnvError: it is not of this form.
    """
    if len(text) > _MOST_CHARACTERS:
        raise EnvError(
            f"environment '{text[:40]}...': expected a name of at most {_MOST_CHARACTERS} characters, got {len(text)}; "
            "options that need more belong into a factory of yours"
        )
    match = _NAME.fullmatch(text)
    if match is None:
        raise EnvError(
            f"environment {text!r}: expected a name like connect4, gym:CartPole-v1, "
            "openspiel:hex(board_size=5) or my_package.my_module:factory"
        )
    options = _options(text, match["options"] or "")
    channels = options.pop("channels") if options.get("channels") in ("first", "last") else None
    return EnvName(text, match["kind"] or "", match["target"], options, channels)


def with_options(name: EnvName, **options: Any) -> str:
    """Returns a name with some options set, whatever it said of them; the others stay.

    Args:
        name: parts of a name.
        **options: Python literals.

    Returns:
        "kind:target(option=value, ...)".
    """
    kept = name.options if name.channels is None else {**name.options, "channels": name.channels}
    inside = ", ".join(f"{key}={value!r}" for key, value in {**kept, **options}.items())
    return f"{name.kind}{':' if name.kind else ''}{name.target}({inside})"


def _options(text: str, inside: str) -> dict[str, Any]:
    try:
        call = ast.parse(f"f({inside})", mode="eval").body
        assert isinstance(call, ast.Call) and not call.args
        keys = [str(keyword.arg) for keyword in call.keywords if keyword.arg is not None]
        assert len(keys) == len(call.keywords) == len(set(keys))
        return {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, AssertionError, RecursionError, MemoryError):
        raise EnvError(f"environment {text!r}: expected options like (name=value, other=value)") from None


def _value(node: ast.expr) -> Any:
    return _TRUTH.get(node.id, node.id) if isinstance(node, ast.Name) else ast.literal_eval(node)
