"""What is built from: every file that C and Cython read is named in pyproject.toml, and nothing else is installed."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy
import pytest

from muzero_wm.agents import shipped
from muzero_wm.agents.shipped import CARD, TEXT
from muzero_wm.config.presets import preset_names
from muzero_wm.storage.exported import ABOUT, WEIGHTS

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
MODULES = {module["name"]: module for module in SETTINGS["setuptools"]["ext-modules"]}
READS = re.compile(
    r"""^\s*\#\s*include\s+"([^"]+)"          # C
      | ^\s*cdef\s+extern\s+from\s+"([^"]+)"   # Cython
      | ^\s*from\s+(mcts\.\w+)\s+cimport""",
    re.MULTILINE | re.VERBOSE,
)


def reads(path: Path) -> set[Path]:
    """Returns the files of ours that a source file names."""
    found = set()
    for include, extern, module in READS.findall(path.read_text(encoding="utf-8")):
        if module:
            found.add(ROOT / (module.replace(".", "/") + ".pxd"))
        else:
            found.add((path.parent / (include or extern)).resolve())
    if path.suffix == ".pyx" and path.with_suffix(".pxd").exists():
        found.add(path.with_suffix(".pxd"))
    return found


def read_by(sources: list[str]) -> set[str]:
    """Returns all that is read when sources are compiled, themselves left out."""
    waiting, seen = [ROOT / name for name in sources], set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += reads(path)
    return {str(path.relative_to(ROOT)) for path in seen} - set(sources)


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_is_built_from_is_named(name: str) -> None:
    assert set(MODULES[name]["depends"]) == read_by(MODULES[name]["sources"])


def test_every_source_is_built() -> None:
    named = {name for module in MODULES.values() for name in (*module["sources"], *module["depends"])}
    made = {f"mcts/{path.name}" for path in (ROOT / "mcts").glob("_*.c")}  # by Cython, perhaps from earlier sources
    there = {
        str(path.relative_to(ROOT))
        for pattern in ("*.pyx", "*.pxd", "*.c", "*.h", "core/*")
        for path in (ROOT / "mcts").glob(pattern)
    }
    assert named == there - made


def copy_of_the_repository(folder: Path) -> Path:
    """Copies what a checkout has for building."""
    folder.mkdir()
    for name in ("pyproject.toml", "setup.cfg", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    ignore = shutil.ignore_patterns("__pycache__", "*.so", "_*.c")
    for name in ("configs", "mcts", "muzero_wm"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    (folder / "tests").mkdir()
    shutil.copy(__file__, folder / "tests")
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution, made of a copy of the repository."""
    folder = tmp_path_factory.mktemp("archive")
    source = copy_of_the_repository(folder / "source")
    command = "import setuptools.build_meta as backend, sys; backend.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", command, str(folder)], cwd=source, check=True, capture_output=True)
    (archive,) = folder.glob("muzero_wm-*.tar.gz")
    return archive


def test_a_source_distribution_has_all_that_is_read(archive: Path) -> None:
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    for module in MODULES.values():
        assert {*module["sources"], *module["depends"]} <= names
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "configs").glob("*.yaml")} <= names
    assert not {name for name in names if name.startswith("tests") or name.endswith((".so", "/_core.c"))}


@pytest.mark.slow  # it compiles everything
def test_a_wheel_of_it_is_complete_and_searches_with_numpy_only(archive: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(tmp_path), str(archive)], check=True
    )
    (wheel,) = tmp_path.glob("muzero_wm-*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        file.extractall(installed)
    stubs = {str(path.relative_to(ROOT)) for path in (ROOT / "mcts").glob("*.pyi")}
    assert {"mcts/_native.h", "mcts/py.typed", "muzero_wm/py.typed"} | stubs <= names
    assert {f"muzero_wm/configs/{name}.yaml" for name in preset_names()} <= names
    of_agents = {f"muzero_wm/agents/{name}/{file}" for name in shipped.names() for file in (WEIGHTS, ABOUT, CARD, TEXT)}
    assert of_agents and of_agents <= names
    assert {name for name in names if name.endswith((".c", ".h", ".pyx", ".pxd"))} == {"mcts/_native.h"}

    presets = (
        "import mcts._mlp, muzero_wm.config.presets as presets; print(mcts.__path__[0], presets.__file__);"
        "print(*presets.preset_names()); presets.load_config('debug')"
    )
    files, found = run_installed(installed, tmp_path, "-c", presets).splitlines()
    assert files.count(str(installed)) == 2
    assert found.split() == preset_names()

    alone = tmp_path / "alone"
    alone.mkdir()
    for path in Path(numpy.__file__).parents[1].glob("numpy*"):
        (alone / path.name).symlink_to(path)
    (alone / "mcts").symlink_to(installed / "mcts")
    program = shutil.copy(ROOT / "tests" / "mcts" / "alone.py", tmp_path)
    assert str(alone) in run_installed(alone, tmp_path, "-S", str(program))  # -S: no other site-packages


def run_installed(folder: Path, cwd: Path, *arguments: str) -> str:
    """Runs Python with a folder in front of everything that is installed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads ELF files")
@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_calls_is_linked(name: str) -> None:
    """A function without a version is found only where the program happens to have loaded its library."""
    if shutil.which("nm") is None:
        pytest.skip("there is no nm")
    module = importlib.import_module(name)
    assert module.__file__ is not None
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", module.__file__], capture_output=True, text=True, check=True
    )
    wanted = [line.split()[-1] for line in listed.stdout.splitlines() if line.split()[0] == "U"]
    assert [name for name in wanted if "@" not in name and not name.lstrip("_").startswith("Py")] == []
