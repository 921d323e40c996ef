# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""Native tree search: one call backs up a simulation and selects the next, for any range of roots.

What makes it fast:

- Under every Q-transform all unvisited actions of a node share one transformed Q-value, so the best of them is the one
  with the largest prior. A node keeps a linked list of its visited children plus its best "open" (unvisited and
  allowed) action, found again only after an expansion. A choice then costs the visited actions plus one, not A.
- The softmax normaliser of a node, which needs A exponentials, is computed when the node is first gone through. Most
  nodes are leaves for good and never need it.
- A node's choice changes only when a value is backed up through it. So the choice is made then, on the way up, where
  the nodes are known in advance and hot in cache; going down follows the choices.
- What one node needs is one record of two cache lines. In `prior_logits`, the only array with an axis over actions, NaN
  marks the actions that are not open; `finish` writes the logits back.

Everything below the class's public methods trusts its input: `mcts.search` has checked it.
"""

import numpy as np

from mcts.tree import NODE_DTYPE, Tree

cdef extern from "_rows.h":
    double mcts_exp(double x) noexcept nogil
    double mcts_sum_exp(const float *x, int n, double offset) noexcept nogil
    void mcts_exp_all(double *x, int n, double offset) noexcept nogil
    int mcts_copy_logits(float *dst, const float *src, int n) noexcept nogil
    int mcts_argmax(const float *x, int n) noexcept nogil
    void mcts_widen(const double *x, int n, double *low, double *high) noexcept nogil
    double mcts_puct_scores(const double *q, const double *prob, const double *share, int n, double lower,
                            double factor, double weight, double *scores) noexcept nogil
    int mcts_find(const double *x, int i, int n, double value) noexcept nogil
    bint isfinite(double x) noexcept nogil
    double INFINITY
    float NAN

# Kinds of Q-transform, as in mcts.qtransforms.
cdef enum:
    BY_MIN_MAX = 0
    BY_SIBLINGS = 1
    BY_TREE = 2
    COMPLETED = 3

cdef enum:
    UNKNOWN = -2
    NONE = -1
    SCRATCH = 9  # numbers beyond one for each child: two for the open actions, and up to a multiple of 8

cdef double LOWEST_SCORE = -1e9  # a considered action is chosen even where its logit is -inf
cdef double TINY = 1.1754943508222875e-38  # mcts.qtransforms.TINY
cdef double MAX_EXPONENT = 700.0


cdef struct Node:
    # One node and the edge into it, as in mcts.tree.NODE_DTYPE. First line: all that PUCT needs on its way.
    double value_sum
    double qvalue
    double prior_prob
    double open_prob         # prior probability of the best open action, negative if there is none
    int visits
    int parent
    int first_child
    int next_sibling
    int pick                 # what to do next: a child to go on to, NONE = take the best open action, or UNKNOWN
    float reward
    float discount
    float prior_logit
    # Second line.
    double normaliser        # sum of exp(logit - log_ref) over the allowed actions; 0 = not computed yet
    double open_mass         # Gumbel: the same over the open actions, kept up by subtraction ...
    double open_mass_exact   # ... since it was last summed to this
    float raw_value
    float log_ref            # largest logit
    int action
    int num_children
    int best_open            # action, NONE or UNKNOWN
    int slot                 # a child of the root: its place in the root's lists
    int padding[4]


cdef struct Root:
    # What one root owns.
    Node *nodes              # [N]
    float *logits            # [N, A]
    double *scores           # [A], Gumbel only
    int *considered          # [S], Gumbel only
    double *bounds           # [2], smallest and largest Q-value so far
    double *scratch          # [N + SCRATCH], one buffer for each range of roots
    # PUCT: what a choice at the root needs of its children, packed; [N] each.
    double *child_q
    double *child_prob
    double *child_share      # 1 / (1 + visits)
    int *child_node


cdef struct Affine:
    # Transformed Q-value = (q - lower) * factor / span; `unvisited` / span is that of every unvisited action.
    double lower
    double factor
    double span
    double unvisited


if sizeof(Node) != NODE_DTYPE.itemsize:
    raise ImportError(f"mcts._core was built for nodes of {sizeof(Node)} bytes, not {NODE_DTYPE.itemsize}: rebuild it")


cdef inline double min2(double a, double b) noexcept nogil:
    return a if a < b else b


cdef inline double max2(double a, double b) noexcept nogil:
    return a if a > b else b


cdef int *int_buffer(array, list keep) except NULL:
    cdef int[::1] view = array.reshape(-1)
    keep.append(view)
    return &view[0]


cdef double *double_buffer(array, list keep) except NULL:
    cdef double[::1] view = array.reshape(-1)
    keep.append(view)
    return &view[0]


cdef class NativeSearch:
    """Search over B trees at once; the counterpart of `mcts._reference.ReferenceSearch`.

    Attributes:
        parent_index: [B] int32, where the selected edges start.
        action: [B] int32, the selected edges.
    """

    cdef readonly object parent_index
    cdef readonly object action
    cdef object _tree
    cdef list _buffers  # keeps alive what the pointers below point to
    cdef Root _first
    cdef int *_leaf_parent
    cdef int *_leaf_action
    cdef int *_leaf_node      # an existing node to evaluate again, or NONE
    cdef double *_exploration
    cdef double *_share       # 1 / (1 + n)
    cdef Py_ssize_t _num_roots, _num_nodes, _num_actions
    cdef int _num_simulations, _max_depth
    cdef bint _gumbel
    cdef int _kind
    cdef bint _rescale, _mixed
    cdef double _min_value, _max_value, _epsilon, _value_scale, _maxvisit_init
    cdef const float[::1] _reward
    cdef const float[::1] _discount
    cdef const float[:, ::1] _prior_logits
    cdef const float[::1] _value

    def __init__(self, problem):
        num_roots, num_actions = problem.prior_logits.shape
        self._num_roots = num_roots
        self._num_actions = num_actions
        self._num_simulations = problem.num_simulations
        self._num_nodes = problem.num_simulations + 1
        self._max_depth = problem.max_depth
        self._gumbel = problem.root_scores is not None
        qtransform = problem.qtransform
        self._kind = qtransform.kind
        self._min_value = getattr(qtransform, "min_value", 0.0)
        self._max_value = getattr(qtransform, "max_value", 1.0)
        self._epsilon = getattr(qtransform, "epsilon", 1.0)
        self._value_scale = getattr(qtransform, "value_scale", 1.0)
        self._maxvisit_init = getattr(qtransform, "maxvisit_init", 0.0)
        self._rescale = getattr(qtransform, "rescale_values", False)
        self._mixed = getattr(qtransform, "use_mixed_value", False)
        self.parent_index = np.zeros(num_roots, np.int32)
        self.action = np.zeros(num_roots, np.int32)
        self._allocate(problem)
        self._plant(problem)

    def _allocate(self, problem):
        cdef char[::1] nodes
        cdef float[::1] logits
        tree = self._tree = Tree.allocate(self._num_roots, self._num_nodes, self._num_actions)
        nodes = tree.nodes.reshape(-1).view(np.int8)
        logits = tree.prior_logits.reshape(-1)
        keep = self._buffers = [nodes, logits]
        self._first.nodes = <Node *>&nodes[0]
        self._first.logits = &logits[0]
        bounds = np.repeat(problem.value.astype(np.float64), 2)
        self._first.bounds = double_buffer(bounds, keep)
        self._first.scratch = double_buffer(np.empty((self._num_roots, self._num_nodes + SCRATCH)), keep)
        packed = 1 if self._gumbel else self._num_nodes
        self._first.child_q = double_buffer(np.empty((self._num_roots, packed)), keep)
        self._first.child_prob = double_buffer(np.empty((self._num_roots, packed)), keep)
        self._first.child_share = double_buffer(np.empty((self._num_roots, packed)), keep)
        self._first.child_node = int_buffer(np.empty((self._num_roots, packed), np.int32), keep)
        self._first.scores = NULL
        self._first.considered = NULL
        if self._gumbel:
            self._first.scores = double_buffer(problem.root_scores, keep)
            self._first.considered = int_buffer(problem.considered_visits, keep)
        self._leaf_parent = int_buffer(self.parent_index, keep)
        self._leaf_action = int_buffer(self.action, keep)
        self._leaf_node = int_buffer(np.zeros(self._num_roots, np.int32), keep)
        self._exploration = double_buffer(problem.exploration, keep)
        self._share = double_buffer(1.0 / np.arange(1.0, self._num_nodes + 2), keep)

    def _plant(self, problem):
        """Puts the roots into the trees."""
        cdef const float[:, ::1] prior_logits = problem.prior_logits
        cdef const float[::1] value = problem.value
        cdef const unsigned char[:, ::1] invalid = problem.invalid_actions.view(np.uint8)
        cdef Py_ssize_t b, a
        cdef Root r
        for b in range(self._num_roots):
            r = self._root(b, b)
            for a in range(self._num_actions):
                r.logits[a] = NAN if invalid[b, a] else prior_logits[b, a]
            self._clear(r.nodes)
            r.nodes[0].visits = 1
            r.nodes[0].value_sum = value[b]
            r.nodes[0].raw_value = value[b]

    cdef inline void _clear(self, Node *node) noexcept nogil:
        node.value_sum = 0.0
        node.qvalue = 0.0
        node.prior_prob = 0.0
        node.visits = 0
        node.parent = NONE
        node.first_child = NONE
        node.next_sibling = NONE
        node.pick = UNKNOWN
        node.reward = 0.0
        node.discount = 0.0
        node.prior_logit = 0.0
        node.normaliser = 0.0
        node.raw_value = 0.0
        node.action = NONE
        node.num_children = 0
        node.best_open = UNKNOWN

    cdef inline Root _root(self, Py_ssize_t b, Py_ssize_t range_begin) noexcept nogil:
        cdef Root r = self._first
        r.nodes += b * self._num_nodes
        r.logits += b * self._num_nodes * self._num_actions
        r.bounds += 2 * b
        r.scratch += range_begin * (self._num_nodes + SCRATCH)
        if self._gumbel:
            r.scores += b * self._num_actions
            r.considered += b * self._num_simulations
        else:
            r.child_q += b * self._num_nodes
            r.child_prob += b * self._num_nodes
            r.child_share += b * self._num_nodes
            r.child_node += b * self._num_nodes
        return r

    # The entries -----------------------------------------------------------------------------------------------------

    def start(self):
        """Selects the first edge of every root."""
        cdef Py_ssize_t b
        cdef Root r
        with nogil:
            for b in range(self._num_roots):
                r = self._root(b, 0)
                self._select(&r, b, 0)

    def receive(self, reward, discount, prior_logits, value):
        """Takes the arrays that the next `step` reads: float32, C-contiguous, of the right shapes."""
        self._reward = reward
        self._discount = discount
        self._prior_logits = prior_logits
        self._value = value

    def step(self, int simulation, Py_ssize_t begin, Py_ssize_t end):
        """Expands and backs up one simulation and selects the next, for the roots in [begin, end).

        Args:
            simulation: number of the simulation the received arrays answer, from 0.
            begin: first root.
            end: one past the last root.

        Returns:
            The first root whose received numbers are not usable, or -1.
        """
        cdef Py_ssize_t b
        cdef Py_ssize_t bad = -1
        cdef bint more = simulation + 1 < self._num_simulations
        cdef Root r
        with nogil:
            for b in range(begin, end):
                r = self._root(b, begin)
                if not self._expand(&r, b, simulation + 1, more):
                    bad = b
                    break
                if more:
                    self._select(&r, b, simulation + 1)
        return bad

    def finish(self):
        """Returns the tree, its prior logits written back where the search had marked actions as taken."""
        cdef Py_ssize_t b, a, i
        cdef Root r
        cdef Node *node
        with nogil:
            for b in range(self._num_roots):
                r = self._root(b, 0)
                for i in range(1, self._num_nodes):
                    node = r.nodes + i
                    if node.parent != NONE:
                        r.logits[node.parent * self._num_actions + node.action] = node.prior_logit
                for a in range(self._num_actions):
                    if r.logits[a] != r.logits[a]:
                        r.logits[a] = -INFINITY
        return self._tree

    # Expansion and backup --------------------------------------------------------------------------------------------

    cdef inline bint _expand(self, Root *r, Py_ssize_t b, int new_node, bint more) noexcept nogil:
        cdef int leaf = self._leaf_node[b]
        cdef int parent = self._leaf_parent[b]
        cdef float reward = self._reward[b]
        cdef float discount = self._discount[b]
        cdef float value = self._value[b]
        cdef Node *node
        cdef Py_ssize_t a
        cdef bint fresh = leaf == NONE
        if not (isfinite(reward) and isfinite(value) and discount >= -1.0 and discount <= 1.0):
            return False
        self._clear(r.nodes + new_node)
        if fresh:
            leaf = new_node
            self._attach(r, leaf, parent, self._leaf_action[b])
        else:  # the depth limit was met: the new slot stays empty
            for a in range(self._num_actions):
                r.logits[new_node * self._num_actions + a] = 0.0
        if not mcts_copy_logits(
            r.logits + leaf * self._num_actions, &self._prior_logits[b, 0], <int>self._num_actions
        ):
            return False
        node = r.nodes + leaf
        node.reward = reward
        node.discount = discount
        node.raw_value = value
        node.visits += 1
        # An evaluation repeated at the depth limit replaces the first, as in mctx.
        node.value_sum = <double>value * node.visits
        self._backup(r, leaf, value, fresh, more)
        return True

    cdef inline void _attach(self, Root *r, int leaf, int parent_index, int action) noexcept nogil:
        cdef Node *node = r.nodes + leaf
        cdef Node *parent = r.nodes + parent_index
        cdef float *logit = r.logits + parent_index * self._num_actions + action
        node.parent = parent_index
        node.action = action
        node.next_sibling = parent.first_child
        node.prior_logit = logit[0]
        node.prior_prob = parent.open_prob
        if parent_index == 0 and not self._gumbel:
            node.slot = parent.num_children
            r.child_prob[node.slot] = node.prior_prob
            r.child_node[node.slot] = leaf
        parent.first_child = leaf
        parent.num_children += 1
        parent.open_mass -= parent.open_prob * parent.normaliser
        parent.best_open = UNKNOWN
        parent.pick = UNKNOWN
        logit[0] = NAN

    cdef inline void _backup(self, Root *r, int leaf, double value, bint fresh, bint more) noexcept nogil:
        cdef Node *node = r.nodes + leaf
        cdef double ret = value
        cdef double mean = value
        cdef bint choose = more and not fresh and self._kind != BY_TREE
        cdef int index = leaf
        while index != 0:
            node.qvalue = node.reward + node.discount * mean
            r.bounds[0] = min2(r.bounds[0], node.qvalue)
            r.bounds[1] = max2(r.bounds[1], node.qvalue)
            ret = node.reward + node.discount * ret
            index = node.parent
            if index == 0 and not self._gumbel:
                r.child_q[node.slot] = node.qvalue
                r.child_share[node.slot] = self._share[node.visits]
            node = r.nodes + index
            node.value_sum += ret
            node.visits += 1
            mean = node.value_sum / node.visits
            if not choose:  # made on the next way down: the parent of a new node has a new best open action to find
                node.pick = UNKNOWN
                choose = more and self._kind != BY_TREE
            elif index == 0:
                if not self._gumbel:
                    node.pick = self._pick_puct_root(r, mean)
            elif self._gumbel:
                node.pick = self._pick_gumbel(r, node, index, mean)
            else:
                node.pick = self._pick_puct(r, node, mean)

    # Selection -------------------------------------------------------------------------------------------------------

    cdef inline void _select(self, Root *r, Py_ssize_t b, int simulation) noexcept nogil:
        cdef int index = 0
        cdef int depth = 0
        cdef int child
        cdef Node *node
        while True:
            node = r.nodes + index
            child = node.pick
            if child == UNKNOWN or (self._gumbel and index == 0):
                if node.best_open == UNKNOWN:
                    self._refresh_open(r, node, index)
                child = self._pick(r, node, index, simulation)
            depth += 1
            if child == NONE or depth >= self._max_depth:
                break
            index = child
        self._leaf_node[b] = child
        self._leaf_parent[b] = index
        self._leaf_action[b] = node.best_open if child == NONE else r.nodes[child].action

    cdef inline int _pick(self, Root *r, Node *node, int index, int simulation) noexcept nogil:
        cdef double mean = node.value_sum / node.visits
        if self._gumbel:
            return self._pick_gumbel(r, node, index, mean) if index else self._pick_gumbel_root(r, mean, simulation)
        return self._pick_puct(r, node, mean) if index else self._pick_puct_root(r, mean)

    cdef inline void _refresh_open(self, Root *r, Node *node, int index) noexcept nogil:
        """Finds the open action with the largest prior; on the first visit also the softmax normaliser."""
        cdef int num_actions = <int>self._num_actions
        cdef const float *logits = r.logits + index * self._num_actions
        cdef int best = mcts_argmax(logits, num_actions)  # -1 = NONE
        node.best_open = best
        if node.normaliser == 0.0:
            node.log_ref = logits[best]
            node.normaliser = mcts_sum_exp(logits, num_actions, logits[best])
            node.open_mass = node.normaliser
            node.open_mass_exact = node.normaliser
            node.open_prob = 1.0 / node.normaliser
        elif best == NONE:
            node.open_prob = -1.0
        else:
            node.open_prob = mcts_exp(<double>logits[best] - node.log_ref) / node.normaliser
            if self._gumbel and node.open_mass < 0.5 * node.open_mass_exact:
                # Summed again before the subtractions eat up the digits.
                node.open_mass = mcts_sum_exp(logits, num_actions, node.log_ref)
                node.open_mass_exact = node.open_mass

    cdef inline Affine _transform(self, Root *r, Node *node, double mean) noexcept nogil:
        cdef Affine t
        cdef Node *child
        cdef double weight, completing
        cdef double total_weight = 0.0
        cdef double weighted_q = 0.0
        cdef double lower, upper
        cdef int next_child = node.first_child
        cdef int max_visits = 0
        cdef int total = node.visits - 1
        t.factor = 1.0
        t.unvisited = 0.0
        if self._kind == BY_MIN_MAX:
            t.lower = self._min_value
            t.span = self._max_value - self._min_value
        elif self._kind == BY_TREE:
            t.lower = r.bounds[0]
            t.span = max2(r.bounds[1] - r.bounds[0], self._epsilon)
        elif self._kind == BY_SIBLINGS:
            lower = mean
            upper = mean
            while next_child != NONE:
                child = r.nodes + next_child
                lower = min2(lower, child.qvalue)
                upper = max2(upper, child.qvalue)
                next_child = child.next_sibling
            t.lower = lower
            t.span = max2(upper - lower, self._epsilon)
        else:
            lower = INFINITY
            upper = -INFINITY
            while next_child != NONE:
                child = r.nodes + next_child
                lower = min2(lower, child.qvalue)
                upper = max2(upper, child.qvalue)
                weight = max2(child.prior_prob, TINY)
                total_weight += weight
                weighted_q += weight * child.qvalue
                if child.visits > max_visits:
                    max_visits = child.visits
                next_child = child.next_sibling
            completing = node.raw_value
            if self._mixed and max_visits > 0:
                completing = (completing + total * (weighted_q / total_weight)) * self._share[total]
            if node.num_children < self._num_actions:
                lower = min2(lower, completing)
                upper = max2(upper, completing)
            t.factor = (self._maxvisit_init + max_visits) * self._value_scale
            t.lower = lower if self._rescale else 0.0
            t.span = max2(upper - lower, self._epsilon) if self._rescale else 1.0
            t.unvisited = (completing - t.lower) * t.factor
        return t

    cdef inline int _pick_puct(self, Root *r, Node *node, double mean) noexcept nogil:
        """Returns the child to go on with, or NONE for the best open action. Ties go to the lowest action.

        All scores are multiplied by the span of the Q-values, which saves the division.
        """
        cdef Affine t = self._transform(r, node, mean)
        cdef double factor = self._exploration[node.visits] * t.span
        cdef double best_score = -INFINITY
        cdef double score
        cdef int best_action = NONE
        cdef int best_child = NONE
        cdef int next_child = node.first_child
        cdef Node *child
        if node.open_prob >= 0.0:
            best_score = t.unvisited + factor * node.open_prob
            best_action = node.best_open
        while next_child != NONE:
            child = r.nodes + next_child
            score = (child.qvalue - t.lower) * t.factor + factor * child.prior_prob * self._share[child.visits]
            if score > best_score or (score == best_score and child.action < best_action):
                best_score = score
                best_child = next_child
                best_action = child.action
            next_child = child.next_sibling
        return best_child

    cdef inline int _pick_puct_root(self, Root *r, double mean) noexcept nogil:
        """Like `_pick_puct`, over the packed children of the root, which may be many."""
        cdef Node *node = r.nodes
        cdef Affine t
        cdef double factor, score
        cdef double best_score = -INFINITY
        cdef int n = node.num_children
        cdef int best_action = NONE
        cdef int best_child = NONE
        cdef int i
        cdef Node *child
        if self._kind == BY_SIBLINGS:
            t = Affine(lower=mean, factor=1.0, span=mean, unvisited=0.0)
            mcts_widen(r.child_q, n, &t.lower, &t.span)
            t.span = max2(t.span - t.lower, self._epsilon)
        else:
            t = self._transform(r, node, mean)
        factor = self._exploration[node.visits] * t.span
        if node.open_prob >= 0.0:
            best_score = t.unvisited + factor * node.open_prob
            best_action = node.best_open
        score = mcts_puct_scores(r.child_q, r.child_prob, r.child_share, n, t.lower, t.factor, factor, r.scratch)
        if score < best_score:
            return NONE
        if score > best_score:
            best_action = <int>self._num_actions
        i = mcts_find(r.scratch, 0, n, score)
        while i < n:
            child = r.nodes + r.child_node[i]
            if child.action < best_action:
                best_action = child.action
                best_child = r.child_node[i]
            i = mcts_find(r.scratch, i + 1, n, score)
        return best_child

    cdef inline int _pick_gumbel(self, Root *r, Node *node, int index, double mean) noexcept nogil:
        """Like `_pick_puct`, by argmax of softmax(logits + completed q) - N / (1 + sum N)."""
        cdef Affine t = self._transform(r, node, mean)
        cdef double factor = t.factor / t.span
        cdef double unvisited = t.unvisited / t.span
        cdef double share = self._share[node.visits - 1]  # the node's own evaluation is the 1 of 1 + sum N
        cdef double best_score = -INFINITY
        cdef double top = -INFINITY
        cdef double norm = 0.0
        cdef double score
        cdef double *weights = r.scratch  # of the best open action, of the node's largest logit, of each child
        cdef int best_child = NONE
        cdef int best_action = NONE
        cdef int next_child = node.first_child
        cdef int i = 2
        cdef Node *child
        weights[0] = -INFINITY
        weights[1] = -INFINITY
        if node.best_open != NONE:
            weights[0] = r.logits[index * self._num_actions + node.best_open] + unvisited
            weights[1] = node.log_ref + unvisited
            top = weights[0]
        while next_child != NONE:
            child = r.nodes + next_child
            weights[i] = child.prior_logit + (child.qvalue - t.lower) * factor
            top = max2(top, weights[i])
            next_child = child.next_sibling
            i += 1
        while i % 8:
            weights[i] = -INFINITY
            i += 1
        weights[1] = min2(weights[1], top + MAX_EXPONENT)
        mcts_exp_all(weights, i, top)
        for i in range(2, node.num_children + 2):
            norm += weights[i]
        if node.best_open != NONE:
            norm += node.open_mass * weights[1]
            best_score = weights[0] / norm
            best_action = node.best_open
        norm = 1.0 / norm
        next_child = node.first_child
        i = 2
        while next_child != NONE:
            child = r.nodes + next_child
            score = weights[i] * norm - child.visits * share
            if score > best_score or (score == best_score and child.action < best_action):
                best_score = score
                best_child = next_child
                best_action = child.action
            next_child = child.next_sibling
            i += 1
        return best_child

    cdef inline int _pick_gumbel_root(self, Root *r, double mean, int simulation) noexcept nogil:
        """Sequential halving: among actions with the scheduled visit count, argmax of g + logit + completed q."""
        cdef Node *node = r.nodes
        cdef Affine t = self._transform(r, node, mean)
        cdef double factor = t.factor / t.span
        cdef double unvisited = t.unvisited / t.span
        cdef int considered = r.considered[simulation]
        cdef int next_child = node.first_child
        cdef int best_child = NONE
        cdef int best_action = NONE
        cdef double best_score = -INFINITY
        cdef double score
        cdef int a
        cdef Node *child
        if considered == 0:
            for a in range(self._num_actions):
                if r.logits[a] == r.logits[a]:  # open
                    score = max2(LOWEST_SCORE, r.scores[a] + unvisited)
                    if score > best_score:
                        best_score = score
                        best_action = a
            node.best_open = best_action
            node.open_prob = mcts_exp(<double>r.logits[best_action] - node.log_ref) / node.normaliser
            return NONE
        while next_child != NONE:
            child = r.nodes + next_child
            if child.visits == considered:
                a = child.action
                score = max2(LOWEST_SCORE, r.scores[a] + (child.qvalue - t.lower) * factor)
                if score > best_score or (score == best_score and a < best_action):
                    best_score = score
                    best_child = next_child
                    best_action = a
            next_child = child.next_sibling
        return best_child
