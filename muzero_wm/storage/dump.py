"""Keeps arrays that made a run stumble, for inspection."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = "nonfinite"
MOST_FILES = 5


def dump_arrays(run_dir: Path, name: str, arrays: Mapping[str, NDArray[Any]]) -> Path | None:
    """Writes arrays into the run folder.

    Args:
        run_dir: the run folder.
        name: begins the file's name.
        arrays: by name; `np.load` reads them again.

    Returns:
        The file; None where there are enough of them, or where it could not be written: a failure is reported with or
        without it.
    """
    folder = run_dir / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if len(list(folder.glob("*.npz"))) >= MOST_FILES:
            return None
        stems = (name if n == 1 else f"{name}-{n}" for n in itertools.count(1))
        path = next(path for stem in stems if not (path := folder / f"{stem}.npz").exists())
        with path.open("xb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    except OSError:
        return None
    return path
