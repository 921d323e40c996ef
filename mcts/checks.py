"""What the planner demands of its arguments: every rule stands here once, and every error names the argument.

The public functions call these at the door; whatever lies behind them trusts its input.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from mcts._limits import memory_limit

FloatArray = npt.NDArray[np.float64]

LARGEST = 1e50
"""No constant of a search may be larger.

It is more than any Q-value can be: at most 2^31 rewards of float32 on a path make 7.3e47. The largest product in any
formula is then (maxvisit_init + visits) * value_scale * (q - lower), about 1e150, and the largest quotient
(maxvisit_init + visits) * value_scale / epsilon the same: far from the end of float64 at 1.8e308, so that no score is
infinite or NaN, in whatever order a backend multiplies.
"""

SMALLEST = 1e-50
"""No constant that divides may be smaller; it is less than any difference of float32 numbers, the least is 1.4e-45."""

_LITTLE_MEMORY = 2**24  # any process has as much: reading the limits would cost more than a small search
_MAX_ADDRESS = 2 ** (8 * ctypes.sizeof(ctypes.c_void_p)) - 1
_MAX_ROWS = 2**31 - 1
MAX_INDEX = 2**31 - 2
"""Nodes and actions are numbered in int32."""


# Choices --------------------------------------------------------------------------------------------------------------


def backend(name: str | None, known: tuple[str, ...]) -> str:
    """Returns which implementation is to search; None reads MCTS_BACKEND, native where it is not set."""
    chosen = os.environ.get("MCTS_BACKEND", "native") if name is None else name
    if chosen not in known:
        source = "MCTS_BACKEND" if name is None else "backend"
        raise ValueError(f"{source}: expected one of {', '.join(known)}, got {chosen!r}")
    return chosen


def native_qtransform(qtransform: object, known: tuple[type, ...]) -> None:
    """Raises TypeError unless the native core, which never calls a Q-transform, has its formula."""
    if type(qtransform) not in known:
        raise TypeError(
            "qtransform: expected a value made by mcts.qtransform_*(), whose formulas the native core has, "
            f'got {type(qtransform).__name__}; backend="python" takes any mcts.QTransform'
        )


# Numbers --------------------------------------------------------------------------------------------------------------


def instance(name: str, value: object, kind: type, expected: str) -> None:
    """Raises TypeError unless a value is an instance of a class."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected {expected}, got {type(value).__name__}")


def integer(name: str, number: Any) -> int:
    """Returns an int, or raises TypeError."""
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
        raise TypeError(f"{name}: expected an int, got {type(number).__name__}")
    return int(number)


def count(name: str, number: Any) -> int:
    """Returns a positive int, or raises what is wrong with it."""
    if integer(name, number) < 1:
        raise ValueError(f"{name}: expected a number >= 1, got {number}")
    return int(number)


def number(name: str, value: Any, lower: float, upper: float) -> float:
    """Returns a number of a closed range.

    Args:
        name: what to call it in errors.
        value: any real number.
        lower: the smallest allowed.
        upper: the largest allowed.

    Returns:
        The number.

    Raises:
        TypeError: it is none.
        ValueError: it is not in the range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    if not lower <= value <= upper:
        raise ValueError(f"{name}: expected a number in [{lower:g}, {upper:g}], got {value}")
    return float(value)


def apart(lower_name: str, lower: float, name: str, upper: float) -> None:
    """Raises ValueError unless one number is less than the other by more than rounding can eat up."""
    if not upper - lower >= SMALLEST:
        raise ValueError(f"{name}: expected more than {lower_name} = {lower}, by at least {SMALLEST:g}, got {upper}")


def per_root(name: str, numbers: Any, num_roots: int) -> FloatArray:
    """Returns [B] numbers in [0, LARGEST], given as one for all or as many, or raises what is wrong with them."""
    if type(numbers) is float and 0.0 <= numbers <= LARGEST:  # most are: NumPy takes microseconds to say so
        return np.full(num_roots, numbers)
    values = as_array(name, numbers)
    if values.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected a number or [B] numbers, got dtype {values.dtype}")
    if values.shape not in ((), (num_roots,)):
        raise ValueError(f"{name}: expected a number or shape ({num_roots},), got shape {values.shape}")
    with np.errstate(over="ignore"):  # infinity is refused
        values = values.astype(np.float64)
    inside = (values >= 0) & (values <= LARGEST)
    if not inside.all():
        raise ValueError(f"{name}: expected numbers in [0, {LARGEST:g}], got {values[~inside].flat[0]}")
    return np.full(num_roots, values)


# Arrays ---------------------------------------------------------------------------------------------------------------


def as_array(name: str, array: Any) -> npt.NDArray[Any]:
    """Returns anything NumPy can read as an array, or raises ValueError where its rows are not of one length."""
    try:
        return np.asarray(array)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array, got what is none: {error}") from error


def as_float32(name: str, array: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Returns an array as C-contiguous float32 of a given shape, the very same object where it is that already.

    Args:
        name: what to call it in errors.
        array: anything NumPy can read as real numbers.
        shape: the expected shape.

    Returns:
        The array.

    Raises:
        TypeError: the elements are not real numbers.
        ValueError: the shape differs.
    """
    result = array if type(array) is np.ndarray else as_array(name, array)
    if result.dtype != np.float32:
        if result.dtype.kind not in "fiu":
            raise TypeError(f"{name}: expected an array of floats, got dtype {result.dtype}")
        with np.errstate(over="ignore"):
            result = result.astype(np.float32)
    if result.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {result.shape}")
    return result if result.flags.c_contiguous and result.flags.aligned else np.array(result, order="C")


def root_arrays(
    root: Any, invalid_actions: Any
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Reads the prediction at the roots and the mask; the values and the mask into arrays that nobody else writes to.

    Args:
        root: the `mcts.RootOutput`.
        invalid_actions: [B, A] bool, True = forbidden; None forbids nothing.

    Returns:
        Logits [B, A], values [B] and the mask [B, A], all C-contiguous. Their numbers are not looked at yet.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a shape does not fit.
    """
    if not isinstance(root, tuple) or len(root) != 2:
        raise TypeError(f"root: expected a mcts.RootOutput, got {type(root).__name__}")
    given = root[0] if type(root[0]) is np.ndarray else as_array("root.prior_logits", root[0])
    shape = given.shape
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"root.prior_logits: expected shape (B, A) with B, A >= 1, got {shape}")
    logits = as_float32("root.prior_logits", given, shape)
    value = as_float32("root.value", root[1], shape[:1]).copy()  # the network may answer in the same buffer
    if invalid_actions is None:
        return logits, value, np.zeros(shape, np.bool_)
    invalid = as_array("invalid_actions", invalid_actions)
    if invalid.dtype != np.bool_:
        raise TypeError(f"invalid_actions: expected dtype bool (True = forbidden), got {invalid.dtype}")
    if invalid.shape != shape:
        raise ValueError(f"invalid_actions: expected shape {shape} like root.prior_logits, got {invalid.shape}")
    return logits, value, np.array(invalid, order="C")


def refuse_root(
    logits: npt.NDArray[np.float32], value: npt.NDArray[np.float32], invalid: npt.NDArray[np.bool_]
) -> NoReturn:
    """Raises ValueError: says what is wrong with the numbers of `root_arrays`."""
    stuck = np.flatnonzero(invalid.all(axis=1))
    if stuck.size:
        raise ValueError(f"invalid_actions: expected an allowed action for every root, root {stuck[0]} has none")
    bad = np.flatnonzero(~np.isfinite(value))
    if bad.size:
        raise ValueError(f"root.value: expected finite numbers, got {value[bad[0]]} at root {bad[0]}")
    logits = np.where(invalid, np.float32(-np.inf), logits)
    row = int(np.flatnonzero(~(logits < np.inf).all(axis=1) | ~(logits > -np.inf).any(axis=1))[0])
    raise ValueError(f"root.prior_logits: root {row}: {describe_bad_logits(logits[row])}")


def moves(actions: npt.ArrayLike, num_roots: int, num_actions: int) -> npt.NDArray[np.integer]:
    """Returns the moves [B] or [B, D] that `mcts.Tree.keep` takes as [B, D], or raises what is wrong with them."""
    array = as_array("moves", actions)
    if array.dtype.kind not in "iu":
        raise TypeError(f"moves: expected integers, got dtype {array.dtype}")
    if array.ndim not in (1, 2) or len(array) != num_roots:
        raise ValueError(f"moves: expected shape ({num_roots},) or ({num_roots}, D), got {array.shape}")
    wrong = array[(array < -1) | (array >= num_actions)]
    if wrong.size:
        raise ValueError(f"moves: expected actions in [0, {num_actions}) or -1, got {wrong[0]}")
    return array.reshape(num_roots, -1)


# The network ----------------------------------------------------------------------------------------------------------


def function(name: str, value: Any) -> None:
    """Raises TypeError unless a value can be called."""
    if not callable(value):
        raise TypeError(f"{name}: expected a callable, got {type(value).__name__}")


def address(name: str, number: Any, lowest: int) -> None:
    """Raises unless a number can be an address of this machine; `lowest` 0 allows none."""
    if not lowest <= integer(name, number) <= _MAX_ADDRESS:
        raise ValueError(f"{name}: expected an address in [{lowest}, {_MAX_ADDRESS}], got {number}")


def abi(version: Any, current: int) -> None:
    """Raises unless a native function was built for the interface that this build calls."""
    if integer("abi", version) != current:
        raise ValueError(f"abi: expected {current}, got {version}; build the function for this mcts/_native.h")


def rows(num_roots: int, num_leaves: int) -> None:
    """Raises ValueError where a network call would have more rows than an int32 can number."""
    if num_roots * num_leaves > _MAX_ROWS:
        raise ValueError(
            f"leaves_per_step: expected at most {_MAX_ROWS:,} rows in a network call, got {num_leaves:,} leaves of "
            f"{num_roots:,} roots"
        )


def describe_bad_answer(
    reward: np.float32, discount: np.float32, prior_logits: npt.NDArray[np.float32], value: np.float32
) -> str:
    """Says which field of a row of the network's answer cannot be used, and why."""
    if not np.isfinite(reward):
        return f"reward: expected a finite number, got {reward}"
    if not np.isfinite(value):
        return f"value: expected a finite number, got {value}"
    if not -1.0 <= discount <= 1.0:
        return f"discount: expected a number in [-1, 1], got {discount}"
    return f"prior_logits: {describe_bad_logits(prior_logits)}"


def describe_bad_logits(logits: npt.NDArray[np.float32]) -> str:
    """Says what keeps a row of logits from being a policy."""
    bad = np.flatnonzero(~(logits < np.inf))
    if bad.size:
        return f"expected finite numbers or -inf, got {logits[bad[0]]} for action {bad[0]}"
    return "expected a finite number for at least one action, got only -inf"


# Memory ---------------------------------------------------------------------------------------------------------------


def memory(needed: int, num_roots: int, num_actions: int, num_simulations: int) -> None:
    """Refuses a search whose tree this process cannot hold.

    Args:
        needed: bytes, see `mcts.memory_bytes`.
        num_roots: B.
        num_actions: A.
        num_simulations: S, kept nodes included.

    Raises:
        ValueError: the tree needs more memory than the process may use, or more nodes or actions than can be numbered.
    """
    if needed < _LITTLE_MEMORY and max(num_simulations, num_actions) <= MAX_INDEX:
        return
    available, source = memory_limit()
    if needed > available or max(num_simulations, num_actions) > MAX_INDEX:
        raise ValueError(
            f"num_simulations: a search of {num_roots} roots, {num_actions} actions and {num_simulations} simulations "
            f"needs {needed:,} bytes; expected at most the {available:,} {source}, and at most {MAX_INDEX:,} "
            "simulations or actions"
        )


# Exports --------------------------------------------------------------------------------------------------------------


def export_limits(root: int, num_roots: int, max_depth: int | None, min_visits: int) -> None:
    """Raises ValueError unless a root exists and the limits of an export are not negative."""
    if not 0 <= root < num_roots:
        raise ValueError(f"root: expected a number in [0, {num_roots}), got {root}")
    if max_depth is not None and max_depth < 0:
        raise ValueError(f"max_depth: expected None or a number >= 0, got {max_depth}")
    if min_visits < 0:
        raise ValueError(f"min_visits: expected a number >= 0, got {min_visits}")


def json_depth(deepest: int, limit: int, max_depth: int | None) -> None:
    """Raises ValueError where a tree is too deep for nested JSON."""
    if deepest > limit:
        raise ValueError(
            f"max_depth: expected at most {limit}, which nested JSON can hold, got {max_depth} for a tree {deepest} "
            "edges deep; to_dict and to_graphviz know no limit"
        )


def action_names(names: Sequence[str] | None, num_actions: int) -> None:
    """Raises ValueError unless there are as many names as actions, or none at all."""
    if names is not None and len(names) != num_actions:
        raise ValueError(f"action_names: expected {num_actions} names, got {len(names)}")
