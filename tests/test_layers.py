"""Imports point down the floors of the house, and the planner has one door."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the top; a file may import from its own room or from a lower floor.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("training",),
    ("run", "bench", "evaluation"),
    ("acting", "learning", "agent"),
    ("planning",),
    ("replay", "inference"),
    ("model",),
    ("config",),
    ("agents",),
    ("storage",),
    ("envs",),
    ("basis",),
)
# The same within envs/, whose package itself gives names of the registry.
ENVS = (
    ("checking",),
    ("__init__",),
    ("registry",),
    ("adapters",),
    ("games",),
    ("boards", "slots"),
    ("naming",),
    ("translate",),
    ("base",),
    ("language",),
)
RANK = {room: rank for rank, rooms in enumerate(FLOORS) for room in rooms}
ENVS_RANK = {room: rank for rank, rooms in enumerate(ENVS) for room in rooms}
FILES = sorted(path for path in (ROOT / "muzero_wm").rglob("*.py") if path != ROOT / "muzero_wm/__init__.py")


def room_of(path: Path, house: Path) -> str:
    return path.relative_to(house).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Returns the dotted names of the modules a file imports, at the top or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def dotted(path: Path) -> str:
    """Returns the name by which a file is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def module_of(name: str, modules: dict[str, Path]) -> str | None:
    """Returns the module that an imported name lies in: itself, or the one before its last dot."""
    return next((module for module in (name, name.rpartition(".")[0]) if module in modules), None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    own = room_of(path, ROOT / "muzero_wm")
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "muzero_wm" and rest and rest[0] in RANK:
            assert rest[0] == own or RANK[rest[0]] > RANK[own], f"{path.name} imports {name}, which is not below"


@pytest.mark.parametrize(
    "path", [path for path in FILES if "envs" in path.parts], ids=lambda path: str(path.relative_to(ROOT))
)
def test_imports_point_down_among_environments(path: Path) -> None:
    own = room_of(path, ROOT / "muzero_wm/envs")
    for name in imports(path):
        if name.startswith("muzero_wm.envs."):
            room = part if (part := name.split(".")[2]) in ENVS_RANK else "__init__"
            assert room == own or ENVS_RANK[room] > ENVS_RANK[own], f"{path.name} imports {name}, which is not below"


def test_no_module_imports_itself_by_way_of_others() -> None:
    modules = {dotted(path): path for path in FILES}
    below = {
        name: {found for imported in imports(path) if (found := module_of(imported, modules)) and found != name}
        for name, path in modules.items()
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' -> '.join([*way[way.index(name) :], name])}"
        if name not in done:
            for other in sorted(below[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in modules:
        visit(name, ())


def test_what_plays_and_learns_knows_nothing_of_the_disk() -> None:
    for path in FILES:
        if room_of(path, ROOT / "muzero_wm") in ("replay", "acting", "learning"):
            assert not [name for name in imports(path) if name.startswith("muzero_wm.storage")], path.name


def test_only_the_planner_and_the_native_model_import_the_search() -> None:
    users = {path for path in FILES if any(name.split(".")[0] == "mcts" for name in imports(path))}
    doors = {
        ROOT / "muzero_wm" / door for door in ("planning/planner.py", "inference/native.py", "inference/device.py")
    }
    assert {path for path in users if path.parent.name != "bench"} == doors


def test_the_search_imports_neither_torch_nor_the_agent() -> None:
    for path in (ROOT / "mcts").glob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & {"torch", "gymnasium", "numba", "muzero_wm"}
