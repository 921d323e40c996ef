# cython: language_level=3
# A Q-transform on its way from Python to C.

cdef extern from "core/tree.h":
    ctypedef struct Transform:
        int kind, rescale, mixed
        double min_value, max_value, epsilon, value_scale, maxvisit_init


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
