"""Two worlds in one process: what environments change about it counts for them, and for nothing else.

An environment may change the working directory, torch's default dtype, the filters of warnings, a signal handler: all
of it belongs to the whole process. After foreign code this is put back, and put on again when foreign code goes on, as
an environment may also rely on what it has set. Random generators are not looked at: nothing here draws from global
ones, and environments may.
"""

from __future__ import annotations

import contextlib
import locale
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from muzero_wm.basis.handlers import STOP_SIGNALS

_SIGNALS = (*STOP_SIGNALS, signal.SIGPIPE)


class _Setting(NamedTuple):
    read: Callable[[], Any]
    write: Callable[[Any], object]


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it is not there any more
        return None


def _enter_directory(path: str | None) -> None:
    if path is not None:
        with contextlib.suppress(OSError):
            os.chdir(path)


def _set_warnings(value: tuple[list[Any], Any]) -> None:
    warnings.filters[:] = value[0]  # type: ignore[index]
    warnings.showwarning = value[1]
    with warnings.catch_warnings():  # it is told that the filters have changed
        pass


def _set_logging(value: tuple[int, list[logging.Handler], int]) -> None:
    level, logging.root.handlers[:], logging.root.manager.disable = value
    logging.root.setLevel(level)


_SETTINGS = {
    "directory": _Setting(_working_directory, _enter_directory),
    "locale": _Setting(lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
    "numpy": _Setting(np.geterr, lambda errors: np.seterr(**errors)),
    "warnings": _Setting(lambda: (warnings.filters[:], warnings.showwarning), _set_warnings),
    "logging": _Setting(
        lambda: (logging.root.level, logging.root.handlers[:], logging.root.manager.disable), _set_logging
    ),
}


def _torch_settings() -> dict[str, _Setting]:
    """Returns what torch keeps for the whole process; nothing where nobody has imported it yet."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "are_deterministic_algorithms_enabled"):
        return {}
    return {
        "dtype": _Setting(torch.get_default_dtype, torch.set_default_dtype),
        "grad": _Setting(torch.is_grad_enabled, torch.set_grad_enabled),
        "threads": _Setting(torch.get_num_threads, torch.set_num_threads),
        "deterministic": _Setting(torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    }


def _torch_as_imported() -> dict[str, Any]:
    """Returns the settings of a torch that foreign code was the first to import."""
    torch = sys.modules["torch"]
    return {"dtype": torch.float32, "grad": True, "deterministic": False}


class _Here(threading.local):
    depth = 0
    ours: dict[str, Any]
    handlers: dict[int, Any]


_here = _Here()
_theirs: dict[str, Any] = {}


class Foreign(contextlib.ContextDecorator):
    """While foreign code runs: its settings are put on before, and ours after it. May be nested, and used again.

    Signals that ask the program to end are for the program alone: its handlers come back, and foreign ones never do.

    Args:
        signals: look at handlers too, which doubles the cost.
    """

    def __init__(self, signals: bool = True) -> None:
        """Changes nothing yet."""
        self._signals = signals

    def __enter__(self) -> None:
        _here.depth += 1
        if _here.depth > 1:
            return
        if "dtype" not in _SETTINGS:
            _SETTINGS.update(_torch_settings())
        ours_to_set = self._signals and threading.current_thread() is threading.main_thread()
        _here.handlers = {number: signal.getsignal(number) for number in _SIGNALS} if ours_to_set else {}
        _here.ours = {name: setting.read() for name, setting in _SETTINGS.items()}
        for name, value in _theirs.items():
            _SETTINGS[name].write(value)

    def __exit__(self, *_: object) -> None:
        _here.depth -= 1
        if _here.depth:
            return
        for number, handler in _here.handlers.items():
            if signal.getsignal(number) != handler and handler is not None:
                signal.signal(number, handler)
        ours = _here.ours
        if "dtype" not in _SETTINGS and (torch_settings := _torch_settings()):
            _SETTINGS.update(torch_settings)
            ours |= _torch_as_imported()
        for name, value in ours.items():
            now = _SETTINGS[name].read()
            if now == value:
                _theirs.pop(name, None)
            else:
                _theirs[name] = now
                _SETTINGS[name].write(value)


foreign = Foreign()
foreign_step = Foreign(signals=False)
