/* What a search keeps in memory: the record of a node, and the pointers and settings of one search.

   Names are those of mctx where it has the thing: `Node` holds what mctx keeps in arrays over [B, N]. */

#ifndef MCTS_TREE_H
#define MCTS_TREE_H

#include <stddef.h>
#include <stdint.h>

/* Kinds of Q-transform, as in mcts.qtransforms. */
enum { BY_MIN_MAX = 0, BY_SIBLINGS = 1, BY_TREE = 2, COMPLETED = 3 };

/* A Q-transform; which numbers it has depends on its kind. */
typedef struct {
    int kind;
    int rescale; /* rescale_values */
    int mixed;   /* use_mixed_value */
    double min_value, max_value, epsilon, value_scale, maxvisit_init;
} Transform;

enum {
    NONE = -1,
    LANES = 8 /* numbers that are summed side by side, whatever the instruction set; scratch is padded to it */
};

/* PUCT: bounds over the children other than the one the node goes on to; see `stays` in select.h. */
typedef struct {
    double low, high; /* of their Q-values */
    double weight;    /* largest prior_prob / (1 + visits); inf if nothing is known */
} Rest;

/* Gumbel: sums of exp(logit - log_ref) over the open actions. */
typedef struct {
    double open;  /* kept up by subtraction ... */
    double exact; /* ... since it was last summed to this */
} Mass;

/* One node and the edge into it, as in mcts.tree.NODE_DTYPE: two cache lines. */
typedef struct {
    /* First line: all that a choice needs of a child, and most of what backward touches. */
    double value_sum;
    double qvalue;     /* reward + discount * mean value, seen by the player who acts */
    double prior_prob;
    double open_prob;  /* prior probability of the best open action, negative if there is none */
    int32_t visits;
    int32_t parent;
    int32_t first_child;
    int32_t next_sibling;
    int32_t target;    /* where the choices lead: a node whose best open action is next, or ~node to evaluate again */
    float reward;
    float discount;
    float prior_logit;
    /* Second line. */
    double normaliser; /* sum of exp(logit - log_ref) over the allowed actions; 0 = not computed yet */
    union {
        Rest rest;
        Mass mass;
    } memory;
    float raw_value;
    float log_ref;     /* largest logit */
    int32_t action;
    int32_t num_children;
    int32_t best_open; /* the open action with the largest prior, or NONE */
    int32_t slot;      /* a child of the root: its place in the root's lists */
    int32_t pending;   /* simulations selected through the node and not backed up yet */
    int32_t depth;     /* edges from the root */
} Node;

/* The children of the root side by side, because they may be many; [num_slots] each. */
typedef struct {
    double *qvalue;
    double *prior_prob;
    double *share; /* PUCT: 1 / (1 + visits); Gumbel: visits */
    double *score; /* Gumbel: noise + logit */
    int32_t *node;
} Children;

/* What one root owns; the rest follows from its number. */
typedef struct {
    ptrdiff_t number;
    Node *nodes;    /* [N] */
    float *logits;  /* [N, A], NaN where an action is taken or forbidden */
    double *bounds; /* [2], smallest and largest Q-value so far */
    double *scratch; /* [SCRATCH_ARRAYS, scratch_size], one for each worker */
    Children children;
} Root;

enum { SCRATCH_ARRAYS = 3, CHILD_ARRAYS = 4 };

typedef struct {
    ptrdiff_t num_roots, num_nodes, num_actions;
    ptrdiff_t num_slots;    /* children a node can have at most */
    ptrdiff_t scratch_size;
    int32_t num_simulations;
    int32_t first_node;     /* that simulation 0 makes */
    int32_t leaves_per_step;
    int32_t max_depth;
    int depth_limited;      /* the limit can be met */
    int gumbel;
    int cached;             /* choices are made on the way up and stay true until the next one */
    Transform qtransform;
    double virtual_loss;
    Node *nodes;               /* [B, N] */
    float *logits;             /* [B, N, A] */
    double *bounds;            /* [B, 2] */
    double *scratch;           /* [W, SCRATCH_ARRAYS, scratch_size] */
    double *child_numbers;     /* [B, CHILD_ARRAYS, num_slots] */
    int32_t *child_node;       /* [B, num_slots] */
    double *share;             /* [V + 2], 1 / (1 + n) */
    const double *exploration; /* [V + 1] */
    const double *scores;      /* [B, A], Gumbel only */
    const int32_t *considered; /* [B, S], Gumbel only */
    /* The selected edges, [K, B] each. */
    int32_t *leaf_parent;
    int32_t *leaf_action;
    int32_t *leaf_node;        /* an existing node to evaluate, or NONE */
    int32_t *lent;             /* a copy of parents and actions, for a network that may write to it */
    /* The network's answers to them. */
    const float *reward, *discount, *prior_logits, *value;
} Search;

static inline Root root_at(const Search *s, ptrdiff_t b, int worker) {
    const ptrdiff_t n = s->num_slots;
    double *children = s->child_numbers + b * CHILD_ARRAYS * n;
    Root r;
    r.number = b;
    r.nodes = s->nodes + b * s->num_nodes;
    r.logits = s->logits + b * s->num_nodes * s->num_actions;
    r.bounds = s->bounds + 2 * b;
    r.scratch = s->scratch + worker * SCRATCH_ARRAYS * s->scratch_size;
    r.children.qvalue = children;
    r.children.prior_prob = children + n;
    r.children.share = children + 2 * n;
    r.children.score = children + 3 * n;
    r.children.node = s->child_node + b * n;
    return r;
}

/* How many leaves the step that begins with a simulation selects. */
static inline int leaves_at(const Search *s, int simulation) {
    const int left = s->num_simulations - simulation;
    return left < s->leaves_per_step ? left : s->leaves_per_step;
}

static inline void clear(Node *node) {
    static const Node empty = {
        .open_prob = -1.0, .parent = NONE, .first_child = NONE, .next_sibling = NONE,
        .memory = {.rest = {.weight = __builtin_inf()}}, .action = NONE, .best_open = NONE,
    };
    *node = empty;
}

#endif
