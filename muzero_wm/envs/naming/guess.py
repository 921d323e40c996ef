"""What a person meant who named an environment in a way that is not quite ours."""

from __future__ import annotations

import importlib.util

from muzero_wm.envs.base import EnvError
from muzero_wm.envs.naming.naming import parse_name

_UNTRIED = {"ALE": ("ale_py", 'pip install "muzero-wm[atari]"')}
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
    if parsed.kind:
        return None
    import gymnasium

    return f"gym:{name}" if parsed.target in gymnasium.registry else None


def missing_namespace(target: str) -> str | None:
    """Returns what to do about an ID of Gymnasium whose namespace is unknown until a package is imported.

    Args:
        target: the ID, for example "ALE/Pong-v5".

    Returns:
        A sentence, or None where we know of no such package.
    """
    package, install = _UNTRIED.get(target.partition("/")[0], ("", ""))
    if not package:
        return None
    named = f"name it gym:{package}:{target}, so that {package} is imported first"
    there = named if importlib.util.find_spec(package) else f"it needs {package}: {install}; then {named}"
    return f"{there} (Atari has not been tried here, and images of this size train slowly on a CPU)"
