"""Makes sure that `mcts` is the planner that comes with muzero_wm: others have used that name too."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from muzero_wm.basis.errors import UserError


def check_planner() -> None:
    """Looks for the package `mcts` without importing it.

    Raises:
        UserError: Python would import something else of that name, or nothing.
    """
    spec = importlib.util.find_spec("mcts")
    folders = (spec and spec.submodule_search_locations) or ()
    if any((Path(folder) / "_native.h").is_file() for folder in folders):
        return
    found = (spec.origin or ", ".join(folders)) if spec else "none"
    raise UserError(
        f"mcts: expected the planner that comes with muzero_wm, got {found}; remove or rename that, for the package of "
        "that name on PyPI with: pip uninstall mcts"
    )
