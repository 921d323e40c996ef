"""Memory of finished searches, kept for the next: fresh pages from the system cost more than a small search."""

from __future__ import annotations

import sys
import threading

import numpy as np
import numpy.typing as npt

CACHE_LINE = 64
MAX_KEPT_BYTES = 64 * 2**20

_UNUSED = 3  # what getrefcount says of a buffer that only the list, the loop and the call itself know

_buffers: list[npt.NDArray[np.uint8]] = []
_lock = threading.Lock()


def take(num_bytes: int) -> npt.NDArray[np.uint8]:
    """Returns memory that begins at a cache line, with whatever stands there.

    It is in use as long as the array or a view of it exists, and may be handed out again afterwards.

    Args:
        num_bytes: how much is needed.

    Returns:
        [num_bytes] uint8.
    """
    size = num_bytes + CACHE_LINE
    with _lock:
        for buffer in _buffers:
            if size <= buffer.nbytes <= 2 * size and sys.getrefcount(buffer) == _UNUSED:
                break
        else:
            buffer = np.empty(size, np.uint8)
            _buffers.append(buffer)
            while sum(kept.nbytes for kept in _buffers) > MAX_KEPT_BYTES:
                del _buffers[0]
        return np.ndarray((num_bytes,), np.uint8, buffer, -buffer.ctypes.data % CACHE_LINE)


def release() -> None:
    """Gives back what no search and no result is using."""
    with _lock:
        _buffers.clear()
