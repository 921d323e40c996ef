"""The scripts of benchmarks/: each says what it does, and one runs the quick ones and writes down what they print."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path for path in FOLDER.rglob("*.py") if "__main__" in path.read_text())


@pytest.fixture
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_benchmarks", FOLDER / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_says_how_it_is_called(script: Path) -> None:
    text = script.read_text()
    assert "ArgumentParser(" in text
    assert str(script.relative_to(FOLDER.parent)) in text.split('"""')[1], "its own command stands at its head"


def test_the_quick_ones_have_their_places(runner: ModuleType) -> None:
    results = (FOLDER / "RESULTS.md").read_text()
    assert re.findall(r"<!-- run: ([\w-]+) -->", results) == list(runner.QUICK)
    for command in runner.QUICK.values():
        program, first, *_ = command.split()
        assert program == "muzero-wm" or (FOLDER.parent / first).is_file()


def test_what_a_command_prints_takes_the_place_of_what_stood_there(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results.md"
    before, after = "# Figures\n\n<!-- run: one -->\n", "<!-- end -->\n\nMore.\n"
    results.write_text(before + "old figures, and \\1 too\n" + after)
    monkeypatch.setattr(runner, "QUICK", {"one": "muzero-wm --version", "two": "python missing.py"})
    monkeypatch.setattr(sys, "argv", ["run.py", "one", "--results", str(results)])
    for _ in range(2):
        runner.main()
        text = results.read_text()
        assert text.startswith(before + "`muzero-wm --version`; ") and text.endswith(after)
        assert re.search(r"```text\nmuzero-wm [\d.]+\n```\n<!-- end -->", text) and "old" not in text
    for name, expected in (("two", "expected one place"), ("three", "2")):
        monkeypatch.setattr(sys, "argv", ["run.py", name, "--results", str(results)])
        with pytest.raises(SystemExit, match=expected):
            runner.main()
    results.write_text(text + "<!-- run: two -->\n<!-- end -->\n")
    monkeypatch.setattr(sys, "argv", ["run.py", "two", "--results", str(results)])
    with pytest.raises(SystemExit, match="ended with"):
        runner.main()
    assert results.read_text().startswith(text), "what fails changes nothing"


def test_it_lists_without_measuring() -> None:
    done = subprocess.run([sys.executable, FOLDER / "run.py", "--list"], capture_output=True, text=True, check=True)
    assert "bench search" in done.stdout
