# cython: language_level=3
# From Python to C: where an array lies, and the numbers of a Q-transform.

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

cdef extern from "core/tree.h":
    ctypedef struct Transform:
        int kind, rescale, mixed
        double min_value, max_value, epsilon, value_scale, maxvisit_init


cdef inline void *data(object array) except NULL:
    """Returns where a C-contiguous array begins; whoever calls has checked its type and keeps it alive.

    A memoryview would say the same, and take ten times as long.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    PyBuffer_Release(&view)
    return view.buf


cdef inline Transform read_transform(qtransform) except *:
    """Reads the numbers of a `mcts.QTransform`; what its kind does not have is not looked at."""
    cdef Transform t
    t.kind = qtransform.kind
    t.rescale = getattr(qtransform, "rescale_values", False)
    t.mixed = getattr(qtransform, "use_mixed_value", False)
    t.min_value = getattr(qtransform, "min_value", 0.0)
    t.max_value = getattr(qtransform, "max_value", 1.0)
    t.epsilon = getattr(qtransform, "epsilon", 1.0)
    t.value_scale = getattr(qtransform, "value_scale", 1.0)
    t.maxvisit_init = getattr(qtransform, "maxvisit_init", 0.0)
    return t
