/* What the two policies do around a search, root by root: noise and schedules before, the improved policy after (mctx:
   policies.py). The same in NumPy stands in mcts/_twin.py. */

#ifndef MCTS_POLICY_H
#define MCTS_POLICY_H

#include "noise.h"
#include "qtransform.h"

/* Before the search. ----------------------------------------------------------------------------------------------- */

/* Copies a row of logits, -inf where forbidden; returns whether it is a policy: no NaN or +inf, one finite number. */
static inline int mask_logits(const float *logits, const uint8_t *invalid, int n, float *out) {
    int i, usable = 1, some = 0;
    for (i = 0; i < n; i++) {
        out[i] = invalid[i] ? -INFINITY : logits[i];
        usable &= out[i] < INFINITY;
        some |= out[i] > -INFINITY;
    }
    return usable & some;
}

/* exp(x[i] - the largest), divided by their sum; returns the largest. */
INLINE double softmax(const double *x, int n, double *out) {
    double top = -INFINITY, total = 0.0;
    int i;
    for (i = 0; i < n; i++) top = max2(x[i], top);
    for (i = 0; i < n; i++) {
        out[i] = exp_of(x[i] - top);
        total += out[i];
    }
    for (i = 0; i < n; i++) out[i] /= total;
    return top;
}

/* Mixes noise over the legal actions into a prior, in the logarithm. */
static inline void add_dirichlet(float *logits, const uint8_t *invalid, int n, uint64_t key, double fraction,
                                 double alpha, double *scratch) {
    double *probs = scratch, *noise = scratch + n;
    int i;
    for (i = 0; i < n; i++) noise[i] = logits[i];
    softmax(noise, n, probs);
    dirichlet(key, alpha, invalid, n, noise);
    for (i = 0; i < n; i++) logits[i] = (float)log_of((1.0 - fraction) * probs[i] + fraction * noise[i]);
}

/* Scores of the root's actions: noise + logit - largest logit. */
static inline void gumbel_scores(const float *logits, int n, uint64_t key, double scale, double *scores) {
    float top = -INFINITY;
    int i;
    for (i = 0; i < n; i++) top = logits[i] > top ? logits[i] : top;
    for (i = 0; i < n; i++) {
        scores[i] = (double)logits[i] - top;
        if (scale != 0.0) scores[i] += scale * standard_gumbel(key, GUMBEL, i);
    }
}

/* PUCT's factor of the prior by visit count n, for n up to most_visits: sqrt(n) (c1 + log((n + c2 + 1) / c2)). */
static inline void exploration_factors(int64_t most_visits, double c1, double c2, double *out) {
    int64_t n;
    for (n = 0; n <= most_visits; n++) out[n] = sqrt((double)n) * (c1 + log_of((n + c2 + 1.0) / c2));
}

/* The schedule of sequential halving; mcts/seq_halving.py explains it. */
static inline void considered_visits(int num_considered, int num_simulations, int32_t *out) {
    int num_phases = 0, remaining = num_considered, visits = 0, i = 0, j, rounds;
    while (num_considered > 1 && (num_considered - 1) >> num_phases) num_phases++;
    while (i < num_simulations) {
        rounds = num_phases ? num_simulations / (num_phases * remaining) : 1;
        do {
            for (j = 0; j < (remaining > 1 ? remaining : 1) && i < num_simulations; j++) out[i++] = visits;
            visits++;
        } while (--rounds > 0 && i < num_simulations);
        if (remaining > 2) remaining = remaining / 2 > 2 ? remaining / 2 : 2;
    }
}

/* After the search. ------------------------------------------------------------------------------------------------ */

/* Where the row of one root goes. */
typedef struct {
    int32_t *action, *visit_counts;
    float *action_weights, *qvalues, *root_value, *improved_value;
} ResultRow;

INLINE float to_float(double x) { return (float)min2(max2(x, -FLT_MAX), FLT_MAX); }

/* Reads the root's children off a tree; q receives their Q-values in double precision. */
static inline Visited read_children(const Node *nodes, ptrdiff_t num_nodes, int n, const ResultRow *row, double *q) {
    Visited v = nothing_visited();
    const Node *node;
    ptrdiff_t i;
    memset(row->visit_counts, 0, n * sizeof(int32_t));
    memset(q, 0, n * sizeof(double));
    for (i = 1; i < num_nodes; i++) {
        node = nodes + i;
        if (node->parent || !node->visits) continue;
        row->visit_counts[node->action] = node->visits;
        q[node->action] = node->qvalue;
        visit(&v, node->qvalue, node->prior_prob, node->visits);
    }
    for (i = 0; i < n; i++) row->qvalues[i] = to_float(q[i]);
    *row->root_value = to_float(nodes->value_sum / nodes->visits);
    return v;
}

/* The bounds over a whole tree, for BY_TREE. */
static inline void tree_bounds(const Node *nodes, ptrdiff_t num_nodes, double *bounds) {
    ptrdiff_t i;
    bounds[0] = bounds[1] = nodes->raw_value;
    for (i = 1; i < num_nodes; i++) {
        if (!nodes[i].visits || nodes[i].parent < 0) continue;
        bounds[0] = min2(nodes[i].qvalue, bounds[0]);
        bounds[1] = max2(nodes[i].qvalue, bounds[1]);
    }
}

/* Gumbel: softmax(logits + transformed q) over the legal actions, its value, and the survivor of the halving: among the
   most visited the best sum of noise, logit and value. */
static inline void gumbel_result(const Transform *qt, const Node *nodes, ptrdiff_t num_nodes, const float *logits,
                                 const uint8_t *invalid, const double *scores, int n, double *scratch,
                                 const ResultRow *row) {
    double *q = scratch, *weight = scratch + n, bounds[2], x, completing, improved = 0.0, best = -INFINITY;
    const Visited v = read_children(nodes, num_nodes, n, row, q);
    Affine t;
    int i;
    completing = nodes->raw_value;
    if (qt->kind == COMPLETED) {
        completing = completing_value(qt, completing, &v, 1.0 / (1.0 + v.total));
        t = complete(qt, completing, v.num_visited == n, &v);
    } else {
        tree_bounds(nodes, num_nodes, bounds);
        t = normalise(qt, bounds, nodes->value_sum / nodes->visits, &v);
    }
    *row->action = NONE;
    for (i = 0; i < n; i++) {
        x = row->visit_counts[i] ? t.factor * ((q[i] - t.lower) / t.span) : t.unvisited / t.span;
        weight[i] = invalid[i] ? -INFINITY : logits[i] + x;
        if (invalid[i] || row->visit_counts[i] != v.max_visits) continue;
        x = max2(LOWEST_SCORE, scores[i] + x);
        if (x > best) {
            best = x;
            *row->action = i;
        }
    }
    softmax(weight, n, weight);
    for (i = 0; i < n; i++) {
        row->action_weights[i] = (float)weight[i];
        improved += weight[i] * (row->visit_counts[i] ? q[i] : completing);
    }
    *row->improved_value = to_float(improved);
}

/* PUCT: the shares of the visits, their value, and an action drawn from visits^(1 / temperature). */
static inline void puct_result(const Node *nodes, ptrdiff_t num_nodes, uint64_t key, double temperature, int n,
                               double *scratch, const ResultRow *row) {
    double *q = scratch, improved = 0.0, best = -INFINITY, score;
    const Visited v = read_children(nodes, num_nodes, n, row, q);
    int i;
    *row->action = 0;
    for (i = 0; i < n; i++) {
        const int32_t count = row->visit_counts[i];
        row->action_weights[i] = (float)((double)count / v.total);
        improved += count * q[i];
        score = count;
        if (temperature != 0.0)
            score = (log_of(count) - log_of(v.max_visits)) / temperature + standard_gumbel(key, ACTION, i);
        if (score > best) {
            best = score;
            *row->action = i;
        }
    }
    *row->improved_value = to_float(improved / v.total);
}

#endif
