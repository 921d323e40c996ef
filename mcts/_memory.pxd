# cython: language_level=3
cdef class Block:
    cdef char *address       # begins a cache line
    cdef readonly Py_ssize_t nbytes
    cdef char *_allocated
    cdef Py_ssize_t _capacity


cpdef Block take(Py_ssize_t num_bytes)
