"""What a figure was measured on: one line for RESULTS.md."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess

import torch


def describe() -> str:
    """Returns processor, cores, versions and date, without any path or host name."""
    processor = platform.processor() or platform.machine()
    try:
        for line in subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout.splitlines():
            if line.startswith("Model name:"):
                processor = line.split(":", 1)[1].strip()
    except (OSError, subprocess.CalledProcessError):
        pass  # not Linux: the architecture has to do
    return (
        f"{processor}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__} "
        f"({torch.backends.cpu.get_cpu_capability()}), {datetime.date.today().isoformat()}"
    )
