# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""The door to the native tree search, which is C: see `core/search.h` for one simulation, docs/core.md for the map.

Here arrays become pointers, and what C found wrong becomes an error. Everything below the class's public methods trusts
its input: `mcts.policies` has checked it.
"""

from time import perf_counter

import numpy as np

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport NAN
from libc.stdint cimport int32_t, uint8_t, uintptr_t
from libc.string cimport memcpy, memset

from mcts.tree import NODE_DTYPE, Tree

from mcts._memory cimport Block, take
from mcts._marshal cimport Transform, data, read_transform

cdef extern from "_native.h":
    ctypedef int (*mcts_evaluate_fn)(
        void *context, const int32_t *parent_index, const int32_t *action, int32_t node_index, int32_t num_rows,
        int32_t begin, int32_t end, float *reward, float *discount, float *prior_logits, float *value
    ) noexcept nogil

cdef extern from "core/tree.h" nogil:
    enum: BY_TREE
    ctypedef struct Node:
        pass
    ctypedef struct Search:
        Py_ssize_t num_roots, num_nodes, num_actions, num_slots
        int32_t num_simulations, first_node, leaves_per_step, max_depth
        int depth_limited, gumbel, cached
        Transform qtransform
        double virtual_loss
        Node *nodes
        float *logits
        double *share
        const double *exploration
        const double *scores
        const int32_t *considered
        int32_t *leaf_parent
        int32_t *leaf_action
        int32_t *lent
        const float *reward
        const float *discount
        const float *prior_logits
        const float *value
    int leaves_at(const Search *s, int simulation)

cdef extern from "core/layout.h" nogil:
    size_t lay_out(Search *s, Py_ssize_t num_counts, Py_ssize_t num_workers, void *memory)

cdef extern from "core/table.h" nogil:
    enum: FINE, BAD_ANSWER, NO_CHOICE, MOST_SETS
    ctypedef struct Stop:
        int reason
        Py_ssize_t row
    ctypedef struct InstructionSet:
        const char *name
        void (*plant)(const Search *s, Py_ssize_t b, float value, const Node *kept,
                      const float *kept_logits) noexcept nogil
        Py_ssize_t (*start)(const Search *s, Py_ssize_t begin, Py_ssize_t end, int worker) noexcept nogil
        Stop (*step)(const Search *s, Py_ssize_t begin, Py_ssize_t end, int simulation, int worker) noexcept nogil
        void (*finish)(const Search *s, Py_ssize_t b) noexcept nogil
    int list_instruction_sets "instruction_sets"(const InstructionSet **sets)

cdef enum:
    QUICK = 32       # so few edges are not worth letting other threads in
    BLOCK = 48       # roots that a native network and the search take to the end before the next
    FIRST_STEPS = 64  # of a native network, before the first look at signals

SIGNAL_SECONDS = 0.05  # about how often a native search looks whether it is interrupted

if sizeof(Node) != NODE_DTYPE.itemsize:
    raise ImportError(f"mcts._core was built for nodes of {sizeof(Node)} bytes, not {NODE_DTYPE.itemsize}: rebuild it")

cdef type ndarray = np.ndarray
cdef object int32 = np.dtype(np.int32)
cdef object float32 = np.dtype(np.float32)


def instruction_sets():
    """Returns the names of the instruction sets that the search can use on this machine, the fastest first."""
    cdef const InstructionSet *sets[MOST_SETS]
    cdef int i
    return tuple(sets[i].name.decode() for i in range(list_instruction_sets(sets)))


cdef const InstructionSet *_instruction_set(name) except NULL:
    cdef const InstructionSet *sets[MOST_SETS]
    cdef int i
    for i in range(list_instruction_sets(sets)):
        if sets[i].name.decode() == name:
            return sets[i]
    raise ValueError(f"instruction_set: expected one of {', '.join(instruction_sets())}, got {name!r}")


def memory_bytes(Py_ssize_t num_roots, Py_ssize_t num_actions, Py_ssize_t num_simulations, Py_ssize_t leaves_per_step,
                 Py_ssize_t num_threads):
    """Returns the bytes of a search's trees and of all its working arrays; see `mcts.memory_bytes`."""
    cdef Search s
    memset(&s, 0, sizeof(s))
    s.num_roots = num_roots
    s.num_slots = min(num_simulations + 1, num_actions)
    s.leaves_per_step = <int32_t>min(leaves_per_step, num_simulations)
    tree = num_roots * (num_simulations + 1) * (<Py_ssize_t>sizeof(Node) + 4 * num_actions)
    tree += num_roots * (8 * num_actions + 4 * num_simulations)  # Gumbel's scores and schedules
    return tree + lay_out(&s, num_simulations + 3, min(num_threads, num_roots), NULL)


cdef class NativeSearch:
    """Search over B trees at once; the counterpart of `mcts._reference.ReferenceSearch`.

    Attributes:
        parent_index: [R] int32, where the selected edges start; row k * B + b is leaf k of root b.
        action: [R] int32, the selected edges.
    """

    cdef Search _s
    cdef const InstructionSet *_isa
    cdef tuple _tree
    cdef Block _work           # what only the search needs
    cdef object _problem       # keeps alive what the pointers point to
    cdef Py_buffer[4] _answers
    cdef list _seen            # what the answers were read from, None where that was a copy
    cdef Block _native_answers
    cdef bint _stopped

    def __cinit__(self):
        memset(self._answers, 0, sizeof(self._answers))

    def __dealloc__(self):
        for i in range(4):
            PyBuffer_Release(&self._answers[i])

    def __init__(self, problem, instruction_set, Py_ssize_t num_workers=1):
        cdef Search *s = &self._s
        self._isa = _instruction_set(instruction_set)
        s.num_roots, s.num_actions = problem.prior_logits.shape
        s.num_nodes = problem.num_nodes
        s.num_slots = min(s.num_nodes, s.num_actions)
        s.num_simulations = problem.num_simulations
        s.first_node = problem.first_node
        s.leaves_per_step = problem.leaves_at(0)
        s.max_depth = min(problem.max_depth, s.num_nodes)
        s.depth_limited = s.max_depth < s.num_nodes - 1
        s.gumbel = problem.root_scores is not None
        s.qtransform = read_transform(problem.qtransform)
        s.cached = s.leaves_per_step == 1 and s.qtransform.kind != BY_TREE
        s.virtual_loss = problem.virtual_loss
        self._seen = [None, None, None, None]
        self._problem = problem
        self._lay_out(len(problem.exploration) + 1, num_workers)
        self._plant(problem)

    cdef _lay_out(self, Py_ssize_t num_counts, Py_ssize_t num_workers):
        """Takes memory: two blocks for the tree, which the result holds, and one for what only the search needs."""
        cdef Search *s = &self._s
        cdef Py_ssize_t num_rows = s.num_roots * s.leaves_per_step
        cdef Py_ssize_t i
        cdef Block nodes = take(s.num_roots * s.num_nodes * sizeof(Node))
        cdef Block logits = take(s.num_roots * s.num_nodes * s.num_actions * sizeof(float))
        self._work = take(lay_out(s, num_counts, num_workers, NULL))
        lay_out(s, num_counts, num_workers, self._work.address)
        s.nodes = <Node *>nodes.address
        s.logits = <float *>logits.address
        for i in range(num_counts):
            s.share[i] = 1.0 / (1.0 + i)
        memset(s.leaf_parent, 0, num_rows * sizeof(int32_t))
        memset(s.leaf_action, 0, num_rows * sizeof(int32_t))
        shape = (s.num_roots, s.num_nodes)
        self._tree = ndarray(shape, NODE_DTYPE, nodes), ndarray((*shape, s.num_actions), float32, logits)

    cdef object _edges(self, int32_t *numbers):
        """Returns the array over a piece of the working memory."""
        num_rows = self._s.num_roots * self._s.leaves_per_step
        return ndarray((num_rows,), int32, self._work, <char *>numbers - self._work.address)

    @property
    def parent_index(self):
        return self._edges(self._s.leaf_parent)

    @property
    def action(self):
        return self._edges(self._s.leaf_action)

    cdef _plant(self, problem):
        """Puts the roots, and what is kept of an earlier search, into the trees."""
        cdef Search *s = &self._s
        cdef const float *prior_logits = <const float *>data(problem.prior_logits)
        cdef const float *value = <const float *>data(problem.value)
        cdef const uint8_t *invalid = <const uint8_t *>data(problem.invalid_actions)
        cdef const Node *kept = NULL
        cdef const float *kept_logits = NULL
        cdef Py_ssize_t b, a, n = s.num_actions
        cdef float *logits
        s.exploration = <const double *>data(problem.exploration)
        if s.gumbel:
            s.scores = <const double *>data(problem.root_scores)
            s.considered = <const int32_t *>data(problem.considered_visits)
        if problem.kept is not None:
            kept_arrays = problem.kept.tree.nodes, problem.kept.tree.prior_logits
            kept, kept_logits = <const Node *>data(kept_arrays[0]), <const float *>data(kept_arrays[1])
        with nogil:
            for b in range(s.num_roots):
                logits = s.logits + b * s.num_nodes * n
                for a in range(n):
                    logits[a] = NAN if invalid[b * n + a] else prior_logits[b * n + a]
                if kept == NULL:
                    self._isa.plant(s, b, value[b], NULL, NULL)
                else:
                    self._isa.plant(s, b, value[b], kept + b * s.first_node, kept_logits + b * s.first_node * n)

    # The entries -----------------------------------------------------------------------------------------------------

    def start(self):
        """Selects the edges of the first step."""
        cdef Py_ssize_t root
        with nogil:
            root = self._isa.start(&self._s, 0, self._s.num_roots, 0)
        if root >= 0:
            _refuse_scores(root)

    def receive(self, reward, discount, prior_logits, value):
        """Takes the arrays that the next `step` reads: float32, C-contiguous, of the right shapes."""
        self._hold(0, reward)
        self._hold(1, discount)
        self._hold(2, prior_logits)
        self._hold(3, value)

    def step(self, int simulation, Py_ssize_t begin, Py_ssize_t end, int worker=0):
        """Expands and backs up the leaves of one step and selects those of the next, for the roots in [begin, end).

        Args:
            simulation: number of the first simulation the received arrays answer, from 0.
            begin: first root.
            end: one past the last root.
            worker: number of the thread; no two may use the same at a time.

        Returns:
            The first row whose received numbers are not usable, or -1.

        Raises:
            ValueError: scores are not numbers.
        """
        cdef Stop stop
        if (end - begin) * self._s.leaves_per_step < QUICK:
            stop = self._isa.step(&self._s, begin, end, simulation, worker)
        else:
            with nogil:
                stop = self._isa.step(&self._s, begin, end, simulation, worker)
        if stop.reason == NO_CHOICE:
            _refuse_scores(stop.row)
        return stop.row

    def run(self, recurrent_fn, inbox):
        """Runs the whole search on this thread.

        Args:
            recurrent_fn: the network.
            inbox: the `mcts.search.Inbox` that checks what is not float32 arrays of the right shape.

        Raises:
            ValueError: a number in the network's output is not usable, or a shape is wrong.
            TypeError: an output is not what it must be.
        """
        cdef Search *s = &self._s
        cdef int simulation = 0
        cdef Py_ssize_t bad, asked, num_rows = s.num_roots * s.leaves_per_step
        cdef tuple output
        parent_index, action = self._edges(s.lent), self._edges(s.lent + num_rows)
        self.start()
        while simulation < s.num_simulations:
            asked = s.num_roots * leaves_at(s, simulation)
            if asked != num_rows:  # the last step asks for what is left
                num_rows = asked
                parent_index, action = parent_index[:num_rows], action[:num_rows]
                self._seen = [None, None, None, None]
            # a copy: whatever the network writes there, the search goes on where it was
            memcpy(&s.lent[0], s.leaf_parent, num_rows * sizeof(int32_t))
            memcpy(&s.lent[s.num_roots * s.leaves_per_step], s.leaf_action, num_rows * sizeof(int32_t))
            answer = recurrent_fn(parent_index, action, s.first_node + simulation)
            if not isinstance(answer, tuple) or len(<tuple>answer) != 4:
                inbox.refuse(answer, simulation)
            output = <tuple>answer
            for i in range(4):
                if output[i] is not self._seen[i] or output[i] is None:
                    self._take(i, output[i], num_rows, inbox, simulation)
            bad = self.step(simulation, 0, s.num_roots)
            if bad >= 0:
                inbox.explain(self.received(), bad, simulation)
            simulation += s.leaves_per_step
            PyErr_CheckSignals()  # a network that is not Python leaves that to us

    def expect_native(self):
        """Makes room for the answers of a native network, all NaN, so that a row it leaves out is noticed."""
        cdef Py_ssize_t num_rows = self._s.num_roots * self._s.leaves_per_step, i
        cdef Py_ssize_t num_numbers = num_rows * (3 + self._s.num_actions)
        cdef Block block = take(num_numbers * sizeof(float))
        cdef float *numbers = <float *>block.address
        for i in range(num_numbers):
            numbers[i] = NAN
        self._native_answers = block
        self._s.reward = numbers
        self._s.discount = numbers + num_rows
        self._s.value = numbers + 2 * num_rows
        self._s.prior_logits = numbers + 3 * num_rows

    def run_native(self, uintptr_t address, uintptr_t context, Py_ssize_t begin, Py_ssize_t end, int worker=0):
        """Runs the whole search of the roots in [begin, end) without Python, after `expect_native`.

        Args:
            address: of the `mcts_evaluate_fn`.
            context: its first argument.
            begin: first root.
            end: one past the last root.
            worker: number of the thread; no two may use the same at a time.

        Returns:
            The first simulation of the step that failed, the first row whose numbers are not usable or -1, and what the
            function returned; None after a whole search, or where `stop` was called.

        Raises:
            ValueError: scores are not numbers.
            KeyboardInterrupt: and whatever else a signal handler raises.
        """
        cdef Py_ssize_t first
        cdef int last = self._s.num_simulations
        failure = None
        for first in range(begin, end, BLOCK):
            found = self._run_block(<mcts_evaluate_fn>address, <void *>context, first, min(first + BLOCK, end), last,
                                    worker)
            if found is None or (failure is not None and failure <= found):
                continue
            failure = found
            last = min(found[0] + self._s.leaves_per_step, last)  # another block may fail earlier
            if found[2]:
                break
        return failure

    def stop(self):
        """Makes every `run_native` end soon, wherever it is."""
        self._stopped = True

    cdef _run_block(self, mcts_evaluate_fn evaluate, void *context, Py_ssize_t begin, Py_ssize_t end, int last,
                    int worker):
        """Takes some roots up to a simulation; returns what `run_native` does."""
        cdef Search *s = &self._s
        cdef int simulation = 0, status = 0, steps = FIRST_STEPS, _step
        cdef Stop stop = Stop(FINE, self._isa.start(s, begin, end, worker))
        if stop.row >= 0:
            _refuse_scores(stop.row)
        began = perf_counter()
        while simulation < last and not self._stopped:
            with nogil:
                for _step in range(steps):
                    status = _evaluate(s, evaluate, context, begin, end, simulation)
                    if not status:
                        stop = self._isa.step(s, begin, end, simulation, worker)
                    if status or stop.reason != FINE:
                        break
                    simulation += s.leaves_per_step
                    if simulation >= last:
                        break
            if stop.reason == NO_CHOICE:
                _refuse_scores(stop.row)
            if status or stop.reason != FINE:
                return simulation, stop.row, status
            PyErr_CheckSignals()
            now = perf_counter()
            steps = max(1, min(2 * steps, <int>(steps * SIGNAL_SECONDS / max(now - began, 1e-6))))
            began = now
        return None

    def received(self):
        """Returns what the next `step` reads, as arrays: reward, discount, prior logits and value of every row."""
        if self._native_answers is None:
            return [np.asarray(<object>self._answers[i].obj) for i in range(4)]
        num_rows = self._s.num_roots * self._s.leaves_per_step
        reward, discount, value = ndarray((3, num_rows), float32, self._native_answers)
        shape, begin = (num_rows, self._s.num_actions), 3 * num_rows * sizeof(float)
        return [reward, discount, ndarray(shape, float32, self._native_answers, begin), value]

    def finish(self):
        """Returns the tree, its prior logits written back where the search had marked actions as taken."""
        cdef Py_ssize_t b
        with nogil:
            for b in range(self._s.num_roots):
                self._isa.finish(&self._s, b)
        return Tree(*self._tree)

    # The network's answers -------------------------------------------------------------------------------------------

    cdef int _hold(self, int i, object array) except -1:
        """Reads one field of the answers from an array until the next comes."""
        cdef Py_buffer view
        PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        self._read_from(i, view)
        return 0

    cdef int _read_from(self, int i, Py_buffer view) except -1:
        PyBuffer_Release(&self._answers[i])
        self._answers[i] = view
        if i == 0:
            self._s.reward = <const float *>view.buf
        elif i == 1:
            self._s.discount = <const float *>view.buf
        elif i == 2:
            self._s.prior_logits = <const float *>view.buf
        else:
            self._s.value = <const float *>view.buf
        return 0

    cdef int _take(self, int i, object field, Py_ssize_t num_rows, object inbox, int simulation) except -1:
        """Takes one field of the answers, as it is where it is float32 of the right shape."""
        if not self._fits(i, field, num_rows):
            array = inbox.convert(i, field, num_rows, simulation)
            # Only an array that is read in place may be recognised by its identity: a copy would grow stale.
            self._seen[i] = field if array is field else None
            self._hold(i, array)
            return 0
        self._seen[i] = field
        return 0

    cdef bint _fits(self, int i, object field, Py_ssize_t num_rows) except -1:
        """Holds a field of the answers if it can be read in place; False if not."""
        cdef Py_buffer view
        cdef bint fits
        if type(field) is not ndarray:
            return False
        try:
            PyObject_GetBuffer(field, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        except (BufferError, ValueError):
            return False
        fits = (
            view.format[0] == c"f" and view.format[1] == 0 and view.ndim == (2 if i == 2 else 1)
            and view.shape[0] == num_rows and (i != 2 or view.shape[1] == self._s.num_actions)
            and <uintptr_t>view.buf % sizeof(float) == 0
        )
        if fits:
            self._read_from(i, view)
        else:
            PyBuffer_Release(&view)
        return fits


cdef int _evaluate(const Search *s, mcts_evaluate_fn evaluate, void *context, Py_ssize_t begin, Py_ssize_t end,
                   int simulation) noexcept nogil:
    """Asks a native network for one step of a range of roots; returns its status."""
    cdef int32_t num_leaves = leaves_at(s, simulation)
    cdef int32_t leaf, first_row
    cdef int status
    for leaf in range(num_leaves):
        first_row = leaf * <int32_t>s.num_roots
        status = evaluate(
            context, s.leaf_parent, s.leaf_action, s.first_node + simulation, num_leaves * <int32_t>s.num_roots,
            first_row + <int32_t>begin, first_row + <int32_t>end,
            <float *>s.reward, <float *>s.discount, <float *>s.prior_logits, <float *>s.value
        )
        if status:
            return status
    return 0


cdef int _refuse_scores(Py_ssize_t root) except -1:
    raise ValueError(
        f"qtransform: expected Q-values and constants whose scores are numbers, got none that is one at root {root}; "
        "choose constants nearer to 1"
    )
