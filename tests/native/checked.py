"""Builds the native modules with checks in a folder of their own, and runs the search tests and the fuzzer there.

    python -m tests.native.checked                       # both builds, tests, a short fuzz
    python -m tests.native.checked sanitizers --fuzz 1000000 --no-tests

`bounds` is built with Cython's checks of indices and of memoryviews, whatever a file's own directives say; `sanitizers`
with AddressSanitizer and UndefinedBehaviorSanitizer, which see pointers too. The project's own build does the work,
on a copy in build/native/, so that new modules need no mention here. Before anything else each build must catch the
mistakes of `canary.pyx`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILDS = ("bounds", "sanitizers")
# A negative index is a mistake too, so wraparound stays off.
CHECKS = ("boundscheck", "initializedcheck", "nonecheck")
SANITIZE = ("-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
CANARIES = {
    "bounds": {"index_past_the_end(numpy.zeros(5))": "IndexError: Out of bounds on buffer access"},
    "sanitizers": {
        "pointer_past_the_end(numpy.zeros(5))": "AddressSanitizer: heap-buffer-overflow",
        # the search's own memory is used again and again, and has room between its arrays
        "pointer_past_the_end(numpy.frombuffer(_memory.take(40)))": "AddressSanitizer: use-after-poison",
        "signed_overflow(2**31 - 1)": "runtime error: signed integer overflow",
    },
}


class CheckError(RuntimeError):
    """Says which part of a checked run failed."""


def build(kind: str, folder: Path) -> None:
    """Copies the search and its tests, and builds the native modules of the copy with checks.

    Args:
        kind: "bounds" or "sanitizers".
        folder: replaced by the copy.

    Raises:
        CheckError: the build fails, or a module of mcts/ is missing in pyproject.toml.
    """
    shutil.rmtree(folder, ignore_errors=True)
    built = shutil.ignore_patterns("__pycache__", "*.so", "_*.c", "*.cpp")
    for name in ("mcts", "tests/mcts", "tests/native", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=built)
    for name in ("tests/__init__.py", "tests/conftest.py", "pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    project = (folder / "pyproject.toml").read_text(encoding="utf-8")
    modules = {module["name"] for module in tomllib.loads(project)["tool"]["setuptools"]["ext-modules"]}
    forgotten = {f"mcts.{path.stem}" for path in (ROOT / "mcts").glob("*.pyx")} - modules
    if forgotten:
        raise CheckError(f"pyproject.toml: ext-modules: expected every mcts/*.pyx, {', '.join(forgotten)} is missing")
    project = project.replace('"-O3"', '"-O1"').replace('"-g0"', '"-g"')
    project += '\n[[tool.setuptools.ext-modules]]\nname = "canary"\nsources = ["tests/native/canary.pyx"]\n'
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")
    flags = {}
    if kind == "bounds":
        for path in [*(folder / "mcts").glob("*.p[yx][xd]"), folder / "tests/native/canary.pyx"]:
            path.write_text(with_checks(path.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        flags = {"CFLAGS": " ".join(SANITIZE), "LDFLAGS": " ".join(SANITIZE)}
    command = [sys.executable, "-c", "import setuptools; setuptools.setup()", "--quiet", "build_ext", "--inplace"]
    done = subprocess.run(
        [*command, "--parallel", str(os.cpu_count() or 1)],
        cwd=folder,
        env=os.environ | flags,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CheckError(f"{kind}: the build failed:\n{done.stderr[-4000:]}")


def with_checks(source: str) -> str:
    """Returns Cython source with the checks on that it switched off, in directives, decorators and `with`."""
    names = "|".join(CHECKS)
    source = re.sub(rf"\b({names})(\s*=\s*|\s*\(\s*)False", r"\1\2True", source)
    return "# cython: " + ", ".join(f"{name}=True" for name in CHECKS) + "\n" + source


def environment(kind: str) -> dict[str, str]:
    """Returns the environment in which a build runs.

    Raises:
        CheckError: the compiler brings no AddressSanitizer.
    """
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MCTS_BACKEND")}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    if kind == "sanitizers":
        compiler = os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc")
        # The C++ library comes along, or exceptions of other modules would not find their way.
        libraries = [_library(compiler, name) for name in ("libasan.so", "libstdc++.so")]
        env["LD_PRELOAD"] = " ".join(libraries)
        env["PYTHONMALLOC"] = "malloc"  # Python's own pools would hide what is wrong inside them
        env["ASAN_OPTIONS"] = "detect_leaks=0:detect_stack_use_after_return=1:strict_init_order=1"
        env["UBSAN_OPTIONS"] = "print_stacktrace=1"
    return env


def _library(compiler: str, name: str) -> str:
    command = [*compiler.split(), f"-print-file-name={name}"]
    path = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    if not os.path.isabs(path):
        raise CheckError(f"{compiler} has no {name} (Debian, Ubuntu: apt install gcc)")
    return os.path.realpath(path)


def check_canaries(kind: str, folder: Path) -> None:
    """Makes each mistake in a process of its own.

    Raises:
        CheckError: one was not noticed.
    """
    for call, expected in CANARIES[kind].items():
        program = f"import canary, numpy; from mcts import _memory; canary.{call}"
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=folder,
            env=environment(kind),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0 or expected not in done.stderr:
            raise CheckError(f"{kind}: canary.{call}: expected {expected!r}, got {done.stderr[-500:]!r}")


def run(kind: str, folder: Path, *arguments: str) -> None:
    """Runs a module in a build.

    Raises:
        CheckError: it failed.
    """
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=folder, env=environment(kind), check=False)
    if done.returncode:
        raise CheckError(f"{kind}: python -m {' '.join(arguments)} failed with exit code {done.returncode}")


def main() -> int:
    """Runs the builds asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("builds", nargs="*", metavar="BUILD", help=f"any of {', '.join(BUILDS)} (default: all)")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "native", help="where the builds go")
    parser.add_argument("--fuzz", type=int, default=10_000, metavar="N", help="searches of the fuzzer (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the fuzzer")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes at a time")
    parser.add_argument("--no-tests", action="store_true", help="leave the search tests out")
    arguments = parser.parse_args()
    if unknown := set(arguments.builds) - set(BUILDS):
        parser.error(f"unknown build {', '.join(unknown)}; there are {', '.join(BUILDS)}")
    try:
        for kind in arguments.builds or BUILDS:
            begin, folder = time.monotonic(), (arguments.folder / kind).resolve()
            build(kind, folder)
            check_canaries(kind, folder)
            print(f"{kind}: built and able to catch mistakes, {time.monotonic() - begin:.0f} s", flush=True)
            if not arguments.no_tests:
                strict = ("-W", "error::pytest.PytestUnraisableExceptionWarning")
                plugins = ("-p", "tests.native.guard", "-p", "tests.native.compiled")
                # the kernels of GPUs are not native code of ours
                others = "--ignore=tests/mcts/device"
                run(kind, folder, "pytest", "-q", "-n", str(arguments.jobs), *strict, *plugins, others, "tests/mcts")
            if arguments.fuzz:
                options = ("--searches", str(arguments.fuzz), "--seed", str(arguments.seed))
                run(kind, folder, "tests.native.fuzz", *options, "--jobs", str(arguments.jobs))
            print(f"{kind}: passed, {time.monotonic() - begin:.0f} s in all", flush=True)
    except CheckError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
