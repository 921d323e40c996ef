"""Models that the native search calls without returning to Python."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcts.types import RecurrentFn, RecurrentOutput


@dataclass(frozen=True)
class NativeRecurrentFn:
    """Holds the address of a C function with the interface of `mcts/_native.h`.

    Attributes:
        address: of the function, a `mcts_evaluate_fn`.
        context: its first argument.
        owner: kept alive as long as this object: what the two addresses point into.
        fallback: the same model as a Python function.
    """

    address: int
    context: int
    owner: object
    fallback: RecurrentFn | None = None

    def __call__(
        self, parent_index: npt.NDArray[np.int32], action: npt.NDArray[np.int32], node_index: int
    ) -> RecurrentOutput:
        """Answers one network call through the fallback."""
        if self.fallback is None:
            raise TypeError("recurrent_fn: expected a Python function, got a native one without a fallback")
        return self.fallback(parent_index, action, node_index)
