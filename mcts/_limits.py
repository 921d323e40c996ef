"""How much memory this process may use: that of the machine, or less where a container or a shell limits it."""

from __future__ import annotations

import os
from pathlib import Path

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None  # type: ignore[assignment]


def memory_limit(root: Path = Path("/")) -> tuple[int, str]:
    """Finds the smallest limit on the memory of this process.

    Args:
        root: the folder that holds `proc` and `sys`.

    Returns:
        Bytes, and what sets the limit.
    """
    limits = [(_physical_memory(), "of this machine"), *_control_groups(root)]
    if resource is not None:
        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        if soft != resource.RLIM_INFINITY:
            limits.append((soft, "that RLIMIT_AS (ulimit -v) allows"))
    return min(limits)


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not a POSIX system: the allocation itself will tell
        return 2**62


def _control_groups(root: Path) -> list[tuple[int, str]]:
    """Lists the limits of this process's control groups, version 2 and 1, and of all groups above them."""
    limits = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path may be the host's, of which only the top is seen; missing files limit nothing.
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            text = _read(folder / name).strip()
            if text.isdecimal():
                limits.append((int(text), f"of its control group ({name})"))
            if folder == top:
                break
    return limits


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
