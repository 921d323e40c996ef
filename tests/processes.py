"""What a test asks about processes, on Linux."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path


def children(pid: int) -> set[int]:
    """Returns the processes that the main thread of a process has started and that are still there."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def alive(pid: int) -> bool:
    """Returns whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids: Collection[int], seconds: float = 10.0) -> bool:
    """Returns whether all have ended, after waiting for it."""
    end = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(alive(pid) for pid in pids)
