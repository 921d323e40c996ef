# cython: language_level=3, cdivision=True
# What the native search keeps in memory: the records of the nodes, and all pointers and settings of one search.

cdef extern from "_rows.h":
    void mcts_fetch(const void *address, Py_ssize_t num_bytes) noexcept nogil
    double mcts_exp(double x) noexcept nogil
    double mcts_sum_exp(const float *x, int n, double offset) noexcept nogil
    void mcts_exp_all(double *x, int n, double offset) noexcept nogil
    int mcts_take_logits(float *dst, const float *src, int n) noexcept nogil
    int mcts_argmax(const float *x, int n) noexcept nogil
    void mcts_widen(const double *x, int n, double *low, double *high) noexcept nogil
    double mcts_puct_scores(const double *q, const double *prob, const double *share, int n, double lower,
                            double factor, double weight, double *scores) noexcept nogil
    int mcts_find(const double *x, int i, int n, double value) noexcept nogil
    bint isfinite(double x) noexcept nogil
    double fabs(double x) noexcept nogil
    double INFINITY
    float NAN

# Kinds of Q-transform, as in mcts.qtransforms.
cdef enum:
    BY_MIN_MAX = 0
    BY_SIBLINGS = 1
    BY_TREE = 2
    COMPLETED = 3

cdef enum:
    NONE = -1
    SCRATCH = 9  # numbers beyond one for each child: two for the open actions, and up to a multiple of 8


cdef struct Rest:
    # PUCT: bounds over the children other than the one the node goes on to; `weight` is inf if they are not known.
    double low
    double high
    double weight            # largest prior_prob / (1 + visits)


cdef struct Mass:
    # Gumbel: sum of exp(logit - log_ref) over the open actions, kept up by subtraction ...
    double open
    double exact             # ... since it was last summed to this


cdef union Memory:
    Rest rest
    Mass mass


cdef struct Node:
    # One node and the edge into it, as in mcts.tree.NODE_DTYPE. First line: all that PUCT needs of a child.
    double value_sum
    double qvalue
    double prior_prob
    double open_prob         # prior probability of the best open action, negative if there is none
    int visits
    int parent
    int first_child
    int next_sibling
    int pick                 # what to do next: a child to go on to, or NONE = take the best open action
    float reward
    float discount
    float prior_logit
    # Second line.
    double normaliser        # sum of exp(logit - log_ref) over the allowed actions; 0 = not computed yet
    Memory memory
    float raw_value
    float log_ref            # largest logit
    int action
    int num_children
    int best_open            # action or NONE
    int slot                 # a child of the root: its place in the root's lists
    int target               # where picks lead: a node whose best open action is next, or ~node to evaluate again
    int pending              # simulations selected through the node and not backed up yet


cdef struct Root:
    # What one root owns; the rest follows from its number.
    Py_ssize_t number
    Node *nodes              # [N]
    float *logits            # [N, A]
    double *bounds           # [2], smallest and largest Q-value so far
    double *scratch          # [num_slots + SCRATCH], one buffer for each range of roots


cdef struct Search:
    Py_ssize_t num_roots
    Py_ssize_t num_nodes
    Py_ssize_t num_actions
    Py_ssize_t num_slots     # children a node can have at most
    int num_simulations
    int first_node           # that simulation 0 makes
    int num_leaves           # leaves per step
    int max_depth
    bint depth_limited       # the limit can be met
    bint gumbel
    bint cached              # choices are made on the way up and stay true until the next one
    int kind
    bint rescale
    bint mixed
    double min_value
    double max_value
    double epsilon
    double value_scale
    double maxvisit_init
    double virtual_loss
    Node *nodes              # [B, N]
    float *logits            # [B, N, A]
    double *bounds           # [B, 2]
    double *scratch          # [B, num_slots + SCRATCH]
    const double *exploration  # [V + 1]
    const double *share      # [V + 2], 1 / (1 + n)
    const double *scores     # [B, A], Gumbel only
    const int *considered    # [B, S], Gumbel only
    # PUCT: what a choice at the root needs of its children, packed; [B, num_slots] each.
    double *child_q
    double *child_prob
    double *child_share      # 1 / (1 + visits)
    int *child_node
    # The selected edges, [K, B] each.
    int *leaf_parent
    int *leaf_action
    int *leaf_node           # an existing node to evaluate, or NONE
    # The network's answers to them.
    const float *reward
    const float *discount
    const float *prior_logits
    const float *value


cdef struct Affine:
    # Transformed Q-value = (q - lower) * factor / span; `unvisited` / span is that of every unvisited action.
    double lower
    double factor
    double span
    double unvisited


cdef inline double min2(double a, double b) noexcept nogil:
    return a if a < b else b


cdef inline double max2(double a, double b) noexcept nogil:
    return a if a > b else b


cdef inline Root root_at(const Search *s, Py_ssize_t b, Py_ssize_t range_begin) noexcept nogil:
    cdef Root r
    r.number = b
    r.nodes = s.nodes + b * s.num_nodes
    r.logits = s.logits + b * s.num_nodes * s.num_actions
    r.bounds = s.bounds + 2 * b
    r.scratch = s.scratch + range_begin * (s.num_slots + SCRATCH)
    return r


cdef inline void clear(Node *node) noexcept nogil:
    node.value_sum = 0.0
    node.qvalue = 0.0
    node.prior_prob = 0.0
    node.open_prob = -1.0
    node.visits = 0
    node.parent = NONE
    node.first_child = NONE
    node.next_sibling = NONE
    node.pick = NONE
    node.reward = 0.0
    node.discount = 0.0
    node.prior_logit = 0.0
    node.normaliser = 0.0
    node.memory.rest.low = 0.0
    node.memory.rest.high = 0.0
    node.memory.rest.weight = INFINITY
    node.raw_value = 0.0
    node.log_ref = 0.0
    node.action = NONE
    node.num_children = 0
    node.best_open = NONE
    node.slot = 0
    node.target = 0
    node.pending = 0
