"""Environments that change what belongs to the whole process, `gym:tests.acting.meddling:Meddler-v0(kind=, when=)`."""

from __future__ import annotations

import locale
import logging
import os
import random
import signal
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch

from tests.acting.helped import Steady


def _draw_from_global_generators() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - what many environments do
    torch.manual_seed(0)


CHANGES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "directory": (lambda: os.chdir("/"), os.getcwd),
    "dtype": (lambda: torch.set_default_dtype(torch.float64), torch.get_default_dtype),
    "grad": (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled),
    "threads": (lambda: torch.set_num_threads(3), torch.get_num_threads),
    "deterministic": (
        lambda: torch.use_deterministic_algorithms(True), torch.are_deterministic_algorithms_enabled
    ),
    "numpy": (lambda: np.seterr(all="raise"), np.geterr),
    "warnings": (lambda: warnings.simplefilter("error"), lambda: warnings.filters[0][0] == "error"),
    "logging": (
        lambda: logging.basicConfig(level=5, force=True), lambda: (logging.root.level, len(logging.root.handlers))
    ),
    "locale": (lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8"), lambda: locale.setlocale(locale.LC_ALL)),
}  # fmt: skip
UNSEEN: dict[str, Callable[[], object]] = {
    "generators": _draw_from_global_generators,
    "signals": lambda: [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)],
}


class Meddler(Steady):
    """Changes one thing, or all, when it is made, at its resets or in its steps, and counts on it from there on."""

    def __init__(self, kind: str = "", when: str = "step") -> None:
        self._kinds = [*CHANGES, *UNSEEN] if kind == "all" else [kind] if kind else []
        self._when, self._after = when, dict[str, object]()
        self._at("init")

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self._at("reset")
        return super().reset(seed=seed, options=options)

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._at("step")
        return super().step(action)

    def _at(self, moment: str) -> None:
        for kind, value in self._after.items():
            assert CHANGES[kind][1]() == value, f"{kind} is not as it was left"
        if moment == self._when and not self._after:
            for kind in self._kinds:
                if kind in UNSEEN:
                    UNSEEN[kind]()
                else:
                    CHANGES[kind][0]()
                    self._after[kind] = CHANGES[kind][1]()


gymnasium.register("Meddler-v0", entry_point=Meddler, disable_env_checker=True)
