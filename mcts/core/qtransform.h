/* Q-transforms: how the Q-values of a node's actions are put on the scale of its prior (mctx: qtransforms.py).

   Each is affine in the Q-values of the visited actions and gives all unvisited ones the same value. */

#ifndef MCTS_QTRANSFORM_H
#define MCTS_QTRANSFORM_H

#include "rows.h"

#define TINY 1.1754943508222875e-38 /* mcts.qtransforms.TINY */
#define LOWEST_SCORE -1e9           /* an action may win whose logit is -inf, where only such ones are left */

/* Transformed Q-value = (q - lower) * factor / span; `unvisited` / span is that of every unvisited action. */
typedef struct {
    double lower, factor, span, unvisited;
} Affine;

/* What a transform wants to know of the visited children. */
typedef struct {
    double low, high;              /* of their Q-values */
    double total_weight, weighted_q;
    int num_visited, max_visits, total;
} Visited;

INLINE Visited nothing_visited(void) {
    const Visited v = {INFINITY, -INFINITY, 0.0, 0.0, 0, 0, 0};
    return v;
}

INLINE void visit(Visited *v, double qvalue, double prior_prob, int visits) {
    const double weight = max2(prior_prob, TINY);
    v->low = min2(v->low, qvalue);
    v->high = max2(v->high, qvalue);
    v->total_weight += weight;
    v->weighted_q += weight * qvalue;
    v->total += visits;
    v->num_visited++;
    if (visits > v->max_visits) v->max_visits = visits;
}

/* The value that unvisited actions get, before any scaling (mctx: _compute_mixed_value); `share` is 1 / (1 + total). */
INLINE double completing_value(const Transform *q, double raw_value, const Visited *v, double share) {
    if (!q->mixed || !v->max_visits) return raw_value;
    return (raw_value + v->total * (v->weighted_q / v->total_weight)) * share;
}

/* "Policy improvement by planning with Gumbel", appendix D, equation 33 and section 3.4. */
INLINE Affine complete(const Transform *q, double completing, int all_visited, const Visited *v) {
    const double lower = all_visited ? v->low : min2(v->low, completing);
    const double upper = all_visited ? v->high : max2(v->high, completing);
    Affine t;
    t.factor = (q->maxvisit_init + v->max_visits) * q->value_scale;
    t.lower = q->rescale ? lower : 0.0;
    t.span = q->rescale ? max2(upper - lower, q->epsilon) : 1.0;
    t.unvisited = (completing - t.lower) * t.factor;
    return t;
}

/* The transforms that put unvisited actions at the bottom; `bounds` are those over the whole tree. */
INLINE Affine normalise(const Transform *q, const double *bounds, double mean, const Visited *v) {
    Affine t = {0.0, 1.0, 1.0, 0.0};
    if (q->kind == BY_MIN_MAX) {
        t.lower = q->min_value;
        t.span = q->max_value - q->min_value;
    } else if (q->kind == BY_TREE) {
        t.lower = bounds[0];
        t.span = max2(bounds[1] - bounds[0], q->epsilon);
    } else {
        t.lower = min2(mean, v->low);
        t.span = max2(max2(mean, v->high) - t.lower, q->epsilon);
    }
    return t;
}

/* The transform at a node, from what its visited children show. */
INLINE Affine qtransform(const Search *s, const Root *r, const Node *node, double mean, const Visited *v) {
    const Transform *q = &s->qtransform;
    double completing;
    if (q->kind != COMPLETED) return normalise(q, r->bounds, mean, v);
    completing = completing_value(q, node->raw_value, v, s->share[v->total]);
    return complete(q, completing, v->num_visited == s->num_actions, v);
}

/* Looks at the children of a node, as far as the transform needs it; `pending`: some may have no Q-value yet. */
INLINE Visited look_at_children(const Search *s, const Root *r, const Node *node, int pending) {
    const int kind = s->qtransform.kind;
    Visited v = nothing_visited();
    const Node *child;
    int32_t next;
    if (kind == BY_MIN_MAX || kind == BY_TREE) return v;
    for (next = node->first_child; next != NONE; next = child->next_sibling) {
        child = r->nodes + next;
        if (pending && !child->visits) continue;
        if (kind == BY_SIBLINGS) {
            v.low = min2(v.low, child->qvalue);
            v.high = max2(v.high, child->qvalue);
        } else {
            visit(&v, child->qvalue, child->prior_prob, child->visits);
        }
    }
    return v;
}

#endif
