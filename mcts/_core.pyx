# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""Native tree search: one call backs up a simulation and selects the next, for any range of roots.

What makes it fast is told in docs/core.md. `_tree.pxd` says what is kept in memory, `_choice.pxd` how a node chooses,
`_grow.pxd` how a tree grows; here they are offered to Python. Everything below the class's public methods trusts its
input: `mcts.search` has checked it.
"""

import numpy as np

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, uintptr_t
from libc.string cimport memcpy, memset

from mcts import _memory
from mcts.tree import NODE_DTYPE, Tree, TreeSummary

from mcts._grow cimport advance, fetch, plant, select_step
from mcts._tree cimport BY_TREE, INFINITY, NAN, NONE, SCRATCH, Node, Root, Search, root_at

cdef extern from "_native.h":
    ctypedef int (*mcts_evaluate_fn)(
        void *context, const int32_t *parent_index, const int32_t *action, int32_t node_index, int32_t num_rows,
        int32_t begin, int32_t end, float *reward, float *discount, float *prior_logits, float *value
    ) noexcept nogil

cdef enum:
    AHEAD = 2   # roots whose memory is asked for while one is at work
    QUICK = 32  # so few edges are not worth letting other threads in

if sizeof(Node) != NODE_DTYPE.itemsize:
    raise ImportError(f"mcts._core was built for nodes of {sizeof(Node)} bytes, not {NODE_DTYPE.itemsize}: rebuild it")

cdef type ndarray = np.ndarray


cdef class NativeSearch:
    """Search over B trees at once; the counterpart of `mcts._reference.ReferenceSearch`.

    Attributes:
        parent_index: [R] int32, where the selected edges start; row k * B + b is leaf k of root b.
        action: [R] int32, the selected edges.
    """

    cdef readonly object parent_index
    cdef readonly object action
    cdef Search _s
    cdef tuple _tree
    cdef tuple _lent           # copies of the selected edges, for the network
    cdef int *_lent_edges
    cdef list _keep            # keeps alive what the pointers point to
    cdef Py_buffer[4] _answers
    cdef list _seen            # what the answers were read from, None where that was a copy

    def __cinit__(self):
        memset(self._answers, 0, sizeof(self._answers))

    def __dealloc__(self):
        for i in range(4):
            PyBuffer_Release(&self._answers[i])

    def __init__(self, problem):
        cdef Search *s = &self._s
        qtransform = problem.qtransform
        s.num_roots, s.num_actions = problem.prior_logits.shape
        s.num_nodes = problem.num_nodes
        s.num_slots = min(s.num_nodes, s.num_actions)
        s.num_simulations = problem.num_simulations
        s.first_node = problem.first_node
        s.num_leaves = min(problem.leaves_per_step, problem.num_simulations)
        s.max_depth = problem.max_depth
        s.depth_limited = problem.max_depth < problem.num_nodes
        s.gumbel = problem.root_scores is not None
        s.kind = qtransform.kind
        s.cached = s.num_leaves == 1 and s.kind != BY_TREE
        s.min_value = getattr(qtransform, "min_value", 0.0)
        s.max_value = getattr(qtransform, "max_value", 1.0)
        s.epsilon = getattr(qtransform, "epsilon", 1.0)
        s.value_scale = getattr(qtransform, "value_scale", 1.0)
        s.maxvisit_init = getattr(qtransform, "maxvisit_init", 0.0)
        s.rescale = getattr(qtransform, "rescale_values", False)
        s.mixed = getattr(qtransform, "use_mixed_value", False)
        s.virtual_loss = problem.virtual_loss
        self._keep = []
        self._seen = [None, None, None, None]
        self._lay_out(problem)
        self._plant(problem)

    def _lay_out(self, problem):
        """Divides two blocks of memory: the tree, which the result holds, and what only the search needs."""
        cdef Search *s = &self._s
        cdef Py_ssize_t num_records = s.num_roots * s.num_nodes
        cdef Py_ssize_t num_rows = s.num_roots * s.num_leaves
        cdef Py_ssize_t num_counts = len(problem.exploration) + 1
        cdef Py_ssize_t packed = 0 if s.gumbel else s.num_roots * s.num_slots
        cdef unsigned char[::1] view
        cdef Py_ssize_t i
        cdef double *doubles
        cdef int *ints
        cdef double *share

        block = _memory.take(num_records * (sizeof(Node) + sizeof(float) * s.num_actions))
        view = block
        s.nodes = <Node *>&view[0]
        s.logits = <float *>(s.nodes + num_records)
        shape = (s.num_roots, s.num_nodes)
        nodes = ndarray(shape, NODE_DTYPE, block)
        logits = ndarray((*shape, s.num_actions), np.float32, block, num_records * sizeof(Node))
        self._tree = nodes, logits

        num_doubles = s.num_roots * (2 + s.num_slots + SCRATCH) + num_counts + 3 * packed
        block = _memory.take(num_doubles * sizeof(double) + (5 * num_rows + packed) * sizeof(int))
        view = block
        doubles = <double *>&view[0]
        share = doubles
        s.bounds = share + num_counts
        s.scratch = s.bounds + 2 * s.num_roots
        s.child_q = s.scratch + s.num_roots * (s.num_slots + SCRATCH)
        s.child_prob = s.child_q + packed
        s.child_share = s.child_prob + packed
        ints = <int *>(s.child_share + packed)
        s.leaf_parent = ints
        s.leaf_action = ints + num_rows
        s.leaf_node = ints + 2 * num_rows
        s.child_node = ints + 5 * num_rows
        for i in range(num_counts):
            share[i] = 1.0 / (1.0 + i)
        s.share = share
        memset(ints, 0, 3 * num_rows * sizeof(int))
        self.parent_index = ndarray((num_rows,), np.int32, block, num_doubles * sizeof(double))
        self.action = ndarray((num_rows,), np.int32, block, num_doubles * sizeof(double) + num_rows * sizeof(int))
        lent = ndarray((2, num_rows), np.int32, block, num_doubles * sizeof(double) + 3 * num_rows * sizeof(int))
        self._lent = lent[0], lent[1]
        self._lent_edges = ints + 3 * num_rows
        self._keep.append(block)

    def _plant(self, problem):
        """Puts the roots, and what is kept of an earlier search, into the trees."""
        cdef Search *s = &self._s
        cdef const float[:, ::1] prior_logits = problem.prior_logits
        cdef const float[::1] value = problem.value
        cdef const double[::1] exploration = problem.exploration
        cdef const unsigned char[:, ::1] invalid = problem.invalid_actions.view(np.uint8)
        cdef const double[:, ::1] scores
        cdef const int[:, ::1] considered
        cdef const unsigned char[::1] kept_nodes
        cdef const float[:, :, ::1] kept_logits
        cdef const Node *records = NULL
        cdef Py_ssize_t b, a
        cdef Root r
        s.exploration = &exploration[0]
        self._keep.append(problem)
        if s.gumbel:
            scores = problem.root_scores
            considered = problem.considered_visits
            s.scores = &scores[0, 0]
            s.considered = &considered[0, 0]
        if problem.kept is not None:
            kept_nodes = np.ascontiguousarray(problem.kept.tree.nodes).reshape(-1).view(np.uint8)
            kept_logits = np.ascontiguousarray(problem.kept.tree.prior_logits)
            records = <const Node *>&kept_nodes[0]
        for b in range(s.num_roots):
            r = root_at(s, b, 0)
            for a in range(s.num_actions):
                r.logits[a] = NAN if invalid[b, a] else prior_logits[b, a]
            if records == NULL:
                plant(s, &r, value[b], NULL, NULL)
            else:
                plant(s, &r, value[b], records + b * s.first_node, &kept_logits[b, 0, 0])

    # The entries -----------------------------------------------------------------------------------------------------

    def start(self):
        """Selects the edges of the first step."""
        cdef Py_ssize_t b
        cdef Root r
        with nogil:
            for b in range(self._s.num_roots):
                r = root_at(&self._s, b, 0)
                select_step(&self._s, &r, 0)

    def receive(self, reward, discount, prior_logits, value):
        """Takes the arrays that the next `step` reads: float32, C-contiguous, of the right shapes."""
        self._hold(0, reward)
        self._hold(1, discount)
        self._hold(2, prior_logits)
        self._hold(3, value)

    def step(self, int simulation, Py_ssize_t begin, Py_ssize_t end):
        """Expands and backs up the leaves of one step and selects those of the next, for the roots in [begin, end).

        Args:
            simulation: number of the first simulation the received arrays answer, from 0.
            begin: first root.
            end: one past the last root.

        Returns:
            The first row whose received numbers are not usable, or -1.
        """
        if (end - begin) * self._s.num_leaves < QUICK:
            return _advance_all(&self._s, begin, end, simulation)
        with nogil:
            bad = _advance_all(&self._s, begin, end, simulation)
        return bad

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
        cdef Py_ssize_t bad, num_rows = s.num_roots * s.num_leaves
        cdef tuple output
        parent_index, action = self._lent
        self.start()
        while simulation < s.num_simulations:
            if num_rows > s.num_roots * (s.num_simulations - simulation):  # the last step asks for what is left
                num_rows = s.num_roots * (s.num_simulations - simulation)
                parent_index, action = parent_index[:num_rows], action[:num_rows]
                self._seen = [None, None, None, None]
            # a copy: whatever the network writes there, the search goes on where it was
            memcpy(self._lent_edges, s.leaf_parent, 2 * s.num_roots * s.num_leaves * sizeof(int))
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
            simulation += s.num_leaves

    def run_native(self, uintptr_t address, uintptr_t context, Py_ssize_t begin, Py_ssize_t end):
        """Runs the whole search of the roots in [begin, end) without Python; the received arrays are written to.

        Args:
            address: of the `mcts_evaluate_fn`.
            context: its first argument.
            begin: first root.
            end: one past the last root.

        Returns:
            The first simulation of the step that failed, the first row whose numbers are not usable or -1, and what the
            function returned; (-1, -1, 0) after a whole search.
        """
        cdef mcts_evaluate_fn evaluate = <mcts_evaluate_fn>address
        cdef Search *s = &self._s
        cdef int simulation = 0
        cdef int leaf, num_leaves, first_row
        cdef int status = 0
        cdef Py_ssize_t b
        cdef Py_ssize_t bad = -1
        cdef Root r
        with nogil:
            for b in range(begin, end):
                r = root_at(s, b, begin)
                select_step(s, &r, 0)
            while simulation < s.num_simulations:
                num_leaves = min(s.num_leaves, s.num_simulations - simulation)
                for leaf in range(num_leaves):
                    first_row = <int>(leaf * s.num_roots)
                    status = evaluate(
                        <void *>context, <const int32_t *>s.leaf_parent, <const int32_t *>s.leaf_action,
                        s.first_node + simulation, <int>(num_leaves * s.num_roots),
                        first_row + <int>begin, first_row + <int>end,
                        <float *>s.reward, <float *>s.discount, <float *>s.prior_logits, <float *>s.value
                    )
                    if status:
                        break
                if not status:
                    bad = _advance_all(s, begin, end, simulation)
                if status or bad >= 0:
                    break
                simulation += s.num_leaves
        if status or bad >= 0:
            return simulation, bad, status
        return -1, -1, 0

    def received(self):
        """Returns what the next `step` reads, as arrays: reward, discount, prior logits and value of every row."""
        return [np.asarray(<object>self._answers[i].obj) for i in range(4)]

    def finish(self):
        """Returns the tree, its prior logits written back where the search had marked actions as taken."""
        cdef Search *s = &self._s
        cdef Py_ssize_t b, a, i
        cdef Root r
        cdef Node *node
        visit_counts = np.zeros((s.num_roots, s.num_actions), np.int32)
        visit_probs = np.zeros((s.num_roots, s.num_actions), np.float32)
        qvalues = np.zeros((s.num_roots, s.num_actions))
        value = np.empty(s.num_roots)
        cdef int[:, ::1] counts = visit_counts
        cdef float[:, ::1] probs = visit_probs
        cdef double[:, ::1] q = qvalues
        cdef double[::1] mean = value
        cdef int total
        with nogil:
            for b in range(s.num_roots):
                r = root_at(s, b, 0)
                mean[b] = r.nodes.value_sum / r.nodes.visits
                total = 0
                i = r.nodes.first_child
                while i != NONE:
                    node = r.nodes + i
                    counts[b, node.action] = node.visits
                    q[b, node.action] = node.qvalue
                    total += node.visits
                    i = node.next_sibling
                for a in range(s.num_actions):
                    probs[b, a] = <float>(<double>counts[b, a] / total)
                for i in range(1, s.num_nodes):
                    node = r.nodes + i
                    if node.parent != NONE:
                        r.logits[node.parent * s.num_actions + node.action] = node.prior_logit
                for a in range(s.num_actions):
                    if r.logits[a] != r.logits[a]:
                        r.logits[a] = -INFINITY
        return Tree(*self._tree, TreeSummary(visit_counts, visit_probs, qvalues, value))

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


cdef Py_ssize_t _advance_all(const Search *s, Py_ssize_t begin, Py_ssize_t end, int simulation) noexcept nogil:
    """Takes a step in every root of a range; returns the first row whose numbers are not usable, or -1."""
    cdef Py_ssize_t b, row
    cdef Py_ssize_t bad = -1
    cdef int leaf
    for b in range(begin, end):
        if b + AHEAD < end:
            fetch(s, b + AHEAD, simulation)
        leaf = advance(s, b, begin, simulation)
        if leaf >= 0:
            row = leaf * s.num_roots + b
            if bad < 0 or row < bad:
                bad = row
    return bad
