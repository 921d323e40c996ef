"""The planner stands alone."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import mcts

PROGRAM = """
import builtins, sys
allowed = {"mcts", "numpy"}
real_import = builtins.__import__

def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "").split(".")[0]
    top = name.split(".")[0]
    if level == 0 and importer == "mcts" and top not in allowed and top not in sys.stdlib_module_names:
        raise ImportError(f"mcts imported {name}")
    return real_import(name, globals, locals, fromlist, level)

builtins.__import__ = guarded
import numpy as np
import mcts

output = mcts.RecurrentOutput(np.zeros(1), np.ones(1), np.zeros((1, 3)), np.zeros(1))
for policy in (mcts.muzero_policy, mcts.gumbel_muzero_policy):
    for backend in ("native", "python"):
        result = policy(mcts.RootOutput(np.zeros((1, 3)), np.zeros(1)), lambda *_: output, 4, rng=0, backend=backend)
        assert result.visit_counts.sum() == 4
heavy = {"torch", "gymnasium", "muzero_wm", "numba", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""


def test_searches_with_numpy_alone():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_public_names_exist():
    assert sorted(mcts.__all__) == mcts.__all__
    for name in mcts.__all__:
        assert name == "RecurrentFn" or getattr(mcts, name).__doc__  # a type alias cannot have one


def test_imports_go_one_way():
    """Every import counts, those inside functions and for type checkers too."""
    modules = {f"mcts.{path.stem}": path for path in Path(mcts.__file__).parent.glob("*.py") if path.stem != "__init__"}
    needs: dict[str, set[str]] = {name: set() for name in modules}
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                found = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
                needs[name] |= found & set(modules)
    assert needs["mcts.settings"] >= {"mcts.checks", "mcts.search"}
    graphlib.TopologicalSorter(needs).prepare()
