# cython: language_level=3, cdivision=True
# How a node chooses among its visited children and its best open action. Ties go to the lowest action.
#
# `pending` says whether simulations can be on their way: they count like visits, but have no Q-value yet.

from mcts._tree cimport (
    BY_MIN_MAX, BY_SIBLINGS, BY_TREE, NONE, Affine, INFINITY, Node, Root, Search, fabs, max2, mcts_exp, mcts_exp_all,
    mcts_find, mcts_puct_scores, mcts_widen, min2,
)

cdef enum:
    NO_ACTION = 2147483647  # loses every tie

cdef extern from *:
    """
    #define MCTS_LOWEST_SCORE -1e9  /* a considered action is chosen even where its logit is -inf */
    #define MCTS_TINY 1.1754943508222875e-38  /* mcts.qtransforms.TINY */
    #define MCTS_MAX_EXPONENT 700.0
    #define MCTS_MARGIN 1e-12  /* far more than the rounding of a score */
    """
    const double LOWEST_SCORE "MCTS_LOWEST_SCORE"
    const double TINY "MCTS_TINY"
    const double MAX_EXPONENT "MCTS_MAX_EXPONENT"
    const double MARGIN "MCTS_MARGIN"


cdef inline Affine transform(
    const Search *s, const Root *r, const Node *node, double mean, bint pending
) noexcept nogil:
    cdef Affine t
    cdef const Node *child
    cdef double weight, completing, lower, upper
    cdef double total_weight = 0.0
    cdef double weighted_q = 0.0
    cdef int next_child = node.first_child
    cdef int num_visited = 0
    cdef int max_visits = 0
    cdef int total = 0
    t.factor = 1.0
    t.unvisited = 0.0
    if s.kind == BY_MIN_MAX:
        t.lower = s.min_value
        t.span = s.max_value - s.min_value
    elif s.kind == BY_TREE:
        t.lower = r.bounds[0]
        t.span = max2(r.bounds[1] - r.bounds[0], s.epsilon)
    elif s.kind == BY_SIBLINGS:
        lower = mean
        upper = mean
        while next_child != NONE:
            child = r.nodes + next_child
            if not pending or child.visits:
                lower = min2(lower, child.qvalue)
                upper = max2(upper, child.qvalue)
            next_child = child.next_sibling
        t.lower = lower
        t.span = max2(upper - lower, s.epsilon)
    else:
        lower = INFINITY
        upper = -INFINITY
        while next_child != NONE:
            child = r.nodes + next_child
            if not pending or child.visits:
                lower = min2(lower, child.qvalue)
                upper = max2(upper, child.qvalue)
                weight = max2(child.prior_prob, TINY)
                total_weight += weight
                weighted_q += weight * child.qvalue
                total += child.visits
                num_visited += 1
                if child.visits > max_visits:
                    max_visits = child.visits
            next_child = child.next_sibling
        completing = node.raw_value
        if s.mixed and max_visits > 0:
            completing = (completing + total * (weighted_q / total_weight)) * s.share[total]
        if num_visited < s.num_actions:
            lower = min2(lower, completing)
            upper = max2(upper, completing)
        t.factor = (s.maxvisit_init + max_visits) * s.value_scale
        t.lower = lower if s.rescale else 0.0
        t.span = max2(upper - lower, s.epsilon) if s.rescale else 1.0
        t.unvisited = (completing - t.lower) * t.factor
    return t


# PUCT. All scores are multiplied by the span of the Q-values, which saves the division. -------------------------------


cdef inline bint stays(const Search *s, const Node *node, const Node *child, double mean) noexcept nogil:
    """Tells without a look at the other children that the node goes on to this one, whose value alone has changed."""
    cdef double lower, span, factor, score, rest_q, rest_prior
    if s.kind == BY_SIBLINGS:
        lower = min2(min2(mean, node.memory.rest.low), child.qvalue)
        span = max2(max2(max2(mean, node.memory.rest.high), child.qvalue) - lower, s.epsilon)
    else:
        lower = s.min_value
        span = s.max_value - s.min_value
    factor = s.exploration[node.visits] * span
    score = (child.qvalue - lower) + factor * child.prior_prob * s.share[child.visits]
    rest_q = node.memory.rest.high - lower
    rest_prior = factor * node.memory.rest.weight
    return (score > factor * node.open_prob) & (
        score > rest_q + rest_prior + MARGIN * (fabs(rest_q) + rest_prior)
    )


cdef inline void remember_rest(const Search *s, const Root *r, Node *node, int chosen) noexcept nogil:
    """Puts down what `stays` wants to know of the other children."""
    cdef double low = INFINITY
    cdef double high = -INFINITY
    cdef double weight = 0.0
    cdef int next_child = node.first_child
    cdef const Node *child
    while next_child != NONE:
        child = r.nodes + next_child
        if next_child != chosen:
            low = min2(low, child.qvalue)
            high = max2(high, child.qvalue)
            weight = max2(weight, child.prior_prob * s.share[child.visits])
        next_child = child.next_sibling
    node.memory.rest.low = low
    node.memory.rest.high = high
    node.memory.rest.weight = weight


cdef inline int pick_puct(
    const Search *s, const Root *r, const Node *node, double mean, bint pending
) noexcept nogil:
    """Returns the child to go on with, or NONE for the best open action."""
    cdef Affine t = transform(s, r, node, mean, pending)
    cdef double factor = s.exploration[node.visits + (node.pending if pending else 0)] * t.span
    cdef double best_score = -INFINITY
    cdef double score
    cdef int best_action = NO_ACTION
    cdef int best_child = NONE
    cdef int next_child = node.first_child
    cdef int waiting = 0
    cdef const Node *child
    if node.open_prob >= 0.0:
        best_score = t.unvisited + factor * node.open_prob
        best_action = node.best_open
    while next_child != NONE:
        child = r.nodes + next_child
        score = (child.qvalue - t.lower) * t.factor
        if pending:
            waiting = child.pending
            if child.visits == 0:
                score = t.unvisited
            elif waiting:
                score *= child.visits / (child.visits + s.virtual_loss * waiting)
        score += factor * child.prior_prob * s.share[child.visits + waiting]
        if score > best_score or (score == best_score and child.action < best_action):
            best_score = score
            best_child = next_child
            best_action = child.action
        next_child = child.next_sibling
    return best_child


cdef inline int pick_puct_root(const Search *s, const Root *r, double mean) noexcept nogil:
    """Like `pick_puct`, over the packed children of the root, which may be many."""
    cdef const Node *node = r.nodes
    cdef Py_ssize_t begin = r.number * s.num_slots
    cdef const double *child_q = s.child_q + begin
    cdef const int *child_node = s.child_node + begin
    cdef Affine t
    cdef double factor, score
    cdef double best_score = -INFINITY
    cdef int n = node.num_children
    cdef int best_action = NO_ACTION
    cdef int best_child = NONE
    cdef int i, action
    if s.kind == BY_SIBLINGS:
        t = Affine(lower=mean, factor=1.0, span=mean, unvisited=0.0)
        mcts_widen(child_q, n, &t.lower, &t.span)
        t.span = max2(t.span - t.lower, s.epsilon)
    else:
        t = transform(s, r, node, mean, False)
    factor = s.exploration[node.visits] * t.span
    if node.open_prob >= 0.0:
        best_score = t.unvisited + factor * node.open_prob
        best_action = node.best_open
    score = mcts_puct_scores(
        child_q, s.child_prob + begin, s.child_share + begin, n, t.lower, t.factor, factor, r.scratch
    )
    if score < best_score:
        return NONE
    if score > best_score:
        best_action = NO_ACTION
    i = mcts_find(r.scratch, 0, n, score)
    while i < n:
        action = r.nodes[child_node[i]].action
        if action < best_action:
            best_action = action
            best_child = child_node[i]
        i = mcts_find(r.scratch, i + 1, n, score)
    return best_child


# Gumbel ---------------------------------------------------------------------------------------------------------------


cdef inline int pick_gumbel(
    const Search *s, const Root *r, const Node *node, double mean, bint pending
) noexcept nogil:
    """Returns the child to go on with, or NONE: argmax of softmax(logits + completed q) - N / (1 + sum N)."""
    cdef Affine t = transform(s, r, node, mean, pending)
    cdef double factor = t.factor / t.span
    cdef double unvisited = t.unvisited / t.span
    cdef double best_score = -INFINITY
    cdef double top = -INFINITY
    cdef double norm = 0.0
    cdef double score, share
    cdef double *weights = r.scratch  # of the best open action, of the node's largest logit, of each child
    cdef int total = 0
    cdef int count
    cdef int best_child = NONE
    cdef int best_action = NO_ACTION
    cdef int next_child = node.first_child
    cdef int i = 2
    cdef const Node *child
    weights[0] = -INFINITY
    weights[1] = -INFINITY
    if node.best_open != NONE:
        weights[0] = r.logits[(node - r.nodes) * s.num_actions + node.best_open] + unvisited
        weights[1] = node.log_ref + unvisited
        top = weights[0]
    while next_child != NONE:
        child = r.nodes + next_child
        weights[i] = child.prior_logit
        if pending and child.visits == 0:
            weights[i] += unvisited
        else:
            weights[i] += (child.qvalue - t.lower) * factor
        top = max2(top, weights[i])
        total += child.visits + (child.pending if pending else 0)
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
        norm += node.memory.mass.open * weights[1]
        best_score = weights[0] / norm
        best_action = node.best_open
    norm = 1.0 / norm
    share = s.share[total]
    next_child = node.first_child
    i = 2
    while next_child != NONE:
        child = r.nodes + next_child
        count = child.visits + (child.pending if pending else 0)
        score = weights[i] * norm - count * share
        if score > best_score or (score == best_score and child.action < best_action):
            best_score = score
            best_child = next_child
            best_action = child.action
        next_child = child.next_sibling
        i += 1
    return best_child


cdef inline int pick_gumbel_root(
    const Search *s, const Root *r, int simulation, bint pending
) noexcept nogil:
    """Sequential halving: among actions with the scheduled visit count, argmax of g + logit + completed q."""
    cdef Node *node = r.nodes
    cdef const double *scores = s.scores + r.number * s.num_actions
    cdef Affine t = transform(s, r, node, node.value_sum / node.visits, pending)
    cdef double factor = t.factor / t.span
    cdef double unvisited = t.unvisited / t.span
    cdef int considered = s.considered[r.number * s.num_simulations + simulation]
    cdef int next_child = node.first_child
    cdef int best_child = NONE
    cdef int best_action = NO_ACTION
    cdef double best_score = -INFINITY
    cdef double score
    cdef int a, count
    cdef const Node *child
    if considered == 0:
        for a in range(<int>s.num_actions):
            if r.logits[a] == r.logits[a]:  # open
                score = max2(LOWEST_SCORE, scores[a] + unvisited)
                if score > best_score:
                    best_score = score
                    best_action = a
        node.best_open = best_action
        node.open_prob = mcts_exp(<double>r.logits[best_action] - node.log_ref) / node.normaliser
        return NONE
    while next_child != NONE:
        child = r.nodes + next_child
        count = child.visits + (child.pending if pending else 0)
        if count == considered:
            a = child.action
            score = unvisited if pending and child.visits == 0 else (child.qvalue - t.lower) * factor
            score = max2(LOWEST_SCORE, scores[a] + score)
            if score > best_score or (score == best_score and a < best_action):
                best_score = score
                best_child = next_child
                best_action = a
        next_child = child.next_sibling
    return best_child
