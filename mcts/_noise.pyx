# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""The random numbers of `mcts._random`, number by number: for a few roots, most of NumPy's time is calling it."""

import numpy as np

from libc.math cimport cos, exp, log, sqrt
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #define MCTS_GOLDEN 0x9E3779B97F4A7C15u
    #define MCTS_PURPOSE_STEP 0xD1342543DE82EF95u
    #define MCTS_TWO_PI 6.283185307179586
    """
    const uint64_t GOLDEN "MCTS_GOLDEN"
    const uint64_t PURPOSE_STEP "MCTS_PURPOSE_STEP"
    const double TWO_PI "MCTS_TWO_PI"

cdef enum:
    MAX_ATTEMPTS = 64


cdef inline uint64_t mix(uint64_t x) noexcept nogil:
    """Hashes a number: the output function of splitmix64."""
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9u
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EBu
    return x ^ (x >> 31)


cdef inline uint64_t draw(uint64_t key, uint64_t purpose, uint64_t i) noexcept nogil:
    return mix(mix(key + purpose * PURPOSE_STEP) + (i + 1) * GOLDEN)


cdef inline double unit(uint64_t bits) noexcept nogil:
    return (<double>(bits >> 12) + 0.5) * 2.220446049250313e-16


cdef double log_gamma_plus_one(uint64_t seed, double alpha) noexcept nogil:
    """Draws log Gamma(alpha + 1) (Marsaglia & Tsang 2000)."""
    cdef double d = alpha + 1.0 - 1.0 / 3.0
    cdef double c = 1.0 / sqrt(9.0 * d)
    cdef double normal, base, cube
    cdef int attempt
    for attempt in range(MAX_ATTEMPTS):
        normal = sqrt(-2.0 * log(unit(draw(seed, attempt, 0)))) * cos(TWO_PI * unit(draw(seed, attempt, 1)))
        base = 1.0 + c * normal
        if base > 0.0:
            cube = base * base * base
            if log(unit(draw(seed, attempt, 2))) < 0.5 * normal * normal + d * (1.0 - cube + log(cube)):
                return log(d * cube)
    return 0.0


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
            out[b, i] = -log(-log(unit(draw(key[b], purpose, i))))
    return result


def dirichlet(keys, int purpose, double alpha, legal):
    """See `mcts._random.dirichlet`."""
    cdef const uint64_t[::1] key = np.ascontiguousarray(keys)
    cdef const unsigned char[:, ::1] allowed = np.ascontiguousarray(legal).view(np.uint8)
    result = np.zeros(legal.shape)
    cdef double[:, ::1] out = result
    cdef Py_ssize_t b, i
    cdef double top, total
    for b in range(out.shape[0]):
        top = -1.7976931348623157e308
        for i in range(out.shape[1]):
            if allowed[b, i]:
                out[b, i] = log_gamma_plus_one(draw(key[b], purpose, i), alpha)
                out[b, i] += log(unit(draw(key[b], purpose + 16, i))) / alpha
                if out[b, i] > top:
                    top = out[b, i]
        total = 0.0
        for i in range(out.shape[1]):
            if allowed[b, i]:
                out[b, i] = exp(out[b, i] - top)
                total += out[b, i]
        for i in range(out.shape[1]):
            out[b, i] /= total
    return result
