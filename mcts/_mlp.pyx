# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""The door to the native MLP evaluator: packed arrays in, addresses out. `mcts.mlp` has checked everything."""

from libc.stdint cimport int32_t, uintptr_t

import numpy as np

from mcts.types import RecurrentOutput

cdef extern from "_mlp.h" nogil:
    int MCTS_MLP_CHUNK

    ctypedef int (*mcts_evaluate_fn)(void *context, const int32_t *parent_index, const int32_t *action,
                                     int32_t node_index, int32_t num_rows, int32_t begin, int32_t end, float *reward,
                                     float *discount, float *prior_logits, float *value) noexcept nogil
    ctypedef struct mcts_mlp_dense:
        const float *weight
        const float *bias
        int inputs, outputs
    ctypedef struct mcts_mlp_support:
        const float *bins
        int offset, num_bins
    ctypedef struct mcts_mlp:
        mcts_mlp_dense stem, hidden, output
        const mcts_mlp_dense *representation
        const mcts_mlp_dense *dynamics
        const mcts_mlp_dense *prediction
        int num_representation, num_dynamics, num_prediction
        int width, num_actions, shift, minmax, latent_stride, hidden_stride, logits_stride
        mcts_mlp_support value, reward
    ctypedef struct mcts_mlp_search:
        const mcts_mlp *network
        float *pool
        float *rows
        float discount
        int num_nodes, num_roots, max_rows
    ctypedef void (*mcts_mlp_initial_fn)(const mcts_mlp *network, const float *observation, int num_rows, float *rows,
                                         int max_rows, float *latent, float *prior_logits,
                                         float *value) noexcept nogil
    ctypedef struct mcts_mlp_isa:
        const char *name
        mcts_evaluate_fn evaluate
        mcts_mlp_initial_fn initial
    size_t mcts_mlp_row_size(const mcts_mlp *network)
    int mcts_mlp_instruction_sets(mcts_mlp_isa *sets)

cdef enum:
    MAX_SETS = 4

PANEL = 16
TILE = 64


def aligned_zeros(Py_ssize_t size):
    """Returns `size` zeros, float32, of which the first begins a cache line."""
    buffer = np.zeros(size + 16, np.float32)
    cdef float[::1] view = buffer
    cdef Py_ssize_t begin = (-<uintptr_t>&view[0] % 64) // 4
    return buffer[begin:begin + size]


def instruction_sets():
    """Returns the names of the instruction sets that this machine can run, the fastest first."""
    cdef mcts_mlp_isa sets[MAX_SETS]
    cdef int i
    return tuple(sets[i].name.decode() for i in range(mcts_mlp_instruction_sets(sets)))


cdef class Network:
    """Packed weights, shared by any number of searches.

    Attributes:
        width: numbers in a latent.
        num_actions: A.
    """

    cdef mcts_mlp _network
    cdef mcts_mlp_isa _isa
    cdef list _keep  # the arrays that the pointers point to

    def __init__(self, layers, int width, int num_actions, *, bint change_sides, bint minmax, value, reward,
                 instruction_set):
        """Takes `mcts.mlp.PackedLayer`s by part, and the supports as (bins, offset, number of bins)."""
        cdef mcts_mlp_isa sets[MAX_SETS]
        cdef int i
        self._keep = []
        for i in range(mcts_mlp_instruction_sets(sets)):
            if sets[i].name.decode() == instruction_set:
                self._isa = sets[i]
        if self._isa.evaluate == NULL:
            raise ValueError(
                f"instruction_set: expected one of {', '.join(instruction_sets())}, got {instruction_set!r}"
            )
        network = &self._network
        network.width = width
        network.num_actions = num_actions
        network.shift = width // 2 if change_sides else 0
        network.minmax = minmax
        network.stem = self._layer(layers["stem"][0])
        network.hidden = self._layer(layers["hidden"][0])
        network.output = self._layer(layers["output"][0])
        blocks = [layers.get(part, []) for part in ("representation", "dynamics", "prediction")]
        network.num_representation, network.num_dynamics, network.num_prediction = map(len, blocks)
        network.representation = self._layers(blocks[0])
        network.dynamics = self._layers(blocks[1])
        network.prediction = self._layers(blocks[2])
        network.value = self._support(value)
        network.reward = self._support(reward)
        # One panel more than needed: reads may run over the end, and rows do not all begin in the same cache set.
        inner = [layer.outputs for part in layers.values() for layer in part]
        network.latent_stride = network.stem.outputs + PANEL
        network.hidden_stride = max(inner) + PANEL
        network.logits_stride = network.output.outputs + PANEL

    cdef const float *_numbers(self, array) except NULL:
        cdef const float[::1] view = array.reshape(-1)
        self._keep.append(view)
        return &view[0]

    cdef mcts_mlp_dense _layer(self, packed) except *:
        cdef mcts_mlp_dense layer
        layer.weight = self._numbers(packed.weight)
        layer.bias = self._numbers(packed.bias)
        layer.inputs = packed.inputs
        layer.outputs = packed.outputs
        return layer

    cdef const mcts_mlp_dense *_layers(self, packed) except? NULL:
        cdef int i
        memory = bytearray(max(len(packed), 1) * sizeof(mcts_mlp_dense))
        cdef unsigned char[::1] view = memory
        cdef mcts_mlp_dense *layers = <mcts_mlp_dense *>&view[0]
        self._keep.append(view)
        for i in range(len(packed)):
            layers[i] = self._layer(packed[i])
        return layers

    cdef mcts_mlp_support _support(self, described) except *:
        cdef mcts_mlp_support support
        bins, support.offset, support.num_bins = described
        support.bins = self._numbers(bins)
        return support

    @property
    def width(self):
        return self._network.width

    @property
    def num_actions(self):
        return self._network.num_actions

    def initial(self, const float[:, ::1] observation):
        """Returns latents [B, D], policy logits [B, A] and values [B] of observations [B, features]."""
        cdef int num_rows = observation.shape[0]
        latent = np.empty((num_rows, self._network.width), np.float32)
        prior_logits = np.empty((num_rows, self._network.num_actions), np.float32)
        value = np.empty(num_rows, np.float32)
        cdef int max_rows = min(num_rows, MCTS_MLP_CHUNK)
        cdef float[::1] rows = aligned_zeros(max_rows * mcts_mlp_row_size(&self._network))
        cdef float[:, ::1] latent_view = latent
        cdef float[:, ::1] logits_view = prior_logits
        cdef float[::1] value_view = value
        if num_rows:
            with nogil:
                self._isa.initial(&self._network, &observation[0, 0], num_rows, &rows[0], max_rows,
                                  &latent_view[0, 0], &logits_view[0, 0], &value_view[0])
        return latent, prior_logits, value


cdef class Search:
    """The latents of one search, and the context of its C function.

    Attributes:
        latents: [N, B, D] float32, by node and root.
        address: of the C function, see `mcts/_native.h`.
        context: its first argument.
    """

    cdef readonly object latents
    cdef Network _network
    cdef mcts_mlp_search _search
    cdef list _keep
    cdef object _output

    def __init__(self, Network network, const float[:, ::1] root_latent, int num_nodes, float discount,
                 int leaves_per_step):
        cdef int num_roots = root_latent.shape[0]
        cdef float[:, :, ::1] pool
        cdef float[::1] rows
        self.latents = pool = np.empty((num_nodes, num_roots, network._network.width), np.float32)
        pool[0] = root_latent
        self._network = network
        self._search.network = &network._network
        self._search.discount = discount
        self._search.num_nodes = num_nodes
        self._search.num_roots = num_roots
        self._search.max_rows = num_roots * leaves_per_step
        rows = aligned_zeros(self._search.max_rows * mcts_mlp_row_size(&network._network))
        self._keep = [pool, rows]
        self._search.pool = &pool[0, 0, 0]
        self._search.rows = &rows[0]
        self.latents = np.asarray(pool)

    @property
    def address(self):
        return <uintptr_t>self._network._isa.evaluate

    @property
    def context(self):
        return <uintptr_t>&self._search

    def evaluate(self, const int32_t[::1] parent_index, const int32_t[::1] action, int node_index):
        """Answers one network call from Python: a `mcts.RecurrentFn`, whose output the next call overwrites."""
        cdef int num_rows = parent_index.shape[0]
        cdef int status
        cdef float[::1] reward, discount, value
        cdef float[:, ::1] prior_logits
        if self._output is None or len(self._output.reward) != num_rows:
            shape = (num_rows, self._network._network.num_actions)
            self._output = RecurrentOutput(
                np.empty(num_rows, np.float32), np.empty(num_rows, np.float32), np.empty(shape, np.float32),
                np.empty(num_rows, np.float32),
            )
        reward, discount, prior_logits, value = self._output
        if num_rows == 0 or action.shape[0] != num_rows:
            raise ValueError(f"action: expected shape ({num_rows},), one number for each row, got ({action.shape[0]},)")
        with nogil:
            status = self._network._isa.evaluate(
                &self._search, &parent_index[0], &action[0], node_index, num_rows, 0, num_rows, &reward[0],
                &discount[0], &prior_logits[0, 0], &value[0]
            )
        if status:
            raise ValueError(
                f"node_index {node_index}, {num_rows} rows: expected nodes of a pool of {self._search.num_nodes} x "
                f"{self._search.num_roots}, at most {self._search.max_rows} rows, parents made earlier and actions "
                f"below {self._network._network.num_actions}"
            )
        return self._output
