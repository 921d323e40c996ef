"""What ``muzero-wm doctor`` looks at: what this machine offers, and whether the parts work together."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import os
import platform
import re
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from muzero_wm import __version__
from muzero_wm.bench.machine import planner_instructions, processor

_PACKAGES = ("torch", "numpy", "numba", "gymnasium", "pydantic")
_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

# a checkpoint after every round, so that ending at once loses one
_DEBUG = ["run.checkpoint_every_minutes=1e-9", "acting.process=false", "replay.priority_exponent=0.6"]


def examine() -> dict[str, Any]:
    """Looks at the machine and tests the installation.

    Returns:
        What `muzero-wm doctor --json` writes: `versions`, `machine`, `checks` (name, ok, seconds, detail, remedy) and
        `healthy`.
    """
    checks = [
        _check("search core", _native_core, "build it: pip install -e . (needs a C compiler)"),
        _check("compiled kernels are kept", _numba_cache, "set NUMBA_CACHE_DIR to a folder that can be written"),
        _check("search agrees with its reference", _search, "build the core again: pip install -e . --force-reinstall"),
        _check("training, and resume bit for bit", _resume, "install the versions named in constraints.txt"),
        _check("checkpoints", _checkpoint, "see that the temporary folder (TMPDIR) has space and can be written"),
    ]
    return {
        "versions": _versions(),
        "machine": _machine(),
        "checks": checks,
        "healthy": all(check["ok"] for check in checks),
    }


def show(report: dict[str, Any], console: Console | None = None) -> None:
    """Prints what `examine` found.

    Args:
        report: from `examine`.
        console: standard output when None.
    """
    console = console or Console()
    facts = Table.grid(padding=(0, 2))
    facts.add_row("versions", ", ".join(f"{name} {version}" for name, version in report["versions"].items()))
    for name, value in report["machine"].items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        facts.add_row(name.replace("_", " "), Text(text))  # plain: the brackets of an extra are no markup
    console.print(facts)
    checks = Table("check", "", "seconds", "found", box=None)
    for check in report["checks"]:
        checks.add_row(check["name"], "ok" if check["ok"] else "BROKEN", f"{check['seconds']:.1f}", check["detail"])
    console.print(checks)
    for check in report["checks"]:
        if not check["ok"]:
            console.print(f"{check['name']}: {check['remedy']}", highlight=False, soft_wrap=True)


def _check(name: str, test: Callable[[], str], remedy: str) -> dict[str, Any]:
    """Runs one test; it returns what it found, or raises."""
    begin = time.monotonic()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            detail, ok = test(), True
    except Exception as error:  # whatever is broken is what we are here to tell
        detail, ok = f"{type(error).__name__}: {' '.join(str(error).split())}", False
    seconds = round(time.monotonic() - begin, 2)
    return {"name": name, "ok": ok, "seconds": seconds, "detail": detail, "remedy": "" if ok else remedy}


def _versions() -> dict[str, str]:
    found = {"muzero-wm": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _extras() -> tuple[list[str], list[str]]:
    """Returns the extras whose packages are all installed, and those of which one is missing."""
    needs: dict[str, list[str]] = {}
    for requirement in importlib.metadata.requires("muzero-wm") or []:
        if (found := re.match(r"([\w.-]+).*extra == ['\"](\w+)['\"]", requirement)) and found[1] != "muzero-wm":
            needs.setdefault(found[2], []).append(found[1])
    needs.pop("dev", None)
    there = {extra: all(map(_is_installed, packages)) for extra, packages in needs.items()}
    return [extra for extra, ok in there.items() if ok], [extra for extra, ok in there.items() if not ok]


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _machine() -> dict[str, Any]:
    import torch

    from muzero_wm.model.precision import describe, resolve_precision

    found, absent = _backends()
    extras, missing = _extras()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": processor(),
        "cpu_features": _cpu_features() or ["not known here"],
        "torch_uses": torch.backends.cpu.get_cpu_capability(),
        "planner_uses": planner_instructions(),
        "gpu": gpus or ["none"],
        "boards_learnt_in": describe(resolve_precision("auto", conv=True)),
        "extras": extras or ["none"],
        "missing_extras": [f"{extra} (pip install 'muzero-wm[{extra}]')" for extra in missing] or ["none"],
        "inference_backends": list(found),
        "missing_backends": [f"{name} ({reason})" for name, reason in absent.items()] or ["none"],
        "threads": [
            f"torch {torch.get_num_threads()}",
            *(f"{name}={os.environ[name]}" for name in _THREADS if name in os.environ),
        ],
    }


def _backends() -> tuple[list[str], dict[str, str]]:
    """Tries every backend on small networks; returns those that run one, and why the others run none."""
    import torch

    from muzero_wm import envs
    from muzero_wm.basis.registry import TORSOS
    from muzero_wm.config import ModelConfig
    from muzero_wm.inference.auto import Gate
    from muzero_wm.inference.backends import BackendError, names_for
    from muzero_wm.model.world_model import WorldModel

    torch.manual_seed(0)
    found: list[str] = []
    absent: dict[str, str] = {}
    for torso in TORSOS.names:
        config = ModelConfig(torso=torso, width=16, head_width=16, projection_width=8)
        gate = Gate(WorldModel(config, envs.spec("tictactoe")))
        for name in names_for("auto"):
            try:
                gate.try_out(name, batch_size=2, frozen=False)
                found.append(name)
            except BackendError as error:
                absent[name] = str(error).partition(": ")[2]
    names = [name for name in names_for("auto") if name in found]
    return names, {name: reason for name, reason in absent.items() if name not in found}


def _cpu_features() -> list[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    flags = next((line.split(":", 1)[1].split() for line in text.splitlines() if line.startswith("flags")), [])
    return [flag for flag in _CPU_FLAGS if flag in flags]


def _native_core() -> str:
    spec = importlib.util.find_spec("mcts._core")
    if spec is None or spec.origin is None or not spec.origin.endswith((".so", ".pyd")):
        raise RuntimeError("mcts._core is not compiled; searches would run in Python, some hundred times slower")
    importlib.import_module("mcts._core")
    return "compiled"


def _numba_cache() -> str:
    from muzero_wm.replay import sum_tree

    stats = getattr(sum_tree._update, "stats", None)
    path = getattr(stats, "cache_path", None)
    if path is None:
        raise RuntimeError("no folder for compiled code can be written: every start compiles for some seconds")
    if not os.access(path, os.W_OK):
        raise RuntimeError(f"{path} cannot be written")
    return "kept on disk"


def _search() -> str:
    import torch

    from muzero_wm import envs
    from muzero_wm.config.presets import load_config
    from muzero_wm.inference.inference import InferenceModel
    from muzero_wm.model.world_model import WorldModel
    from muzero_wm.planning.planner import Planner

    config = load_config("debug")
    env = envs.make("connect4", 16, 0)
    torch.manual_seed(0)
    planner = Planner(InferenceModel(WorldModel(config.model, env.spec), backend="eager"), env.spec, config.search)
    step = env.reset()
    results = []
    before = os.environ.get("MCTS_BACKEND")
    try:
        for backend in ("native", "python"):
            os.environ["MCTS_BACKEND"] = backend
            results.append(planner.search(step.observation, step.legal_actions, 0, num_simulations=32, explore=True))
    finally:
        os.environ.pop("MCTS_BACKEND")
        if before is not None:
            os.environ["MCTS_BACKEND"] = before
    native, python = results
    if not np.array_equal(native.visit_counts, python.visit_counts):
        raise RuntimeError("the compiled search visits other actions than the reference in Python")
    return "16 searches of 32 simulations alike"


def _resume() -> str:
    from muzero_wm.basis.signals import Interrupted
    from muzero_wm.config.presets import load_config
    from muzero_wm.storage.checkpoint import latest
    from muzero_wm.training import train

    def stop(learner: Any, progress: Any) -> None:
        if learner.updates >= 10:
            raise Interrupted(signal.SIGINT, saved=False)

    config = load_config("debug", overrides=_DEBUG)
    with tempfile.TemporaryDirectory() as scratch:
        whole = train(config, Path(scratch) / "whole")
        with contextlib.suppress(KeyboardInterrupt):
            train(config, Path(scratch) / "halves", on_round=stop)
        if latest(Path(scratch) / "halves" / "checkpoints") in (None, 0):
            raise RuntimeError("a run that was ended has left no checkpoint")
        halves = train(config, Path(scratch) / "halves", resume=True)
    _compare(whole.model.state_dict(), halves.model.state_dict(), "a resumed run ended with other weights")
    return f"{whole.updates} updates, twice, the same weights"


def _checkpoint() -> str:
    import torch

    from muzero_wm.storage.checkpoint import load_checkpoint, save_checkpoint

    payload = {"numbers": torch.randn(1000), "counter": 3}
    with tempfile.TemporaryDirectory() as scratch:
        save_checkpoint(Path(scratch), payload, step=1, keep=1)
        again = load_checkpoint(Path(scratch))
    _compare({"numbers": payload["numbers"]}, {"numbers": again["numbers"]}, "a checkpoint came back changed")
    return "written and read again"


def _compare(first: dict[str, Any], second: dict[str, Any], message: str) -> None:
    for name, tensor in first.items():
        if not np.array_equal(tensor.numpy(), second[name].numpy()):
            raise RuntimeError(f"{message} ({name})")
