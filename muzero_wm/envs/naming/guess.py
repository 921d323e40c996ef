"""What a person meant who named an environment in a way that is not quite ours."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from muzero_wm.envs.base import EnvError
from muzero_wm.envs.naming.naming import EnvName, parse_name

_PACKAGES = {"ALE": ("ale_py", 'pip install "muzero-wm[atari]"')}
"""Namespaces of Gymnasium that appear when a package is imported: the package, and how to install it."""


def known_to_gymnasium(name: str) -> str | None:
    """Returns the full name of what Gymnasium knows by its bare one.

    Args:
        name: for example "CartPole-v1" or "FrozenLake-v1(is_slippery=False)".

    Returns:
        "gym:CartPole-v1", or None where Gymnasium knows no such environment or the name says its kind already.
    """
    try:
        parsed = parse_name(name)
    except EnvError:
        return None
    return f"gym:{name}" if not parsed.kind and registered(parsed.target) is not None else None


def registered(target: str) -> Any:
    """Returns what Gymnasium has registered by an ID, after importing the package that a namespace stands for.

    Args:
        target: the ID, for example "ALE/Pong-v5".

    Returns:
        Its spec, None where it has none.
    """
    import gymnasium

    package, _ = _PACKAGES.get(target.partition("/")[0], ("", ""))
    if package and importlib.util.find_spec(package):
        importlib.import_module(package)
    return gymnasium.registry.get(target)


def missing_namespace(target: str) -> str | None:
    """Returns what to do about an ID of Gymnasium whose namespace is unknown because a package is missing.

    Args:
        target: the ID, for example "ALE/Pong-v5".

    Returns:
        A sentence, or None where we know of no such package.
    """
    package, install = _PACKAGES.get(target.partition("/")[0], ("", ""))
    return f"it needs {package}: {install}" if package else None


def unlike_the_protocol(name: str) -> str | None:
    """Returns in one line how a game of Gymnasium's "ALE" differs from the one of `ale:`.

    Args:
        name: of any environment.

    Returns:
        The line, None where the environment is something else.
    """
    parsed = parse_name(name)
    target = parsed.target.rpartition(":")[2]
    spec = registered(target) if parsed.kind == "gym" and target.startswith("ALE/") else None
    if spec is None:
        return None
    game = target.partition("/")[2].rpartition("-v")[0]
    return f"{name} is not ale:{game}: {', '.join(_differences(spec.kwargs, parsed))} (docs/atari.md)."


def _differences(defaults: dict[str, Any], name: EnvName) -> list[str]:
    said = {"obs_type": "rgb", **defaults, **name.options}
    sticky, skip, shown = said.get("repeat_action_probability", 0.0), said.get("frameskip", 1), said["obs_type"]
    pictures = {"rgb": "the last frame in colour, (210, 160, 3)", "grayscale": "the last frame, (210, 160)"}
    return [
        *([f"actions stick with probability {sticky:g}"] if sticky else []),
        *([f"{skip} frame{'' if skip == 1 else 's'} a step"] if skip != 4 else []),
        f"it shows {pictures.get(shown, shown)}",
        *(["one at a time"] if name.options.get("frame_stack", 1) == 1 else []),
        "there are no no-ops and a life lost ends no episode",
    ]
