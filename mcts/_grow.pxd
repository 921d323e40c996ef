# cython: language_level=3, cdivision=True
# How a tree grows: select a leaf, put the network's answer there, back it up to the root.
#
# With one leaf per step, choices are `cached`: a node's choice changes only when a value is backed up through it, so it
# is made then, on the way up, and `target` carries up where the choices of a whole subtree lead. Selecting is one look
# at the root. With several leaves per step, and with bounds over the whole tree, choices are made on the way down.

from mcts._choice cimport (
    pick_gumbel, pick_gumbel_root, pick_puct, pick_puct_root, remember_rest, stays,
)
from mcts._tree cimport (
    COMPLETED, INFINITY, NAN, NONE, Node, Root, Search, clear, isfinite, max2, mcts_argmax, mcts_exp, mcts_fetch,
    mcts_sum_exp, mcts_take_logits, min2, root_at,
)


cdef enum:
    LONGEST_FETCH = 512  # bytes; the processor finds the rest of a row by itself


# Priors ---------------------------------------------------------------------------------------------------------------


cdef inline void sum_prior(const Search *s, const Root *r, Node *node) noexcept nogil:
    """Computes the softmax normaliser of a node none of whose actions is taken yet."""
    cdef const float *logits = r.logits + (node - r.nodes) * s.num_actions
    node.log_ref = logits[node.best_open]
    node.normaliser = mcts_sum_exp(logits, <int>s.num_actions, node.log_ref)
    node.open_prob = 1.0 / node.normaliser
    if s.gumbel:
        node.memory.mass.open = node.normaliser
        node.memory.mass.exact = node.normaliser


cdef inline void find_best_open(const Search *s, const Root *r, Node *node) noexcept nogil:
    """Finds the open action with the largest prior, after one was taken."""
    cdef int num_actions = <int>s.num_actions
    cdef const float *logits = r.logits + (node - r.nodes) * s.num_actions
    cdef int best = mcts_argmax(logits, num_actions)  # -1 = NONE
    node.best_open = best
    node.open_prob = -1.0
    if best != NONE:
        node.open_prob = mcts_exp(<double>logits[best] - node.log_ref) / node.normaliser
        if s.gumbel and node.memory.mass.open < 0.5 * node.memory.mass.exact:
            # Summed again before the subtractions eat up the digits.
            node.memory.mass.open = mcts_sum_exp(logits, num_actions, node.log_ref)
            node.memory.mass.exact = node.memory.mass.open


cdef inline void attach(const Search *s, const Root *r, int index, int parent_index, int action) noexcept nogil:
    """Makes a cleared node the child that the parent's best open action leads to."""
    cdef Node *node = r.nodes + index
    cdef Node *parent = r.nodes + parent_index
    cdef float *logit = r.logits + parent_index * s.num_actions + action
    cdef Py_ssize_t place
    if parent.normaliser == 0.0:
        sum_prior(s, r, parent)
    node.parent = parent_index
    node.action = action
    node.next_sibling = parent.first_child
    node.prior_logit = logit[0]
    node.prior_prob = parent.open_prob
    if parent_index == 0 and not s.gumbel:
        node.slot = parent.num_children
        place = r.number * s.num_slots + node.slot
        s.child_prob[place] = node.prior_prob
        s.child_node[place] = index
    parent.first_child = index
    parent.num_children += 1
    logit[0] = NAN
    if s.gumbel:
        parent.memory.mass.open -= parent.open_prob * parent.normaliser
    else:
        parent.memory.rest.weight = INFINITY
    find_best_open(s, r, parent)


# Select ---------------------------------------------------------------------------------------------------------------


cdef inline int depth_of(const Root *r, int index) noexcept nogil:
    cdef int depth = 0
    while index != 0:
        index = r.nodes[index].parent
        depth += 1
    return depth


cdef inline void aim_leaf(const Search *s, const Root *r, int index) noexcept nogil:
    """Sets where the search goes on from a node without children."""
    r.nodes[index].target = index
    if s.depth_limited and depth_of(r, index) >= s.max_depth:
        r.nodes[index].target = ~index


cdef inline void select_cached(const Search *s, const Root *r, int simulation) noexcept nogil:
    """Puts down the edge that the choices lead to."""
    cdef int target = r.nodes[0].target
    cdef int child
    if s.gumbel:
        child = pick_gumbel_root(s, r, simulation, False)
        target = 0 if child == NONE else r.nodes[child].target
    if target >= 0:
        s.leaf_node[r.number] = NONE
        s.leaf_parent[r.number] = target
        s.leaf_action[r.number] = r.nodes[target].best_open
    else:  # the depth limit is met: an existing node is evaluated again
        target = ~target
        s.leaf_node[r.number] = target
        s.leaf_parent[r.number] = r.nodes[target].parent
        s.leaf_action[r.number] = r.nodes[target].action


cdef inline int choose(const Search *s, const Root *r, Node *node, int simulation) noexcept nogil:
    if s.gumbel:
        if node == r.nodes:
            return pick_gumbel_root(s, r, simulation, True)
        return pick_gumbel(s, r, node, node.value_sum / node.visits, True)
    return pick_puct(s, r, node, node.value_sum / node.visits, True)


cdef inline void select_walking(const Search *s, const Root *r, int simulation, int leaf) noexcept nogil:
    """Walks down to an edge, and counts the walk as pending; a new edge gets its node at once."""
    cdef Py_ssize_t row = leaf * s.num_roots + r.number
    cdef int slot = s.first_node + simulation
    cdef int index = 0
    cdef int depth = 0
    cdef int child
    cdef Node *node
    clear(r.nodes + slot)
    while True:
        node = r.nodes + index
        child = choose(s, r, node, simulation)
        node.pending += 1
        depth += 1
        if child == NONE:
            child = slot
            attach(s, r, child, index, node.best_open)
        if r.nodes[child].visits == 0 or depth >= s.max_depth:
            break
        index = child
    node = r.nodes + child
    node.pending += 1
    s.leaf_node[row] = child
    s.leaf_parent[row] = index
    s.leaf_action[row] = node.action


cdef inline void select_step(const Search *s, const Root *r, int simulation) noexcept nogil:
    """Selects the edges of the step that begins with a simulation; none after the last."""
    cdef int leaf
    if s.cached:
        if simulation < s.num_simulations:
            select_cached(s, r, simulation)
        return
    for leaf in range(min(s.num_leaves, s.num_simulations - simulation)):
        select_walking(s, r, simulation + leaf, leaf)


# Expand and back up ---------------------------------------------------------------------------------------------------


cdef inline void back_up_puct(const Search *s, const Root *r, int leaf, double value) noexcept nogil:
    cdef Node *nodes = r.nodes
    cdef Node *node = nodes + leaf
    cdef Node *child
    cdef double ret = value
    cdef double mean = value
    cdef int target = node.target
    cdef int index = leaf
    cdef int came_from, pick
    while index != 0:
        child = node
        came_from = index
        child.qvalue = child.reward + child.discount * mean
        ret = child.reward + child.discount * ret
        index = child.parent
        node = nodes + index
        node.value_sum += ret
        node.visits += 1
        mean = node.value_sum / node.visits
        if index == 0:
            s.child_q[r.number * s.num_slots + child.slot] = child.qvalue
            s.child_share[r.number * s.num_slots + child.slot] = s.share[child.visits]
        if s.kind == COMPLETED or not stays(s, node, child, mean):
            pick = pick_puct(s, r, node, mean, False) if index else pick_puct_root(s, r, mean)
            node.memory.rest.weight = INFINITY
            if pick == NONE:
                target = index
            elif pick == came_from:
                remember_rest(s, r, node, pick)
            else:
                target = nodes[pick].target
        node.target = target


cdef inline void back_up_gumbel(const Search *s, const Root *r, int leaf, double value) noexcept nogil:
    cdef Node *nodes = r.nodes
    cdef Node *node = nodes + leaf
    cdef Node *child
    cdef double ret = value
    cdef double mean = value
    cdef int index = leaf
    cdef int pick
    while index != 0:
        child = node
        child.qvalue = child.reward + child.discount * mean
        ret = child.reward + child.discount * ret
        index = child.parent
        node = nodes + index
        node.value_sum += ret
        node.visits += 1
        mean = node.value_sum / node.visits
        if index:
            pick = pick_gumbel(s, r, node, mean, False)
            node.target = index if pick == NONE else nodes[pick].target


cdef inline void back_up_walking(const Search *s, const Root *r, int leaf, double value) noexcept nogil:
    cdef Node *node = r.nodes + leaf
    cdef Node *child
    cdef double ret = value
    node.pending -= 1
    while node.parent != NONE:
        child = node
        node = r.nodes + child.parent
        child.qvalue = child.reward + child.discount * (child.value_sum / child.visits)
        ret = child.reward + child.discount * ret
        r.bounds[0] = min2(r.bounds[0], child.qvalue)
        r.bounds[1] = max2(r.bounds[1], child.qvalue)
        node.value_sum += ret
        node.visits += 1
        node.pending -= 1


cdef inline bint expand(const Search *s, const Root *r, int simulation, int leaf) noexcept nogil:
    """Puts the answer to one selected edge into the tree and backs it up; False if its numbers are not usable."""
    cdef Py_ssize_t row = leaf * s.num_roots + r.number
    cdef int slot = s.first_node + simulation
    cdef int index = s.leaf_node[row]
    cdef float reward = s.reward[row]
    cdef float discount = s.discount[row]
    cdef float value = s.value[row]
    cdef Py_ssize_t a
    cdef Node *node
    if not (isfinite(reward) and isfinite(value) and discount >= -1.0 and discount <= 1.0):
        return False
    if s.cached:
        clear(r.nodes + slot)
    if index == NONE:
        index = slot
        attach(s, r, index, s.leaf_parent[row], s.leaf_action[row])
    elif index != slot:  # an existing node was evaluated again: the new slot stays empty
        for a in range(s.num_actions):
            r.logits[slot * s.num_actions + a] = 0.0
    node = r.nodes + index
    node.best_open = mcts_take_logits(
        r.logits + index * s.num_actions, s.prior_logits + row * s.num_actions, <int>s.num_actions
    )
    if node.best_open == NONE:
        return False
    node.reward = reward
    node.discount = discount
    node.raw_value = value
    node.visits += 1
    # A repeated evaluation replaces the first, as in mctx.
    node.value_sum = <double>value * node.visits
    if not s.cached:
        back_up_walking(s, r, index, value)
    else:
        aim_leaf(s, r, index)
        if s.gumbel:
            back_up_gumbel(s, r, index, value)
        else:
            back_up_puct(s, r, index, value)
    return True


cdef inline void fetch(const Search *s, Py_ssize_t b, int simulation) noexcept nogil:
    """Asks for what the next step of a root touches first, while others are at work."""
    cdef Py_ssize_t first = b * s.num_nodes
    cdef Py_ssize_t parent = first + s.leaf_parent[b]
    cdef Py_ssize_t slot = first + s.first_node + simulation
    cdef Py_ssize_t row = min(s.num_actions * sizeof(float), <Py_ssize_t>LONGEST_FETCH)
    mcts_fetch(s.nodes + parent, sizeof(Node))
    mcts_fetch(s.nodes + slot, sizeof(Node))
    mcts_fetch(s.logits + parent * s.num_actions, row)
    mcts_fetch(s.logits + slot * s.num_actions, row)


cdef inline int advance(const Search *s, Py_ssize_t b, Py_ssize_t range_begin, int simulation) noexcept nogil:
    """Takes the answers of one step to one root and selects its next edges; returns the leaf not usable, or -1."""
    cdef Root r = root_at(s, b, range_begin)
    cdef int num_leaves = min(s.num_leaves, s.num_simulations - simulation)
    cdef int leaf
    for leaf in range(num_leaves):
        if not expand(s, &r, simulation + leaf, leaf):
            return leaf
    select_step(s, &r, simulation + num_leaves)
    return -1


# Roots, and kept trees ------------------------------------------------------------------------------------------------


cdef inline void plant(
    const Search *s, const Root *r, float value, const Node *kept, const float *kept_logits
) noexcept nogil:
    """Puts a root, whose logits are there already, into its tree, with the nodes kept of an earlier search if any."""
    cdef Node *root = r.nodes
    clear(root)
    r.bounds[0] = value
    r.bounds[1] = value
    if kept == NULL:
        root.visits = 1
        root.value_sum = value
    else:
        root.visits = kept.visits
        root.value_sum = kept.value_sum
    root.raw_value = value
    root.best_open = mcts_argmax(r.logits, <int>s.num_actions)
    sum_prior(s, r, root)
    if kept != NULL:
        replant(s, r, kept, kept_logits)


cdef inline void replant(const Search *s, const Root *r, const Node *kept, const float *kept_logits) noexcept nogil:
    """Takes over the nodes of a kept tree, whose columns stand where they stay."""
    cdef Py_ssize_t a
    cdef int index, pick
    cdef Node *node
    for index in range(1, s.first_node):
        node = r.nodes + index
        clear(node)
        for a in range(s.num_actions):
            r.logits[index * s.num_actions + a] = kept_logits[index * s.num_actions + a]
        if kept[index].parent == NONE:
            continue
        node.best_open = mcts_argmax(r.logits + index * s.num_actions, <int>s.num_actions)
        attach(s, r, index, kept[index].parent, kept[index].action)
        node.value_sum = kept[index].value_sum
        node.qvalue = kept[index].qvalue
        node.visits = kept[index].visits
        node.reward = kept[index].reward
        node.discount = kept[index].discount
        node.raw_value = kept[index].raw_value
        node.prior_prob = mcts_exp(
            <double>node.prior_logit - r.nodes[node.parent].log_ref
        ) / r.nodes[node.parent].normaliser
        r.bounds[0] = min2(r.bounds[0], node.qvalue)
        r.bounds[1] = max2(r.bounds[1], node.qvalue)
        if node.parent == 0:
            s.child_q[r.number * s.num_slots + node.slot] = node.qvalue
            s.child_prob[r.number * s.num_slots + node.slot] = node.prior_prob
            s.child_share[r.number * s.num_slots + node.slot] = s.share[node.visits]
    if not s.cached:
        return
    for index in range(s.first_node - 1, -1, -1):  # children come after their parents
        node = r.nodes + index
        if node.visits == 0:
            continue
        if node.first_child == NONE:
            aim_leaf(s, r, index)
            continue
        if index:
            pick = pick_puct(s, r, node, node.value_sum / node.visits, False)
        else:
            pick = pick_puct_root(s, r, node.value_sum / node.visits)
        node.target = index if pick == NONE else r.nodes[pick].target
