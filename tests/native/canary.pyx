# cython: language_level=3, boundscheck=False, wraparound=False
"""Three deliberate mistakes, built along with the real modules: if one goes unnoticed, the build checks nothing."""


def index_past_the_end(double[::1] numbers):
    """Reads one number too far through a memoryview."""
    return numbers[numbers.shape[0]]


def pointer_past_the_end(double[::1] numbers):
    """Reads one number too far through a pointer."""
    cdef double *first = &numbers[0]
    return first[numbers.shape[0]]


def signed_overflow(int number):
    """Adds 1 to the largest int."""
    return number + 1
