"""Keeps the stack that signal handlers run on.

OpenVINO's CPU plugin gives the calling thread a signal stack of its own and may free it while it is still in use; the
next signal then ends the process. Putting the old stack back at once leaves the plugin's for nobody to use.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    _fields_ = (("ss_sp", ctypes.c_void_p), ("ss_flags", ctypes.c_int), ("ss_size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Leaves the signal stack of this thread as it was found, whatever happens inside; does nothing without POSIX."""
    sigaltstack = getattr(ctypes.CDLL(None), "sigaltstack", None)
    if sigaltstack is None:
        yield
        return
    before = _Stack()
    sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        sigaltstack(ctypes.byref(before), None)
