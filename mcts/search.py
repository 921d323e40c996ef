"""The search loop: select an edge in every tree, ask the network once for the whole batch, expand and back up."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mcts import checks
from mcts._isa import default_instruction_set
from mcts.checks import as_float32
from mcts.native import NativeRecurrentFn, raise_failure, through_ctypes
from mcts.tree import NODE_DTYPE, Tree
from mcts.types import RecurrentFn, RecurrentOutput, SearchProblem

BACKENDS = ("native", "python")

Slices = list[tuple[int, int, int]]

_BEYOND_ALL = 2**56  # bytes
_OUTPUT_FIELDS = RecurrentOutput._fields


class Backend(Protocol):
    """Is what both implementations of the tree offer to the loop."""

    @property
    def parent_index(self) -> npt.NDArray[np.int32]:
        """Returns [R] int32, where the selected edges start."""

    @property
    def action(self) -> npt.NDArray[np.int32]:
        """Returns [R] int32, the selected edges."""

    def start(self) -> None:
        """Selects the first edge of every root."""

    def receive(self, reward: Any, discount: Any, prior_logits: Any, value: Any) -> None:
        """Takes the arrays that the next `step` reads."""

    def step(self, simulation: int, begin: int, end: int, worker: int = 0) -> int:
        """Expands, backs up and selects anew for some roots; returns the first row with unusable numbers or -1."""

    def finish(self) -> Tree:
        """Returns the tree."""


def run_search(
    problem: SearchProblem, recurrent_fn: RecurrentFn, *, num_threads: int = 1, backend: str | None = None
) -> Tree:
    """Searches all trees of a problem, one network call per step.

    Args:
        problem: the validated search.
        recurrent_fn: the network; see `mcts.RecurrentFn`.
        num_threads: how many threads share the roots between two network calls, or all the way where the network is a
            `mcts.NativeRecurrentFn`.
        backend: "native" or "python"; None reads the environment variable MCTS_BACKEND, native where it is not set.

    Returns:
        The search tree.

    Raises:
        ValueError: a number in the network's output is not usable, or an argument is not.
        TypeError: an output is not an array of floats.
        RuntimeError: a native network answered with an error.
    """
    slices = _divide(len(problem.value), num_threads)
    search = _make_backend(problem, backend, len(slices))
    inbox = Inbox(*problem.prior_logits.shape)
    run_alone = getattr(search, "run", None)  # the native backend's own loop
    if isinstance(recurrent_fn, NativeRecurrentFn) and run_alone:
        _run_without_python(search, problem, recurrent_fn, inbox, slices)
        return search.finish()
    if isinstance(recurrent_fn, NativeRecurrentFn):
        recurrent_fn = through_ctypes(recurrent_fn, problem.prior_logits.shape[1])
    if run_alone and len(slices) == 1:
        run_alone(recurrent_fn, inbox)
    else:
        _run_in_slices(search, problem, recurrent_fn, inbox, slices)
    return search.finish()


def _run_in_slices(
    search: Backend, problem: SearchProblem, recurrent_fn: RecurrentFn, inbox: Inbox, slices: Slices
) -> None:
    """Steps through a search, the roots divided among threads between two network calls."""
    search.start()
    with ThreadPoolExecutor(max(len(slices) - 1, 1)) as pool:
        for simulation in range(0, problem.num_simulations, problem.leaves_per_step):
            num_rows = len(problem.value) * problem.leaves_at(simulation)
            # copies: whatever the network writes there, the search goes on where it was
            edges = search.parent_index[:num_rows].copy(), search.action[:num_rows].copy()
            output = recurrent_fn(*edges, problem.first_node + simulation)
            if not isinstance(output, tuple) or len(output) != 4:
                inbox.refuse(output, simulation)
            arrays = [inbox.convert(i, field, num_rows, simulation) for i, field in enumerate(output)]
            search.receive(*arrays)
            others = [pool.submit(search.step, simulation, *part) for part in slices[1:]]
            found = [search.step(simulation, *slices[0]), *(other.result() for other in others)]
            bad_row = min((row for row in found if row >= 0), default=-1)
            if bad_row >= 0:
                inbox.explain(arrays, bad_row, simulation)


def _run_without_python(
    search: Any, problem: SearchProblem, native: NativeRecurrentFn, inbox: Inbox, slices: Slices
) -> None:
    """Lets every thread search its own roots to the end."""
    search.expect_native()
    model = native.address, native.context
    if len(slices) == 1:
        found = [search.run_native(*model, *slices[0])]
    else:
        with ThreadPoolExecutor(len(slices) - 1) as pool:
            try:
                others = [pool.submit(search.run_native, *model, *part) for part in slices[1:]]
                found = [search.run_native(*model, *slices[0]), *(other.result() for other in others)]
            except BaseException:  # Ctrl-C reaches this thread only
                search.stop()
                raise
    simulation, bad_row, status = min((stop for stop in found if stop is not None), default=(-1, -1, 0))
    if status:
        raise_failure(status, problem.first_node + simulation)
    if simulation >= 0:
        inbox.explain(search.received(), bad_row, simulation)


def _divide(num_roots: int, num_threads: int) -> Slices:
    """Divides the roots among threads: the first root, one past the last, and the number of the thread."""
    if num_threads == 1:
        return [(0, num_roots, 0)]
    workers = min(num_roots, num_threads)
    edges = [num_roots * i // workers for i in range(workers + 1)]
    return [(begin, end, worker) for worker, (begin, end) in enumerate(pairwise(edges))]


def memory_bytes(num_roots: int, num_actions: int, num_simulations: int, *, leaves_per_step: int = 1) -> int:
    """Computes the bytes a search allocates for its trees, before it is made.

    Args:
        num_roots: B.
        num_actions: A.
        num_simulations: S; the nodes of a kept tree count like simulations.
        leaves_per_step: K.

    Returns:
        Bytes of all tree and working arrays of the native backend, for one thread; what the network keeps is not
        included.

    Raises:
        TypeError: an argument is not an int.
        ValueError: a number is not positive.

    Example:
        >>> memory_bytes(256, 18, 50) < 4_000_000
        True
    """
    arguments = {"num_roots": num_roots, "num_actions": num_actions, "num_simulations": num_simulations}
    for name, number in (arguments | {"leaves_per_step": leaves_per_step}).items():
        checks.count(name, number)
    trees = num_roots * (num_simulations + 1) * (NODE_DTYPE.itemsize + 4 * num_actions)
    if max(trees, num_roots * leaves_per_step) > _BEYOND_ALL:  # the rest does not matter, and C could not count it
        return trees
    try:
        from mcts._core import memory_bytes as of_native
    except ImportError:  # the dense arrays of the reference
        return num_roots * (num_simulations + 1) * (NODE_DTYPE.itemsize + 32 + 32 * num_actions)
    return of_native(num_roots, num_actions, num_simulations, leaves_per_step, 1)


def _make_backend(problem: SearchProblem, backend: str | None, num_workers: int) -> Backend:
    if checks.backend(backend, BACKENDS) == "python":
        from mcts._reference import ReferenceSearch

        return ReferenceSearch(problem)
    try:
        from mcts._core import NativeSearch
    except ImportError as error:
        raise ImportError(
            "the native search core mcts._core is not built; build it with `pip install -e .` (needs a C compiler), "
            'or choose the slow reference with backend="python" or MCTS_BACKEND=python'
        ) from error
    return NativeSearch(problem, default_instruction_set(), num_workers)


class Inbox:
    """Checks what the network returns, where the native core could not see at once that it is in order."""

    def __init__(self, num_roots: int, num_actions: int) -> None:
        self._num_roots = num_roots
        self._num_actions = num_actions

    def refuse(self, output: object, simulation: int) -> None:
        """Raises TypeError: the network returned something else than four fields."""
        raise TypeError(
            f"recurrent_fn: expected a mcts.RecurrentOutput, got {type(output).__name__} in simulation {simulation}"
        )

    def convert(self, i: int, field: Any, num_rows: int, simulation: int) -> npt.NDArray[np.float32]:
        """Returns a field of the output as a float32 array of the right shape."""
        where = f"recurrent_fn, simulation {simulation}: {_OUTPUT_FIELDS[i]}"
        return as_float32(where, field, (num_rows, self._num_actions) if i == 2 else (num_rows,))

    def explain(self, arrays: Sequence[npt.NDArray[np.float32]], row: int, simulation: int) -> None:
        """Raises ValueError: says what is wrong with the numbers in one row of a step."""
        leaf, root = divmod(row, self._num_roots)
        problem = checks.describe_bad_answer(*(array[row] for array in arrays))
        raise ValueError(f"recurrent_fn, simulation {simulation + leaf}, root {root}: {problem}")
