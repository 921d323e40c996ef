"""Models that the native search calls without returning to Python."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mcts import checks
from mcts.types import RecurrentFn, RecurrentOutput

ABI_VERSION = 1
"""Of the interface in `mcts/_native.h`; raised whenever functions built for it would have to be built anew."""

_EVALUATE = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3, *[ctypes.c_int32] * 4, *[ctypes.c_void_p] * 4)


@dataclass(frozen=True, eq=False)
class NativeRecurrentFn:
    """Holds the address of a C function with the interface of `mcts/_native.h`, for a policy's `recurrent_fn`.

    The native backend then searches without Python, and every thread searches its own roots from the first to the last
    simulation. A function compiled by `numba.cfunc` will do.

    Attributes:
        address: of the function, a `mcts_evaluate_fn`; not 0. Nobody can check that a function is there: a wrong
            address ends the process.
        context: its first argument, an address or 0.
        owner: kept alive as long as this object, and so at least as long as any search with it: what the two addresses
            point into, for example the library or the compiled function, and the arrays behind the context. A tuple
            holds several.
        fallback: the same model as a Python function, for whoever calls this object as one.
        abi: the version of the interface that the function was built for; only this build's own is taken.

    Raises:
        TypeError: an address or a version is not an int, or the fallback not callable.
        ValueError: an address is none, or the version another than this build's.
    """

    address: int
    context: int
    owner: object = field(repr=False)
    fallback: RecurrentFn | None = field(default=None, repr=False)
    abi: int = field(default=ABI_VERSION, kw_only=True)

    def __post_init__(self) -> None:
        """Checks the numbers."""
        checks.address("address", self.address, lowest=1)
        checks.address("context", self.context, lowest=0)
        checks.abi(self.abi, ABI_VERSION)
        if self.fallback is not None:
            checks.function("fallback", self.fallback)

    def __call__(
        self, parent_index: npt.NDArray[np.int32], action: npt.NDArray[np.int32], node_index: int
    ) -> RecurrentOutput:
        """Answers one network call through the fallback."""
        if self.fallback is None:
            raise TypeError("recurrent_fn: expected a Python function, got a native one without a fallback")
        return self.fallback(parent_index, action, node_index)


def empty_answers(num_rows: int, num_actions: int) -> RecurrentOutput:
    """Makes the arrays a native function writes to: NaN, so that a row it leaves out is noticed."""
    rows = np.full((3, num_rows), np.nan, np.float32)
    return RecurrentOutput(rows[0], rows[1], np.full((num_rows, num_actions), np.nan, np.float32), rows[2])


def through_ctypes(native: NativeRecurrentFn, num_actions: int) -> RecurrentFn:
    """Returns a native function as a Python function.

    Args:
        native: the function.
        num_actions: A.

    Returns:
        What calls the same code.
    """
    evaluate = _EVALUATE(native.address)

    def recurrent_fn(
        parent_index: npt.NDArray[np.int32], action: npt.NDArray[np.int32], node_index: int
    ) -> RecurrentOutput:
        num_rows = len(action)
        answers = empty_answers(num_rows, num_actions)
        inputs = (parent_index.ctypes.data, action.ctypes.data)
        outputs = (np.asarray(field).ctypes.data for field in answers)
        status = evaluate(native.context, *inputs, node_index, num_rows, 0, num_rows, *outputs)
        if status:
            raise_failure(status, node_index)
        return answers

    return recurrent_fn


def raise_failure(status: int, node_index: int) -> None:
    """Reports that a native function answered with an error.

    Args:
        status: what it returned.
        node_index: the first node it was asked for.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(f"recurrent_fn: expected 0 from the native function, got {status} at node {node_index}")
