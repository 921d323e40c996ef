"""Imports point down the list of layers, and the planner has one door."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the top; a file may import from its own layer or a lower one.
LAYERS = (
    ("__main__", "cli"),
    ("training",),
    ("run", "bench", "evaluation"),
    ("acting", "learning", "agent"),
    ("planning",),
    ("replay", "inference"),
    ("model",),
    ("config",),
    ("storage",),
    ("envs",),
    ("basis",),
)
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
FILES = sorted(path for path in (ROOT / "muzero_wm").rglob("*.py") if path != ROOT / "muzero_wm/__init__.py")


def room_of(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Returns the dotted names of the modules a file imports, at the top or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    own = RANK[room_of(path.relative_to(ROOT / "muzero_wm").parts)]
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "muzero_wm" and rest and rest[0] in RANK:
            assert RANK[rest[0]] >= own, f"{path.name} imports {name} from a layer above"


def test_only_the_planner_and_the_native_model_import_the_search() -> None:
    users = {path for path in FILES if any(name.split(".")[0] == "mcts" for name in imports(path))}
    doors = {ROOT / "muzero_wm/planning/planner.py", ROOT / "muzero_wm/inference/native.py"}
    assert {path for path in users if path.parent.name != "bench"} == doors


def test_the_search_imports_neither_torch_nor_the_agent() -> None:
    for path in (ROOT / "mcts").glob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & {"torch", "gymnasium", "numba", "muzero_wm"}
