# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""The door to what the policies do around a search: `core/policy.h` and `core/noise.h`, over all roots.

The same in NumPy stands in `mcts/_twin.py` and `mcts/_random.py`; for a few roots, most of NumPy's time is calling it.
"""

import numpy as np

from libc.math cimport isfinite
from libc.stdint cimport int32_t, uint8_t, uint64_t

from mcts._transform cimport Transform, read_transform

from mcts.nodes import NODE_DTYPE

cdef extern from *:
    """
    #define VECTOR_BYTES 16
    #include "core/policy.h"
    """
    ctypedef struct Node:
        pass
    ctypedef struct ResultRow:
        int32_t *action
        int32_t *visit_counts
        float *action_weights
        float *qvalues
        float *root_value
        float *improved_value
    uint64_t mix(uint64_t x) nogil
    uint64_t draw(uint64_t key, uint64_t purpose, uint64_t i) nogil
    double standard_gumbel(uint64_t key, uint64_t purpose, uint64_t i) nogil
    void draw_dirichlet "dirichlet"(uint64_t key, double alpha, const uint8_t *invalid, int n, double *out) nogil
    int mask_logits(const float *logits, const uint8_t *invalid, int n, float *out) nogil
    void add_dirichlet(float *logits, const uint8_t *invalid, int n, uint64_t key, double fraction, double alpha,
                       double *scratch) nogil
    void gumbel_scores(const float *logits, int n, uint64_t key, double scale, double *scores) nogil
    void considered_visits(int num_considered, int num_simulations, int32_t *out) nogil
    void gumbel_result(const Transform *qt, const Node *nodes, Py_ssize_t num_nodes, const float *logits,
                       const uint8_t *invalid, const double *scores, int n, double *scratch,
                       const ResultRow *row) nogil
    void puct_result(const Node *nodes, Py_ssize_t num_nodes, uint64_t key, double temperature, int n,
                     double *scratch, const ResultRow *row) nogil

if sizeof(Node) != NODE_DTYPE.itemsize:
    raise ImportError(f"mcts._policy was built for nodes of {sizeof(Node)} bytes, not {NODE_DTYPE.itemsize}: rebuild it")


# Random numbers ------------------------------------------------------------------------------------------------------


def seed_keys(uint64_t seed, Py_ssize_t num_roots):
    """Returns the keys of the roots of a search with a seed, [B] uint64."""
    result = np.empty(num_roots, np.uint64)
    cdef uint64_t[::1] out = result
    cdef uint64_t key = mix(seed)
    cdef Py_ssize_t b
    for b in range(num_roots):
        out[b] = draw(key, 0, b)
    return result


def stream(keys, int purpose, Py_ssize_t length):
    """See `mcts._random.stream`."""
    cdef const uint64_t[::1] key = np.ascontiguousarray(keys)
    result = np.empty((key.shape[0], length), np.uint64)
    cdef uint64_t[:, ::1] out = result
    cdef Py_ssize_t b, i
    for b in range(key.shape[0]):
        for i in range(length):
            out[b, i] = draw(key[b], purpose, i)
    return result


def gumbel(keys, int purpose, Py_ssize_t length):
    """See `mcts._random.gumbel`."""
    cdef const uint64_t[::1] key = np.ascontiguousarray(keys)
    result = np.empty((key.shape[0], length))
    cdef double[:, ::1] out = result
    cdef Py_ssize_t b, i
    for b in range(key.shape[0]):
        for i in range(length):
            out[b, i] = standard_gumbel(key[b], purpose, i)
    return result


def dirichlet(keys, double alpha, legal):
    """See `mcts._random.dirichlet`."""
    cdef const uint64_t[::1] key = np.ascontiguousarray(keys)
    cdef const uint8_t[:, ::1] invalid = np.ascontiguousarray(~legal).view(np.uint8)
    result = np.empty(legal.shape)
    cdef double[:, ::1] out = result
    cdef Py_ssize_t b
    for b in range(out.shape[0]):
        draw_dirichlet(key[b], alpha, &invalid[b, 0], <int>out.shape[1], &out[b, 0])
    return result


# Before the search ---------------------------------------------------------------------------------------------------


cdef int _check(const float[:, ::1] logits, const float[::1] value, const uint8_t[:, ::1] invalid,
                float[:, ::1] out) noexcept nogil:
    """Copies the logits, -inf where forbidden; False if a number is not usable or everything is forbidden."""
    cdef Py_ssize_t b
    cdef bint usable = True
    for b in range(value.shape[0]):
        if not mask_logits(&logits[b, 0], &invalid[b, 0], <int>logits.shape[1], &out[b, 0]) or not isfinite(value[b]):
            usable = False
    return usable


def prepare_puct(const float[:, ::1] prior_logits, const float[::1] value, invalid_actions, const uint64_t[::1] keys,
                 double fraction, double alpha):
    """See `mcts._twin.prepare_puct`."""
    cdef const uint8_t[:, ::1] invalid = invalid_actions.view(np.uint8)
    cdef int n = <int>prior_logits.shape[1]
    cdef Py_ssize_t b
    result = np.empty((prior_logits.shape[0], n), np.float32)
    cdef float[:, ::1] logits = result
    cdef double[::1] scratch
    if not _check(prior_logits, value, invalid, logits):
        return None
    if fraction > 0.0:
        scratch = np.empty(2 * n)
        with nogil:
            for b in range(logits.shape[0]):
                add_dirichlet(&logits[b, 0], &invalid[b, 0], n, keys[b], fraction, alpha, &scratch[0])
    return result


def prepare_gumbel(const float[:, ::1] prior_logits, const float[::1] value, invalid_actions,
                   const uint64_t[::1] keys, const double[::1] scale, int max_considered, int num_simulations):
    """See `mcts._twin.prepare_gumbel`."""
    cdef const uint8_t[:, ::1] invalid = invalid_actions.view(np.uint8)
    cdef int n = <int>prior_logits.shape[1]
    cdef int num_legal, a
    cdef Py_ssize_t b
    shape = (prior_logits.shape[0], n)
    result = np.empty(shape, np.float32), np.empty(shape), np.empty((shape[0], num_simulations), np.int32)
    cdef float[:, ::1] logits = result[0]
    cdef double[:, ::1] scores = result[1]
    cdef int32_t[:, ::1] considered = result[2]
    if not _check(prior_logits, value, invalid, logits):
        return None
    with nogil:
        for b in range(logits.shape[0]):
            gumbel_scores(&logits[b, 0], n, keys[b], scale[b], &scores[b, 0])
            num_legal = 0
            for a in range(n):
                num_legal += not invalid[b, a]
            considered_visits(min(num_legal, max_considered), num_simulations, &considered[b, 0])
    return result


# After the search ----------------------------------------------------------------------------------------------------


cdef class _Results:
    """The arrays of a `mcts.SearchResult`, and where the row of a root goes."""

    cdef readonly tuple arrays
    cdef int32_t[::1] action
    cdef float[:, ::1] action_weights
    cdef int32_t[:, ::1] visit_counts
    cdef float[:, ::1] qvalues
    cdef float[::1] root_value
    cdef float[::1] improved_value

    def __init__(self, num_roots, num_actions):
        shape = (num_roots, num_actions)
        self.arrays = (
            np.empty(num_roots, np.int32), np.empty(shape, np.float32), np.empty(shape, np.int32),
            np.empty(shape, np.float32), np.empty(num_roots, np.float32), np.empty(num_roots, np.float32),
        )
        self.action, self.action_weights, self.visit_counts, self.qvalues = self.arrays[:4]
        self.root_value, self.improved_value = self.arrays[4:]

    cdef ResultRow row(self, Py_ssize_t b) noexcept nogil:
        return ResultRow(
            &self.action[b], &self.visit_counts[b, 0], &self.action_weights[b, 0], &self.qvalues[b, 0],
            &self.root_value[b], &self.improved_value[b],
        )


def finish_puct(tree, const uint64_t[::1] keys, const double[::1] temperature):
    """See `mcts._twin.finish_puct`."""
    cdef const uint8_t[:, ::1] records = tree.nodes.view(np.uint8)
    cdef int num_actions = tree.num_actions
    cdef Py_ssize_t b, num_nodes = tree.num_nodes
    cdef _Results results = _Results(records.shape[0], num_actions)
    cdef double[::1] scratch = np.empty(num_actions)
    cdef ResultRow row
    with nogil:
        for b in range(records.shape[0]):
            row = results.row(b)
            puct_result(<const Node *>&records[b, 0], num_nodes, keys[b], temperature[b], num_actions, &scratch[0],
                        &row)
    return results.arrays


def finish_gumbel(tree, invalid_actions, const double[:, ::1] scores, qtransform):
    """See `mcts._twin.finish_gumbel`; the Q-transform must be one of the core's own."""
    cdef const uint8_t[:, ::1] records = tree.nodes.view(np.uint8)
    cdef const float[:, :, ::1] prior_logits = tree.prior_logits
    cdef const uint8_t[:, ::1] invalid = invalid_actions.view(np.uint8)
    cdef int num_actions = <int>prior_logits.shape[2]
    cdef Py_ssize_t b, num_nodes = prior_logits.shape[1]
    cdef _Results results = _Results(records.shape[0], num_actions)
    cdef Transform transform = read_transform(qtransform)
    cdef double[::1] scratch = np.empty(2 * num_actions)
    cdef ResultRow row
    with nogil:
        for b in range(records.shape[0]):
            row = results.row(b)
            gumbel_result(&transform, <const Node *>&records[b, 0], num_nodes, &prior_logits[b, 0, 0], &invalid[b, 0],
                          &scores[b, 0], num_actions, &scratch[0], &row)
    return results.arrays
