/* One simulation: simulate, expand, backward (mctx: search.py), and the loop around them.

   With one leaf per step, choices are `cached`: a node's choice changes only when a value is backed up through it, so
   it is made then, on the way up, and `target` carries up where the choices of a whole subtree lead. Simulating is one
   look at the root. With several leaves per step, and with bounds over the whole tree, choices are made on the way
   down.

   Included by search_*.c, once for each instruction set. */

#include "prior.h"
#include "select.h"
#include "table.h"

enum {
    AHEAD = 2,          /* roots whose memory is asked for while one is at work */
    LONGEST_FETCH = 512 /* bytes; the processor finds the rest of a row by itself */
};

/* Simulate: find the edge to evaluate. ----------------------------------------------------------------------------- */

/* Sets where the search goes on from a node without children. */
INLINE void aim(const Search *s, Node *nodes, int32_t index) {
    nodes[index].target = s->depth_limited && nodes[index].depth >= s->max_depth ? ~index : index;
}

/* Puts down the edge that the choices lead to; false if there is none, because scores are not numbers. */
INLINE int simulate_cached(const Search *s, const Root *r, int simulation) {
    const ptrdiff_t row = r->number;
    int32_t target = r->nodes->target, child;
    if (s->gumbel) {
        child = choose_gumbel_root(s, r, simulation, 0);
        target = child == NONE ? 0 : r->nodes[child].target;
    }
    if (target >= 0) {
        s->leaf_node[row] = NONE;
        s->leaf_parent[row] = target;
        s->leaf_action[row] = r->nodes[target].best_open;
    } else { /* the depth limit is met: an existing node is evaluated again */
        target = ~target;
        s->leaf_node[row] = target;
        s->leaf_parent[row] = r->nodes[target].parent;
        s->leaf_action[row] = r->nodes[target].action;
    }
    return s->leaf_action[row] != NONE;
}

/* Walks down to an edge, and counts the walk as pending; a new edge gets its node at once. */
INLINE int simulate_walking(const Search *s, const Root *r, int simulation, int leaf) {
    const ptrdiff_t row = leaf * s->num_roots + r->number;
    const int32_t slot = s->first_node + simulation;
    int32_t index = 0, child;
    Node *node;
    clear(r->nodes + slot);
    for (;;) {
        node = r->nodes + index;
        child = choose(s, r, node, simulation);
        node->pending++;
        if (child == NONE) {
            if (node->best_open == NONE) return 0;
            child = slot;
            attach(s, r, child, index, node->best_open);
        }
        node = r->nodes + child;
        if (!node->visits || node->depth >= s->max_depth) break;
        index = child;
    }
    node->pending++;
    s->leaf_node[row] = child;
    s->leaf_parent[row] = index;
    s->leaf_action[row] = node->action;
    return 1;
}

/* Selects the edges of the step that begins with a simulation; none after the last. */
INLINE int simulate(const Search *s, const Root *r, int simulation) {
    const int num_leaves = leaves_at(s, simulation);
    int leaf;
    if (s->cached) return num_leaves <= 0 || simulate_cached(s, r, simulation);
    for (leaf = 0; leaf < num_leaves; leaf++)
        if (!simulate_walking(s, r, simulation + leaf, leaf)) return 0;
    return 1;
}

/* Backward: a value goes up to the root. --------------------------------------------------------------------------- */

/* What a value does to a parent: both sums, and the Q-value of the edge it came through; returns the new mean. */
INLINE double add_value(Node *node, Node *child, double child_mean, double *ret) {
    child->qvalue = child->reward + child->discount * child_mean;
    *ret = child->reward + child->discount * *ret;
    node->value_sum += *ret;
    node->visits++;
    return node->value_sum / node->visits;
}

INLINE void backward_puct(const Search *s, const Root *r, int32_t leaf, double value) {
    Node *nodes = r->nodes, *node = nodes + leaf, *child;
    double ret = value, mean = value;
    int32_t target = node->target, index = leaf, came_from, choice;
    while (index) {
        child = node;
        came_from = index;
        index = child->parent;
        node = nodes + index;
        mean = add_value(node, child, mean, &ret);
        if (!index) {
            r->children.qvalue[child->slot] = child->qvalue;
            r->children.share[child->slot] = s->share[child->visits];
        }
        if (s->qtransform.kind == COMPLETED || !stays(s, node, child, mean)) {
            choice = index ? choose_puct(s, r, node, mean, 0) : choose_puct_root(s, r, mean);
            node->memory.rest.weight = INFINITY;
            if (choice == came_from)
                remember_rest(s, r, node, choice);
            else
                target = choice == NONE ? index : nodes[choice].target;
        }
        node->target = target;
    }
}

INLINE void backward_gumbel(const Search *s, const Root *r, int32_t leaf, double value) {
    Node *nodes = r->nodes, *node = nodes + leaf, *child;
    double ret = value, mean = value;
    int32_t index = leaf, choice;
    while (index) {
        child = node;
        index = child->parent;
        node = nodes + index;
        mean = add_value(node, child, mean, &ret);
        if (index) {
            choice = choose_gumbel(s, r, node, mean, 0);
            node->target = choice == NONE ? index : nodes[choice].target;
        } else {
            r->children.qvalue[child->slot] = child->qvalue;
            r->children.share[child->slot] = child->visits;
        }
    }
}

INLINE void backward_walking(const Root *r, int32_t leaf, double value) {
    Node *node = r->nodes + leaf, *child;
    double ret = value;
    node->pending--;
    while (node->parent != NONE) {
        child = node;
        node = r->nodes + child->parent;
        add_value(node, child, child->value_sum / child->visits, &ret);
        node->pending--;
        r->bounds[0] = min2(r->bounds[0], child->qvalue);
        r->bounds[1] = max2(r->bounds[1], child->qvalue);
    }
}

INLINE void backward(const Search *s, const Root *r, int32_t leaf, double value) {
    if (!s->cached)
        backward_walking(r, leaf, value);
    else if (s->gumbel)
        backward_gumbel(s, r, leaf, value);
    else
        backward_puct(s, r, leaf, value);
}

/* Expand: the network's answer becomes a node. --------------------------------------------------------------------- */

/* Puts the answer to one selected edge into the tree; returns its node, or NONE if a number is not usable. */
INLINE int32_t expand(const Search *s, const Root *r, int simulation, int leaf) {
    const ptrdiff_t row = leaf * s->num_roots + r->number, num_actions = s->num_actions;
    const float reward = s->reward[row], discount = s->discount[row], value = s->value[row];
    const int32_t slot = s->first_node + simulation;
    int32_t index = s->leaf_node[row];
    Node *node;
    if (!(fabsf(reward) <= FLT_MAX && fabsf(value) <= FLT_MAX && fabsf(discount) <= 1.0f)) return NONE;
    if (s->cached) clear(r->nodes + slot);
    if (index == NONE) {
        index = slot;
        attach(s, r, index, s->leaf_parent[row], s->leaf_action[row]);
    } else if (index != slot) { /* an existing node was evaluated again: the new slot stays empty */
        memset(r->logits + slot * num_actions, 0, num_actions * sizeof(float));
    }
    node = r->nodes + index;
    node->best_open =
        take_logits(r->logits + index * num_actions, s->prior_logits + row * num_actions, (int)num_actions);
    if (node->best_open == NONE) return NONE;
    node->reward = reward;
    node->discount = discount;
    node->raw_value = value;
    node->visits++;
    node->value_sum = (double)value * node->visits; /* a repeated evaluation replaces the first, as in mctx */
    if (s->cached) aim(s, r->nodes, index);
    return index;
}

/* A step of some roots. -------------------------------------------------------------------------------------------- */

/* Asks for what the next step of a root touches first, while others are at work. */
INLINE void fetch(const Search *s, ptrdiff_t b, int simulation) {
    const ptrdiff_t parent = b * s->num_nodes + s->leaf_parent[b];
    const ptrdiff_t slot = b * s->num_nodes + s->first_node + simulation;
    const ptrdiff_t row = s->num_actions * (ptrdiff_t)sizeof(float);
    ptrdiff_t i;
    for (i = 0; i < (ptrdiff_t)sizeof(Node); i += 64) {
        PREFETCH((const char *)(s->nodes + parent) + i);
        PREFETCH((const char *)(s->nodes + slot) + i);
    }
    for (i = 0; i < row && i < LONGEST_FETCH; i += 64) {
        PREFETCH((const char *)(s->logits + parent * s->num_actions) + i);
        PREFETCH((const char *)(s->logits + slot * s->num_actions) + i);
    }
}

/* Selects the first edges; returns the first root without one, or -1. */
static ptrdiff_t start(const Search *s, ptrdiff_t begin, ptrdiff_t end, int worker) {
    ptrdiff_t b;
    for (b = begin; b < end; b++) {
        const Root r = root_at(s, b, worker);
        if (!simulate(s, &r, 0)) return b;
    }
    return -1;
}

/* Takes the answers of one step to a range of roots and selects their next edges. */
static Stop step(const Search *s, ptrdiff_t begin, ptrdiff_t end, int simulation, int worker) {
    const int num_leaves = leaves_at(s, simulation);
    Stop stop = {FINE, -1};
    ptrdiff_t b, row;
    int leaf;
    for (b = begin; b < end; b++) {
        const Root r = root_at(s, b, worker);
        if (b + AHEAD < end) fetch(s, b + AHEAD, simulation);
        for (leaf = 0; leaf < num_leaves; leaf++) {
            const int32_t index = expand(s, &r, simulation + leaf, leaf);
            if (index == NONE) break;
            backward(s, &r, index, s->value[leaf * s->num_roots + b]);
        }
        if (leaf < num_leaves) {
            row = leaf * s->num_roots + b;
            if (stop.reason != BAD_ANSWER || row < stop.row) stop.row = row;
            stop.reason = BAD_ANSWER;
        } else if (!simulate(s, &r, simulation + num_leaves) && stop.reason == FINE) {
            stop.reason = NO_CHOICE;
            stop.row = b;
        }
    }
    return stop;
}
