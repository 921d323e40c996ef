"""What a figure was measured on."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from typing import Any

import mcts

LIBRARIES = ("numpy", "torch", "onnxruntime", "openvino", "jax", "mctx")


def machine() -> dict[str, Any]:
    """Returns processor, instruction sets in use, cores, load and versions, without any path or host name.

    Returns:
        A dictionary of plain values; `planner` names the instruction sets of the planner's parts, `instructions` that
        of torch, and `libraries` holds the versions of those that are installed.
    """
    found = {name: version for name in LIBRARIES if (version := _version(name))}
    torch = sys.modules.get("torch")
    return {
        "processor": processor(),
        "planner": planner_instructions(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "instructions": torch.backends.cpu.get_cpu_capability() if torch else None,
        "python": platform.python_version(),
        "libraries": found,
        "date": datetime.date.today().isoformat(),
    }


def describe() -> str:
    """Returns the same in one line, for a table of results."""
    about = machine()
    versions = ", ".join(f"{name} {version}" for name, version in about["libraries"].items())
    facts = (f"{about['cores']} cores", about["planner"], f"Python {about['python']}", versions, about["date"])
    return ", ".join((about["processor"], *facts))


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def planner_instructions() -> str:
    """Returns the instruction set that the planner uses here, for example "avx2"; "" where it is not built."""
    return mcts.default_instruction_set() if mcts.instruction_sets() else ""


def processor() -> str:
    """Returns the name of the processor, or of its architecture where the system does not say it."""
    try:
        for line in subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout.splitlines():
            if line.startswith("Model name:"):
                return line.split(":", 1)[1].strip()
    except (OSError, subprocess.CalledProcessError):
        pass  # not Linux: the architecture has to do
    return platform.processor() or platform.machine()
