"""What is installed: names and versions, and the Makefile's own checks; test_distribution.py builds it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import muzero_wm

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _distribution(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement)[0]).lower()


def test_the_version_is_said_once() -> None:
    assert PROJECT["project"]["version"] == muzero_wm.__version__


def test_every_package_is_listed() -> None:
    there = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for top in ("mcts", "muzero_wm")
        for init in (ROOT / top).rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == there | {"muzero_wm.configs"}


def test_what_was_tested_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    names = {_distribution(name) for name in pins}
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [*PROJECT["project"]["dependencies"], *(name for extra in extras.values() for name in extra)]
    assert {_distribution(name) for name in asked} - names <= {"muzero-wm", "setuptools"}
    assert pins["torch"] == "2.13.0"


def test_importing_the_package_is_light() -> None:
    code = "import sys, muzero_wm; print([name for name in ('torch', 'numba', 'pydantic') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("python", "message"),
    [
        (None, "error: there is no"),
        ("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Python 3.9.1' && exit 0\nexit 1\n", "needs Python 3.11-3.13"),
    ],
)
def test_make_says_what_is_wrong_with_the_python(python: str | None, message: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    fake = tmp_path / "fake-python"
    if python is not None:
        fake.write_text(python)
        fake.chmod(0o755)
    done = subprocess.run(
        ["make", "-C", str(tmp_path), "quickstart", f"PYTHON={fake}"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert message in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_alone_lists_the_targets() -> None:
    done = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True)
    for target in ("quickstart", "test", "test-native", "fuzz", "check", "bench", "clean"):
        assert f"make {target}" in done.stdout


def test_every_target_that_is_named_is_there() -> None:
    """In what CI runs and what the documents say."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    pages = [ROOT / ".ci" / "run", *ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    command = re.compile(r"(?:^\s*|`)make ([a-z][a-z-]*)(?= *(?:`|#|$))", re.MULTILINE)
    named = {(page.name, target) for page in pages for target in command.findall(page.read_text(encoding="utf-8"))}
    assert ("run", "test-portable") in named
    assert {(page, target) for page, target in named if target not in targets} == set()
