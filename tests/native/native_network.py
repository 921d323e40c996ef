"""The network of a case behind the C interface of `mcts/_native.h`, for searches that run without Python."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import mcts

if TYPE_CHECKING:
    from tests.native.cases import Case

AVAILABLE = hasattr(mcts, "NativeRecurrentFn")
_EVALUATE = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3, *[ctypes.c_int32] * 4, *[ctypes.c_void_p] * 4)


def native_network(case: Case, fails_at: int | None = None) -> Any:
    """Makes a native recurrent function of what a case's network says.

    Args:
        case: holds the answers.
        fails_at: the simulation that is answered by an error code; None for none.

    Returns:
        A `mcts.NativeRecurrentFn`.
    """
    num_roots, num_actions = case.prior_logits.shape[1:]

    def evaluate(context: Any, parent: Any, action: Any, node: int, rows: int, begin: int, end: int, *out: int) -> int:
        first = node - case.first_node
        last = first + rows // num_roots
        if fails_at is not None and last > fails_at:
            return 7
        answers = (case.reward, case.discount, case.prior_logits, case.value)
        for address, array, width in zip(out, answers, (1, 1, num_actions, 1), strict=True):
            part = array[first:last].reshape(-1)[begin * width : end * width].tobytes()
            ctypes.memmove(address + 4 * begin * width, part, len(part))
        return 0

    function = _EVALUATE(evaluate)
    address = ctypes.cast(function, ctypes.c_void_p).value
    return mcts.NativeRecurrentFn(address, 0, function, case.answer)  # type: ignore[attr-defined]
