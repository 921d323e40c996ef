"""Which modules an environment's name may bring in: what is installed or running, never what lies in a run folder."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from muzero_wm.envs.base import EnvError

MAIN = ("__main__", "__mp_main__")
"""The module of the program itself, and what it is called where another process has imported it."""


def check_module(module: str) -> None:
    """Checks that a module may be imported because an environment is named after it; imports nothing.

    Args:
        module: dotted name.

    Raises:
        EnvError: it is no name of a module, it is not installed, or it lies in a run folder.
    """
    if module in MAIN and module in sys.modules:
        return
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", module):
        raise EnvError(f"{module[:60]!r} is no name of a module")
    top = module.partition(".")[0]
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise EnvError(
            f"there is no module {top!r}; the current folder is not searched, install the module or set PYTHONPATH"
        )
    for place in filter(None, (found.origin, *(found.submodule_search_locations or ()))):
        for folder in (Path(place).resolve(), *Path(place).resolve().parents):
            if (folder / "config.yaml").is_file() and (folder / "checkpoints").is_dir():
                raise EnvError(f"the module {top!r} lies in the run folder {folder}; only installed ones are imported")


def name_of(factory: Callable[..., Any]) -> str:
    """Returns the name of the environment that a factory makes.

    Args:
        factory: a class or a function at the top of a module; it is called without arguments.

    Returns:
        "package.module:factory".

    Raises:
        EnvError: it cannot be found again by a name.
    """
    module, name = getattr(factory, "__module__", None), getattr(factory, "__qualname__", "")
    if not callable(factory) or getattr(sys.modules.get(str(module)), name, None) is not factory:
        what = name or f"a {type(factory).__qualname__}"
        raise EnvError(
            "env: expected a name, or a class or function defined at the top of a module (a run is resumed by its "
            f"name), got {what}"
        )
    return f"{module}:{name}"
