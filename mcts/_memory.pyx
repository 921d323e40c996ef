# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""Memory of finished searches, kept for the next: fresh pages from the system cost more than a small search.

A `Block` owns its memory and gives it back when it ends, which is when the last array over it ends. What is given back
waits on a shelf of bounded size.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport uintptr_t
from libc.string cimport memmove

cdef extern from "core/layout.h":
    enum: CACHE_LINE
    void FORBID(const void *address, size_t num_bytes)
    void ALLOW(const void *address, size_t num_bytes)

cdef enum:
    MOST_KEPT = 32

MAX_KEPT_BYTES = 64 * 2**20

cdef struct Kept:
    char *allocated
    Py_ssize_t capacity

# The oldest first. Only touched with the interpreter lock held.
cdef Kept[MOST_KEPT] shelf
cdef int num_kept = 0
cdef Py_ssize_t kept_bytes = 0
cdef Py_ssize_t max_kept_bytes = MAX_KEPT_BYTES


cdef class Block:
    """Memory in use, a buffer of bytes that begins at a cache line.

    Attributes:
        nbytes: its size.
    """

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.address, self.nbytes, 0, flags)

    def __dealloc__(self):
        if self._allocated != NULL:
            ALLOW(self._allocated, self._capacity)
            _put(Kept(self._allocated, self._capacity))


cpdef Block take(Py_ssize_t num_bytes):
    """Returns memory with whatever stands there.

    Args:
        num_bytes: how much is needed.

    Returns:
        A block of that size.

    Raises:
        MemoryError: the system has not so much.
    """
    cdef Py_ssize_t size = num_bytes + CACHE_LINE
    cdef Block block = Block.__new__(Block)
    cdef Kept found = Kept(NULL, size)
    cdef int i
    for i in range(num_kept):
        if size <= shelf[i].capacity <= 2 * size:
            found = _pull(i)
            break
    if found.allocated == NULL:
        found.allocated = <char *>PyMem_RawMalloc(size)
        if found.allocated == NULL:
            raise MemoryError(f"num_simulations: a search needs {num_bytes:,} bytes more than there are")
    block._allocated = found.allocated
    block._capacity = found.capacity
    block.address = found.allocated + (-<uintptr_t>found.allocated) % CACHE_LINE
    block.nbytes = num_bytes
    FORBID(block.address + num_bytes, found.allocated + found.capacity - block.address - num_bytes)
    return block


def release():
    """Gives back to the system what no search and no result is using."""
    while num_kept:
        PyMem_RawFree(_pull(0).allocated)


def kept():
    """Returns how many bytes wait for the next search."""
    return kept_bytes


cdef Kept _pull(int i) noexcept:
    """Takes a piece off the shelf."""
    global num_kept, kept_bytes
    cdef Kept piece = shelf[i]
    num_kept -= 1
    kept_bytes -= piece.capacity
    memmove(&shelf[i], &shelf[i + 1], (num_kept - i) * sizeof(Kept))
    return piece


cdef void _put(Kept piece) noexcept:
    """Puts a piece on the shelf, in place of the oldest where there is no room."""
    global num_kept, kept_bytes
    if piece.capacity > max_kept_bytes:
        PyMem_RawFree(piece.allocated)
        return
    while num_kept == MOST_KEPT or kept_bytes + piece.capacity > max_kept_bytes:
        PyMem_RawFree(_pull(0).allocated)
    shelf[num_kept] = piece
    num_kept += 1
    kept_bytes += piece.capacity
