/* How a node chooses among its visited children and its best open action (mctx: action_selection.py).

   All unvisited actions have one Q-value, so the best of them is the one with the largest prior. A choice is a child to
   go on with, or NONE for the best open action; ties go to the lowest action. `pending` says whether simulations can be
   on their way: they count like visits, but have no Q-value yet. A second kind of node, such as one of chance, would be
   one more function here and one more branch in `choose`. */

#ifndef MCTS_SELECT_H
#define MCTS_SELECT_H

#include "qtransform.h"

#define NO_ACTION INT32_MAX /* loses every tie */
#define MAX_EXPONENT 700.0
#define MARGIN 1e-12        /* far more than the rounding of a score */
#define NO_Q -1e300         /* below the Q-value of any child; finite, so that sums stay numbers */

/* The best so far. */
typedef struct {
    double score;
    int32_t action;
    int32_t child;
} Best;

INLINE void offer(Best *best, double score, int32_t child, const Node *node) {
    if (score > best->score || (score == best->score && node->action < best->action)) {
        best->score = score;
        best->action = node->action;
        best->child = child;
    }
}

/* PUCT. All scores are multiplied by the span of the Q-values, which saves the division. */

/* Tells without a look at the other children that the node goes on to this one, whose value alone has changed. */
INLINE int stays(const Search *s, const Node *node, const Node *child, double mean) {
    const Rest *rest = &node->memory.rest;
    double lower, span, factor, score, rest_q, rest_prior;
    if (s->qtransform.kind == BY_SIBLINGS) {
        lower = min2(min2(mean, rest->low), child->qvalue);
        span = max2(max2(max2(mean, rest->high), child->qvalue) - lower, s->qtransform.epsilon);
    } else {
        lower = s->qtransform.min_value;
        span = s->qtransform.max_value - s->qtransform.min_value;
    }
    factor = s->exploration[node->visits] * span;
    score = (child->qvalue - lower) + factor * child->prior_prob * s->share[child->visits];
    rest_q = rest->high - lower;
    rest_prior = factor * rest->weight;
    return (score > factor * node->open_prob) & (score > rest_q + rest_prior + MARGIN * (fabs(rest_q) + rest_prior));
}

/* Puts down what `stays` wants to know of the other children. */
INLINE void remember_rest(const Search *s, const Root *r, Node *node, int32_t chosen) {
    Rest rest = {INFINITY, NO_Q, 0.0};
    const Node *child;
    int32_t next;
    for (next = node->first_child; next != NONE; next = child->next_sibling) {
        child = r->nodes + next;
        if (next == chosen) continue;
        rest.low = min2(rest.low, child->qvalue);
        rest.high = max2(rest.high, child->qvalue);
        rest.weight = max2(rest.weight, child->prior_prob * s->share[child->visits]);
    }
    node->memory.rest = rest;
}

/* MuZero, appendix B, equation 2 (mctx: muzero_action_selection). */
INLINE int32_t choose_puct(const Search *s, const Root *r, const Node *node, double mean, int pending) {
    const Visited visited = look_at_children(s, r, node, pending);
    const Affine t = qtransform(s, r, node, mean, &visited);
    const double factor = s->exploration[node->visits + (pending ? node->pending : 0)] * t.span;
    Best best = {-INFINITY, NO_ACTION, NONE};
    const Node *child;
    double score;
    int32_t next;
    int waiting = 0;
    if (node->best_open != NONE) {
        best.score = t.unvisited + factor * node->open_prob;
        best.action = node->best_open;
    }
    for (next = node->first_child; next != NONE; next = child->next_sibling) {
        child = r->nodes + next;
        score = (child->qvalue - t.lower) * t.factor;
        if (pending) {
            waiting = child->pending;
            if (!child->visits)
                score = t.unvisited;
            else if (waiting)
                score *= child->visits / (child->visits + s->virtual_loss * waiting);
        }
        score += factor * child->prior_prob * s->share[child->visits + waiting];
        offer(&best, score, next, child);
    }
    return best.child;
}

/* Of the children of the root whose score, in scratch, is the best: that with the lowest action. */
INLINE void offer_equals(const Root *r, double score, Best *best) {
    const int n = r->nodes->num_children;
    int i;
    if (!(score >= best->score)) return;
    for (i = find_double(r->scratch, 0, n, score); i < n; i = find_double(r->scratch, i + 1, n, score))
        offer(best, score, r->children.node[i], r->nodes + r->children.node[i]);
}

/* Like `choose_puct`, over the packed children of the root, which may be many. */
INLINE int32_t choose_puct_root(const Search *s, const Root *r, double mean) {
    const Node *node = r->nodes;
    const Children *c = &r->children;
    const int n = node->num_children;
    Visited visited = nothing_visited();
    Best best = {-INFINITY, NO_ACTION, NONE};
    Affine t;
    double factor, score;
    if (s->qtransform.kind == BY_SIBLINGS)
        widen(c->qvalue, n, &visited.low, &visited.high);
    else if (s->qtransform.kind == COMPLETED)
        visited = look_at_children(s, r, node, 0);
    t = qtransform(s, r, node, mean, &visited);
    factor = s->exploration[node->visits] * t.span;
    if (node->best_open != NONE) {
        best.score = t.unvisited + factor * node->open_prob;
        best.action = node->best_open;
    }
    score = puct_scores(c->qvalue, c->prior_prob, c->share, n, t.lower, t.factor, factor, r->scratch);
    offer_equals(r, score, &best);
    return best.child;
}

/* Gumbel. */

/* Argmax of softmax(logits + completed q) - N / (1 + sum N): "Policy improvement by planning with Gumbel", section 5,
   equation 14 (mctx: gumbel_muzero_interior_action_selection). One walk along the children copies what is needed of
   them; the rest are loops over scratch, where places 0 and 1 are the best open action and the node's largest logit. */
INLINE int32_t choose_gumbel(const Search *s, const Root *r, const Node *node, double mean, int pending) {
    const ptrdiff_t size = s->scratch_size;
    double *weight = r->scratch, *qvalue = weight + size, *count = weight + 2 * size;
    Visited visited = nothing_visited();
    Best best = {-INFINITY, NO_ACTION, NONE};
    Affine t;
    const Node *child;
    double factor, unvisited, top = -INFINITY, norm = 0.0, share, score;
    int32_t next;
    int i, n = 2, total = 0, counted;
    for (next = node->first_child; next != NONE; next = child->next_sibling, n++) {
        child = r->nodes + next;
        counted = child->visits + (pending ? child->pending : 0);
        weight[n] = child->prior_logit;
        qvalue[n] = child->qvalue;
        count[n] = counted;
        total += counted;
        if (!pending || child->visits)
            visit(&visited, child->qvalue, child->prior_prob, child->visits);
        else
            qvalue[n] = NAN;
    }
    t = qtransform(s, r, node, mean, &visited);
    factor = t.factor / t.span;
    unvisited = t.unvisited / t.span;
    weight[0] = weight[1] = -INFINITY;
    if (node->best_open != NONE) {
        weight[0] = r->logits[(node - r->nodes) * s->num_actions + node->best_open] + unvisited;
        weight[1] = node->log_ref + unvisited;
        top = weight[0];
    }
    for (i = 2; i < n; i++) {
        score = (qvalue[i] - t.lower) * factor;
        weight[i] += pending && qvalue[i] != qvalue[i] ? unvisited : score;
        top = max2(top, weight[i]);
    }
    while (i % LANES) weight[i++] = -INFINITY;
    weight[1] = min2(weight[1], top + MAX_EXPONENT);
    exp_all(weight, i, top);
    for (i = 2; i < n; i++) norm += weight[i];
    if (node->best_open != NONE) {
        norm += node->memory.mass.open * weight[1];
        best.score = weight[0] / norm;
        best.action = node->best_open;
    }
    norm = 1.0 / norm;
    share = s->share[total];
    for (next = node->first_child, i = 2; next != NONE; next = child->next_sibling, i++) {
        child = r->nodes + next;
        score = weight[i] * norm - count[i] * share;
        offer(&best, score, next, child);
    }
    return best.child;
}

/* The first visit to an action that sequential halving considers: the best of the open ones, which becomes the root's
   best open action. */
INLINE int32_t open_considered(const Search *s, const Root *r, double unvisited) {
    Node *node = r->nodes;
    const double *scores = s->scores + r->number * s->num_actions;
    double best_score = -INFINITY, score;
    int32_t a, best = NONE;
    for (a = 0; a < s->num_actions; a++) {
        score = max2(LOWEST_SCORE, scores[a] + unvisited);  /* NaN stays NaN */
        if (r->logits[a] == r->logits[a] && score > best_score) {
            best_score = score;
            best = a;
        }
    }
    node->best_open = best;
    if (best != NONE) node->open_prob = exp_of((double)r->logits[best] - node->log_ref) / node->normaliser;
    return NONE;
}

/* Sequential halving: among actions with the scheduled visit count, argmax of g + logit + completed q (mctx:
   gumbel_muzero_root_action_selection). */
INLINE int32_t choose_gumbel_root(const Search *s, const Root *r, int simulation, int pending) {
    const Node *node = r->nodes;
    const Children *c = &r->children;
    const int32_t considered = s->considered[r->number * s->num_simulations + simulation];
    const int n = node->num_children;
    const double mean = node->value_sum / node->visits;
    Visited visited = nothing_visited();
    Best best = {-INFINITY, NO_ACTION, NONE};
    Affine t;
    const Node *child;
    double factor, unvisited, score;
    int i, counted;
    for (i = 0; i < n; i++) {
        child = r->nodes + c->node[i];
        if (!pending)
            visit(&visited, c->qvalue[i], c->prior_prob[i], (int)c->share[i]);
        else if (child->visits)
            visit(&visited, child->qvalue, child->prior_prob, child->visits);
    }
    t = qtransform(s, r, node, mean, &visited);
    factor = t.factor / t.span;
    unvisited = t.unvisited / t.span;
    if (!considered) return open_considered(s, r, unvisited);
    for (i = 0; i < n; i++) {
        child = r->nodes + c->node[i];
        if (pending) {
            counted = child->visits + child->pending;
            score = child->visits ? (child->qvalue - t.lower) * factor : unvisited;
        } else {
            counted = (int)c->share[i];
            score = (c->qvalue[i] - t.lower) * factor;
        }
        if (counted == considered) offer(&best, max2(LOWEST_SCORE, c->score[i] + score), c->node[i], child);
    }
    return best.child;
}

/* The choice of any node while simulations are on their way. */
INLINE int32_t choose(const Search *s, const Root *r, const Node *node, int simulation) {
    if (!s->gumbel) return choose_puct(s, r, node, node->value_sum / node->visits, 1);
    if (node == r->nodes) return choose_gumbel_root(s, r, simulation, 1);
    return choose_gumbel(s, r, node, node->value_sum / node->visits, 1);
}

#endif
