# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""The door to what the policies do around a search: `core/policy.h` and `core/noise.h`, over all roots.

The same in NumPy stands in `mcts/_twin.py` and `mcts/_random.py`; for a few roots, most of NumPy's time is calling it.
"""

import numpy as np

from libc.math cimport isfinite
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from mcts._marshal cimport Transform, data, read_transform

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
    void exploration_factors(int64_t most_visits, double c1, double c2, double *out) nogil
    void considered_visits(int num_considered, int num_simulations, int32_t *out) nogil
    void gumbel_result(const Transform *qt, const Node *nodes, Py_ssize_t num_nodes, const float *logits,
                       const uint8_t *invalid, const double *scores, int n, double *scratch,
                       const ResultRow *row) nogil
    void puct_result(const Node *nodes, Py_ssize_t num_nodes, uint64_t key, double temperature, int n,
                     double *scratch, const ResultRow *row) nogil

if sizeof(Node) != NODE_DTYPE.itemsize:
    raise ImportError(f"mcts._policy: expected nodes of {NODE_DTYPE.itemsize} bytes, got {sizeof(Node)}: rebuild it")


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


def exploration_table(int64_t most_visits, double pb_c_init, double pb_c_base):
    """See `mcts._twin.exploration_table`."""
    result = np.empty(most_visits + 1)
    exploration_factors(most_visits, pb_c_init, pb_c_base, <double *>data(result))
    return result


def prepare_puct(prior_logits, value, invalid_actions, keys, double fraction, double alpha):
    """See `mcts._twin.prepare_puct`."""
    cdef Py_ssize_t num_roots = prior_logits.shape[0], b
    cdef int n = prior_logits.shape[1]
    cdef const uint8_t *invalid = <const uint8_t *>data(invalid_actions)
    cdef const uint64_t *key = <const uint64_t *>data(keys)
    cdef float *logits
    cdef double *scratch
    result = np.empty((num_roots, n), np.float32)
    logits = <float *>data(result)
    if not _mask(<const float *>data(prior_logits), <const float *>data(value), invalid, num_roots, n, logits):
        return None
    if fraction > 0.0:
        room = np.empty(2 * n)
        scratch = <double *>data(room)
        with nogil:
            for b in range(num_roots):
                add_dirichlet(logits + b * n, invalid + b * n, n, key[b], fraction, alpha, scratch)
    return result


def prepare_gumbel(prior_logits, value, invalid_actions, keys, scales, int max_considered, int num_simulations):
    """See `mcts._twin.prepare_gumbel`."""
    cdef Py_ssize_t num_roots = prior_logits.shape[0], b
    cdef int n = prior_logits.shape[1], num_legal, a
    cdef const uint8_t *invalid = <const uint8_t *>data(invalid_actions)
    cdef const uint64_t *key = <const uint64_t *>data(keys)
    cdef const double *scale = <const double *>data(scales)
    shape = (num_roots, n)
    result = np.empty(shape, np.float32), np.empty(shape), np.empty((num_roots, num_simulations), np.int32)
    cdef float *logits = <float *>data(result[0])
    cdef double *scores = <double *>data(result[1])
    cdef int32_t *considered = <int32_t *>data(result[2])
    if not _mask(<const float *>data(prior_logits), <const float *>data(value), invalid, num_roots, n, logits):
        return None
    with nogil:
        for b in range(num_roots):
            gumbel_scores(logits + b * n, n, key[b], scale[b], scores + b * n)
            num_legal = 0
            for a in range(n):
                num_legal += not invalid[b * n + a]
            considered_visits(min(num_legal, max_considered), num_simulations, considered + b * num_simulations)
    return result


cdef bint _mask(const float *logits, const float *value, const uint8_t *invalid, Py_ssize_t num_roots, int n,
                float *out) noexcept nogil:
    """Copies the logits, -inf where forbidden; False if a number is not usable or everything is forbidden."""
    cdef Py_ssize_t b
    cdef bint usable = True
    for b in range(num_roots):
        if not mask_logits(logits + b * n, invalid + b * n, n, out + b * n) or not isfinite(value[b]):
            usable = False
    return usable


# After the search ----------------------------------------------------------------------------------------------------


cdef tuple _empty_results(Py_ssize_t num_roots, int n, ResultRow *first):
    """Makes the arrays of a `mcts.SearchResult`, and says where the row of the first root goes."""
    shape = (num_roots, n)
    arrays = (
        np.empty(num_roots, np.int32), np.empty(shape, np.float32), np.empty(shape, np.int32),
        np.empty(shape, np.float32), np.empty(num_roots, np.float32), np.empty(num_roots, np.float32),
    )
    first.action = <int32_t *>data(arrays[0])
    first.action_weights = <float *>data(arrays[1])
    first.visit_counts = <int32_t *>data(arrays[2])
    first.qvalues = <float *>data(arrays[3])
    first.root_value = <float *>data(arrays[4])
    first.improved_value = <float *>data(arrays[5])
    return arrays


cdef ResultRow _row(ResultRow first, Py_ssize_t b, int n) noexcept nogil:
    return ResultRow(
        first.action + b, first.visit_counts + b * n, first.action_weights + b * n, first.qvalues + b * n,
        first.root_value + b, first.improved_value + b,
    )


def finish_puct(tree, keys, temperatures):
    """See `mcts._twin.finish_puct`."""
    logits = tree.prior_logits
    cdef Py_ssize_t num_roots = logits.shape[0], num_nodes = logits.shape[1], b
    cdef int n = logits.shape[2]
    cdef const Node *nodes = <const Node *>data(tree.nodes)
    cdef const uint64_t *key = <const uint64_t *>data(keys)
    cdef const double *temperature = <const double *>data(temperatures)
    cdef ResultRow first, row
    arrays = _empty_results(num_roots, n, &first)
    room = np.empty(n)
    cdef double *scratch = <double *>data(room)
    with nogil:
        for b in range(num_roots):
            row = _row(first, b, n)
            puct_result(nodes + b * num_nodes, num_nodes, key[b], temperature[b], n, scratch, &row)
    return arrays


def finish_gumbel(tree, invalid_actions, root_scores, qtransform):
    """See `mcts._twin.finish_gumbel`; the Q-transform must be one of the core's own."""
    prior_logits = tree.prior_logits
    cdef Py_ssize_t num_roots = prior_logits.shape[0], num_nodes = prior_logits.shape[1], b
    cdef int n = prior_logits.shape[2]
    cdef const Node *nodes = <const Node *>data(tree.nodes)
    cdef const float *logits = <const float *>data(prior_logits)
    cdef const uint8_t *invalid = <const uint8_t *>data(invalid_actions)
    cdef const double *scores = <const double *>data(root_scores)
    cdef Transform transform = read_transform(qtransform)
    cdef ResultRow first, row
    arrays = _empty_results(num_roots, n, &first)
    room = np.empty(2 * n)
    cdef double *scratch = <double *>data(room)
    with nogil:
        for b in range(num_roots):
            row = _row(first, b, n)
            gumbel_result(&transform, nodes + b * num_nodes, num_nodes, logits + b * num_nodes * n, invalid + b * n,
                          scores + b * n, n, scratch, &row)
    return arrays
