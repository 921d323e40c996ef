"""What Atari games have in common: a preset for each kind of machine, and options by which all of them are played."""

from __future__ import annotations

from collections.abc import Sequence

from muzero_wm.envs.base import EnvError
from muzero_wm.envs.naming.naming import parse_name, with_options

_KIND = "ale"


def preset_for(env: str, overrides: Sequence[str]) -> tuple[str, str] | None:
    """Returns the preset that a game takes where none is named, and why.

    Args:
        env: name of an environment.
        overrides: settings "a.b=value" of the run, which may choose the device.

    Returns:
        None where it is no game of Atari.
    """
    if not env.startswith(f"{_KIND}:"):
        return None
    import torch

    gpu = torch.cuda.is_available() and "run.device=cpu" not in overrides
    return ("atari100k", "an Atari game, and a GPU") if gpu else ("atari-cpu", "an Atari game, and no GPU")


def with_usual_options(env: str, usual: str) -> str:
    """Returns the name of a game with the options by which a preset plays another, but for those that it has.

    Args:
        env: name of an environment.
        usual: of the one that the preset names.

    Returns:
        The name as it is, where one of the two is no game of Atari.
    """
    try:
        name, other = parse_name(env), parse_name(usual)
    except EnvError:  # told where the name is looked up
        return env
    if not name.kind == other.kind == _KIND or not other.options:
        return env
    return with_options(name, **(other.options | name.options))
