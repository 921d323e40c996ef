"""The planner stands alone."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import mcts


def test_searches_with_numpy_alone():
    program = Path(__file__).with_name("alone.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "baseline" in done.stdout


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
