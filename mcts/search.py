"""The search loop: select an edge in every tree, ask the network once for the whole batch, expand and back up."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mcts.tree import CACHE_LINE, NODE_DTYPE, Tree
from mcts.types import RecurrentFn, RecurrentOutput, SearchProblem

BACKENDS = ("native", "python")

_OUTPUT_FIELDS = RecurrentOutput._fields
_MAX_INDEX = 2**31 - 2  # nodes and actions are numbered in int32


class Backend(Protocol):
    """Is what both implementations of the tree offer to the loop."""

    parent_index: npt.NDArray[np.int32]
    action: npt.NDArray[np.int32]

    def start(self) -> None:
        """Selects the first edge of every root."""

    def receive(self, reward: Any, discount: Any, prior_logits: Any, value: Any) -> None:
        """Takes the arrays that the next `step` reads."""

    def step(self, simulation: int, begin: int, end: int) -> int:
        """Expands, backs up and selects anew for some roots; returns the first row with unusable numbers or -1."""

    def finish(self) -> Tree:
        """Returns the tree."""


def run_search(
    problem: SearchProblem, recurrent_fn: RecurrentFn, *, num_threads: int = 1, backend: str | None = None
) -> Tree:
    """Searches all trees of a problem, one network call per simulation.

    Args:
        problem: the validated search.
        recurrent_fn: the network; see `mcts.RecurrentFn`.
        num_threads: how many threads share the roots between two network calls.
        backend: "native" or "python"; None reads the environment variable MCTS_BACKEND, native where it is not set.

    Returns:
        The search tree.

    Raises:
        ValueError: a number in the network's output is not usable, or an argument is not.
        TypeError: an output is not an array of floats.
    """
    search = _make_backend(problem, backend)
    num_roots, num_actions = problem.prior_logits.shape
    inbox = _Inbox(search, len(search.action), num_actions)
    search.start()
    with _Stepper(search, num_roots, num_threads) as step:
        for simulation in range(0, problem.num_simulations, problem.leaves_per_step):
            parent_index, action = search.parent_index, search.action
            num_rows = num_roots * min(problem.leaves_per_step, problem.num_simulations - simulation)
            if num_rows < len(action):  # the last step asks for what is left
                parent_index, action = parent_index[:num_rows], action[:num_rows]
                inbox = _Inbox(search, num_rows, num_actions)
            inbox.put(recurrent_fn(parent_index, action, problem.first_node + simulation), simulation)
            bad_row = step(simulation)
            if bad_row >= 0:
                raise ValueError(inbox.explain(bad_row, bad_row % num_roots, simulation + bad_row // num_roots))
    return search.finish()


def memory_bytes(num_roots: int, num_actions: int, num_simulations: int) -> int:
    """Computes the bytes a search allocates for its trees, before it is made.

    Args:
        num_roots: B.
        num_actions: A.
        num_simulations: S.

    Returns:
        Bytes of all tree and working arrays of the native backend, at most; what the network keeps is not included.

    Raises:
        ValueError: a number is not positive.

    Example:
        >>> memory_bytes(256, 18, 50) < 4_000_000
        True
    """
    for name, number in (("num_roots", num_roots), ("num_actions", num_actions), ("num_simulations", num_simulations)):
        if number < 1:
            raise ValueError(f"{name}: expected a number >= 1, got {number}")
    num_nodes = num_simulations + 1
    per_node = NODE_DTYPE.itemsize + 4 * num_actions + 8 + 28  # record, prior logits, scratch, children of the root
    per_root = 2 * 8 + 3 * 4 + num_actions * 8 + num_simulations * 4  # bounds, selected edge, Gumbel scores, schedule
    return num_roots * (num_nodes * per_node + per_root + 9 * 8) + CACHE_LINE + (2 * num_simulations + 4) * 8


def check_memory(num_roots: int, num_actions: int, num_simulations: int) -> None:
    """Refuses a search whose tree this machine cannot hold.

    Args:
        num_roots: B.
        num_actions: A.
        num_simulations: S.

    Raises:
        ValueError: the tree needs more than the machine's memory, or more nodes or actions than can be numbered.
    """
    needed = memory_bytes(num_roots, num_actions, num_simulations)
    available = _physical_memory()
    if needed > available or max(num_simulations, num_actions) > _MAX_INDEX:
        raise ValueError(
            f"num_simulations: a search of {num_roots} roots, {num_actions} actions and {num_simulations} simulations "
            f"needs {needed:,} bytes; expected at most the {available:,} of this machine, and at most {_MAX_INDEX:,} "
            "simulations or actions"
        )


@lru_cache(maxsize=1)
def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not a POSIX system: the allocation itself will tell
        return 2**62


def _make_backend(problem: SearchProblem, backend: str | None) -> Backend:
    chosen = os.environ.get("MCTS_BACKEND", "native") if backend is None else backend
    if chosen not in BACKENDS:
        source = "MCTS_BACKEND" if backend is None else "backend"
        raise ValueError(f"{source}: expected one of {', '.join(BACKENDS)}, got {chosen!r}")
    if chosen == "python":
        from mcts._reference import ReferenceSearch

        return ReferenceSearch(problem)
    try:
        from mcts._core import NativeSearch
    except ImportError as error:
        raise ImportError(
            "the native search core mcts._core is not built; build it with `pip install -e .` (needs a C compiler), "
            'or choose the slow reference with backend="python" or MCTS_BACKEND=python'
        ) from error
    if problem.leaves_per_step > 1 or problem.kept is not None:
        raise NotImplementedError('leaves_per_step > 1 and kept trees need backend="python"')
    return NativeSearch(problem)


class _Stepper:
    """Runs one step over all roots, in slices when there are several threads."""

    def __init__(self, search: Backend, num_roots: int, num_threads: int) -> None:
        self._search = search
        edges = [num_roots * i // num_threads for i in range(num_threads + 1)]
        self._slices = [(begin, end) for begin, end in pairwise(edges) if begin < end]
        self._pool = ThreadPoolExecutor(len(self._slices) - 1) if len(self._slices) > 1 else None

    def __enter__(self) -> Callable[[int], int]:
        if self._pool:
            return self._in_slices
        step, (begin, end) = self._search.step, self._slices[0]
        return lambda simulation: step(simulation, begin, end)

    def __exit__(self, *exception: object) -> None:
        if self._pool:
            self._pool.shutdown()

    def _in_slices(self, simulation: int) -> int:
        assert self._pool is not None
        futures = [self._pool.submit(self._search.step, simulation, *part) for part in self._slices[1:]]
        found = [self._search.step(simulation, *self._slices[0]), *(future.result() for future in futures)]
        return min((root for root in found if root >= 0), default=-1)


class _Inbox:
    """Checks what the network returns and hands it to the backend, at no cost when the same buffers come back."""

    def __init__(self, search: Backend, num_rows: int, num_actions: int) -> None:
        self._search = search
        self._shapes = ((num_rows,), (num_rows,), (num_rows, num_actions), (num_rows,))
        self._seen: list[object] = [None] * 4
        self._arrays: list[npt.NDArray[np.float32]] = [np.zeros(shape, np.float32) for shape in self._shapes]

    def put(self, output: RecurrentOutput, simulation: int) -> None:
        """Takes the output of one network call."""
        if not isinstance(output, tuple) or len(output) != 4:
            raise TypeError(
                f"recurrent_fn: expected a mcts.RecurrentOutput, got {type(output).__name__} in simulation {simulation}"
            )
        seen = self._seen
        if output[0] is seen[0] and output[1] is seen[1] and output[2] is seen[2] and output[3] is seen[3]:
            return
        for i, field in enumerate(output):
            if field is seen[i]:
                continue
            where = f"recurrent_fn, simulation {simulation}: {_OUTPUT_FIELDS[i]}"
            array = as_float32(where, field, self._shapes[i])
            self._arrays[i] = array
            # Only an array that is read in place may be recognised by its identity: a copy would grow stale.
            seen[i] = field if array is field else None
        self._search.receive(*self._arrays)

    def explain(self, row: int, root: int, simulation: int) -> str:
        """Says what is wrong with the numbers in one row."""
        reward, discount, prior_logits, value = (array[row] for array in self._arrays)
        where = f"recurrent_fn, simulation {simulation}, root {root}"
        if not np.isfinite(reward):
            return f"{where}: reward: expected a finite number, got {reward}"
        if not np.isfinite(value):
            return f"{where}: value: expected a finite number, got {value}"
        if not -1.0 <= discount <= 1.0:
            return f"{where}: discount: expected a number in [-1, 1], got {discount}"
        return f"{where}: prior_logits: {describe_bad_logits(prior_logits)}"


def describe_bad_logits(logits: npt.NDArray[np.float32]) -> str:
    """Says what keeps a row of logits from being a policy."""
    bad = np.flatnonzero(~(logits < np.inf))
    if bad.size:
        return f"expected finite numbers or -inf, got {logits[bad[0]]} for action {bad[0]}"
    return "expected a finite number for at least one action, got only -inf"


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
    result = array if type(array) is np.ndarray else np.asarray(array)
    if result.dtype != np.float32:
        if result.dtype.kind not in "fiu":
            raise TypeError(f"{name}: expected an array of floats, got dtype {result.dtype}")
        with np.errstate(over="ignore"):
            result = result.astype(np.float32)
    if result.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {result.shape}")
    return result if result.flags.c_contiguous and result.flags.aligned else np.ascontiguousarray(result)
