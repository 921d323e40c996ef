/* Q-transforms: how the Q-values of a node's actions are put on the scale of its prior (mctx: qtransforms.py).

   Each is affine in the Q-values of the visited actions and gives all unvisited ones the same value. */

#ifndef MCTS_QTRANSFORM_H
#define MCTS_QTRANSFORM_H

#include "rows.h"

#define TINY 1.1754943508222875e-38 /* mcts.qtransforms.TINY */

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

/* The value that unvisited actions get, before any scaling (mctx: _compute_mixed_value). */
INLINE double completing_value(const Search *s, double raw_value, const Visited *v) {
    if (!s->mixed || !v->max_visits) return raw_value;
    return (raw_value + v->total * (v->weighted_q / v->total_weight)) * s->share[v->total];
}

/* "Policy improvement by planning with Gumbel", appendix D, equation 33 and section 3.4. */
INLINE Affine complete_by_mix_value(const Search *s, double raw_value, const Visited *v) {
    const double completing = completing_value(s, raw_value, v);
    double lower = v->low, upper = v->high;
    Affine t;
    if (v->num_visited < s->num_actions) {
        lower = min2(lower, completing);
        upper = max2(upper, completing);
    }
    t.factor = (s->maxvisit_init + v->max_visits) * s->value_scale;
    t.lower = s->rescale ? lower : 0.0;
    t.span = s->rescale ? max2(upper - lower, s->epsilon) : 1.0;
    t.unvisited = (completing - t.lower) * t.factor;
    return t;
}

INLINE Affine between(double lower, double span) {
    const Affine t = {lower, 1.0, span, 0.0};
    return t;
}

/* The transform at a node, from what its visited children show. */
INLINE Affine qtransform(const Search *s, const Root *r, const Node *node, double mean, const Visited *v) {
    double lower, upper;
    switch (s->kind) {
    case BY_MIN_MAX:
        return between(s->min_value, s->max_value - s->min_value);
    case BY_TREE:
        return between(r->bounds[0], max2(r->bounds[1] - r->bounds[0], s->epsilon));
    case BY_SIBLINGS:
        lower = min2(mean, v->low);
        upper = max2(mean, v->high);
        return between(lower, max2(upper - lower, s->epsilon));
    default:
        return complete_by_mix_value(s, node->raw_value, v);
    }
}

/* Looks at the children of a node, as far as the transform needs it; `pending`: some may have no Q-value yet. */
INLINE Visited look_at_children(const Search *s, const Root *r, const Node *node, int pending) {
    Visited v = nothing_visited();
    const Node *child;
    int32_t next;
    if (s->kind == BY_MIN_MAX || s->kind == BY_TREE) return v;
    for (next = node->first_child; next != NONE; next = child->next_sibling) {
        child = r->nodes + next;
        if (pending && !child->visits) continue;
        if (s->kind == BY_SIBLINGS) {
            v.low = min2(v.low, child->qvalue);
            v.high = max2(v.high, child->qvalue);
        } else {
            visit(&v, child->qvalue, child->prior_prob, child->visits);
        }
    }
    return v;
}

#endif
