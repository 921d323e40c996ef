"""Compiled functions work with their disk cache, and where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from muzero_wm.basis import compiling

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("problem", [RuntimeError("no locator available"), OSError("disk full"), EOFError("damaged")])
def test_functions_compile_where_the_disk_cache_is_of_no_use(problem: Exception) -> None:
    asked = []

    def decorator(signature: str, cache: bool = False) -> object:
        asked.append(cache)
        if cache:
            raise problem
        return lambda function: function

    assert compiling.cached(decorator, "signature")(len) is len
    assert asked == [True, False]


def test_everything_is_imported_and_runs_where_no_cache_can_be_written() -> None:
    """For real, except that Numba is told of no place for its files: a superuser may write everywhere."""
    code = (
        "from numba.core import caching; caching.CacheImpl._locator_classes = []\n"
        "from muzero_wm.replay.sum_tree import SumTree; import numpy as np; from muzero_wm.replay import targets\n"
        "tree = SumTree(4); tree.update(np.array([2]), np.array([1.0])); print(tree.sample(np.array([0.5])))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "[2]\n", done.stderr
