"""Whole searches give the same bits with every compiler, instruction set and processor that can be tried here."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "mcts" / "core"
SOURCES = [str(path) for path in (ROOT / "tests" / "native" / "portable.c", *sorted(CORE.glob("search_*.c")))]
# The flags of pyproject.toml, and every warning a mistake.
WARN = ["-Wall", "-Wextra", "-Werror"]
FLAGS = ["-O3", "-ffp-contract=off", *WARN, f"-I{CORE}"]
# Clang must not fuse even where it may: clang-cl does not know -ffp-contract. The later of two flags counts.
COMPILERS = {
    "gcc": ["gcc"],
    "clang": ["clang", "-ffp-contract=on"],
    "gcc for aarch64": ["aarch64-linux-gnu-gcc"],
    "clang for aarch64": ["clang", "--target=aarch64-linux-gnu", "-ffp-contract=on"],
}
EMULATOR = "qemu-aarch64"
FUNCTIONS = ("fabs", "fabsf", "sqrt", "sqrtf", "copysignf", "log", "cos", "exp")
# Enough of the C library for a compiler whose system is not here.
STUBS = {
    "math.h": '#define NAN __builtin_nanf("")\n#define INFINITY __builtin_inff()\n'
    + "".join(f"#define {name} __builtin_{name}\n" for name in FUNCTIONS),
    "string.h": "#define memcpy __builtin_memcpy\n#define memset __builtin_memset\n",
}
CL = ["--driver-mode=cl", "/O2", "/W4", "/WX", "-Xclang", "-ffreestanding"]
SYSTEMS = {
    "Windows": [*CL, "--target=x86_64-pc-windows-msvc"],
    "macOS": ["--target=x86_64-apple-macos11", *WARN, "-O3", "-ffreestanding"],
    "macOS on arm64": ["--target=arm64-apple-macos11", *WARN, "-O3", "-ffreestanding"],
}
FUSED = re.compile(r"\b(fml[as]|fn?m(add|sub)|vfn?m(add|sub)\w*)\b")


def write_stubs(folder: Path) -> None:
    for name, text in STUBS.items():
        (folder / name).write_text(text, encoding="utf-8")


def have(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Compiles the driver, every way once; returns the command that runs it."""

    @cache
    def built(*command: str) -> list[str]:
        emulator = [EMULATOR] if "aarch64" in " ".join(command) else []
        have(command[0], *emulator)
        if "--target=aarch64-linux-gnu" in command:
            have("aarch64-linux-gnu-gcc")  # its library and linker
        program = str(tmp_path_factory.mktemp("portable") / "portable")
        flags = [*FLAGS, *command[1:], "-static"]
        done = subprocess.run(
            [command[0], *flags, *SOURCES, "-lm", "-o", program], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return [*emulator, program]

    return built


def output(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def expected(build: Callable[..., list[str]]) -> list[str]:
    """Searches by the plain version that GCC makes."""
    return output(*build("gcc"), "baseline")


def test_the_searches_differ(expected: list[str]) -> None:
    assert len(expected) == 2 * 4 * 2 * 6 + 6
    assert len({line.split()[-1] for line in expected}) == len(expected)


@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_same_bits(compiler: str, build: Callable[..., list[str]], expected: list[str]) -> None:
    program = build(*COMPILERS[compiler])
    sets = output(*program)
    assert "baseline" in sets
    for name in sets:
        assert output(*program, name) == expected, name


def test_fused_operations_would_be_noticed(build: Callable[..., list[str]], expected: list[str]) -> None:
    fusing = build("aarch64-linux-gnu-gcc", "-ffp-contract=fast")
    assert output(*fusing, "baseline") != expected


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have one instruction set")
def test_only_what_the_processor_has_is_listed(build: Callable[..., list[str]]) -> None:
    have("qemu-x86_64")
    for processor, sets in {
        "max": ["avx2", "baseline"],  # QEMU has no AVX-512
        "max,avx2=off": ["baseline"],
        "max,fma=off": ["baseline"],
        "max,xsave=off": ["baseline"],  # the system does not save the registers
        "qemu64": ["baseline"],
    }.items():
        assert output("qemu-x86_64", "-cpu", processor, *build("gcc")) == sets, processor


@pytest.mark.parametrize("source", sorted(path.name for path in CORE.glob("search_*.c")))
@pytest.mark.parametrize("system", SYSTEMS)
def test_other_systems_compile_it_without_fusing(system: str, source: str, tmp_path: Path) -> None:
    """Clang for systems that are not here, without their libraries and without the flag that clang-cl does not know."""
    have("clang")
    write_stubs(tmp_path)
    assembly = tmp_path / "assembly.s"
    out = (
        [f"/Fa{assembly}", f"/Fo{tmp_path / 'object.obj'}", "/c"]
        if system == "Windows"
        else ["-S", "-o", str(assembly)]
    )
    done = subprocess.run(
        ["clang", *SYSTEMS[system], f"-I{tmp_path}", *out, "--", str(CORE / source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    text = assembly.read_text(encoding="utf-8")
    name = "mcts_" + source.removesuffix(".c")
    foreign = "arm64" in system and name != "mcts_search_baseline"
    assert (re.search(rf"^_?{name}:", text, re.MULTILINE) is None) == foreign
    assert not FUSED.search(text)


@pytest.mark.parametrize("text", ['#include "_mlp.h"', '#define VECTOR_BYTES 16\n#include "core/policy.h"'])
@pytest.mark.parametrize("system", SYSTEMS)
def test_other_systems_read_the_rest(system: str, text: str, tmp_path: Path) -> None:
    """What Cython's modules include."""
    have("clang")
    write_stubs(tmp_path)
    (tmp_path / "module.c").write_text(text + "\n", encoding="utf-8")
    check = "/Zs" if system == "Windows" else "-fsyntax-only"
    include = [f"-I{tmp_path}", f"-I{CORE.parent}"]
    done = subprocess.run(
        ["clang", *SYSTEMS[system], "-Wno-unused-function", check, *include, "--", str(tmp_path / "module.c")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
