"""Which modules an environment's name may bring in: what is installed, never what lies in a run folder."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from muzero_wm.envs.base import EnvError


def check_module(module: str) -> None:
    """Checks that a module may be imported because an environment is named after it; imports nothing.

    Args:
        module: dotted name.

    Raises:
        EnvError: it is no name of a module, it is not installed, or it lies in a run folder.
    """
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
