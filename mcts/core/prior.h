/* The prior of a node: a late softmax, the best action that is still open, and edges that are taken.

   The normaliser, which needs A exponentials, is computed when a node gets its first child. A taken action's logit is
   NaN in the node's row until the search ends; the child keeps it. */

#ifndef MCTS_PRIOR_H
#define MCTS_PRIOR_H

#include "rows.h"

/* Sums the softmax of a node none of whose actions is taken yet. */
INLINE void sum_prior(const Search *s, const Root *r, Node *node) {
    const float *logits = r->logits + (node - r->nodes) * s->num_actions;
    node->log_ref = logits[node->best_open];
    node->normaliser = sum_exp(logits, (int)s->num_actions, node->log_ref);
    node->open_prob = 1.0 / node->normaliser;
    if (s->gumbel) node->memory.mass.open = node->memory.mass.exact = node->normaliser;
}

/* Finds the open action with the largest prior, after one was taken. */
INLINE void find_best_open(const Search *s, const Root *r, Node *node) {
    const int num_actions = (int)s->num_actions;
    const float *logits = r->logits + (node - r->nodes) * s->num_actions;
    Mass *mass = &node->memory.mass;
    node->best_open = argmax(logits, num_actions);
    node->open_prob = -1.0;
    if (node->best_open == NONE) return;
    node->open_prob = exp_of((double)logits[node->best_open] - node->log_ref) / node->normaliser;
    /* Summed again before the subtractions eat up the digits. */
    if (s->gumbel && mass->open < 0.5 * mass->exact)
        mass->open = mass->exact = sum_exp(logits, num_actions, node->log_ref);
}

/* Takes a root's child into the lists of the root. */
INLINE void list_child(const Search *s, const Root *r, Node *node, int32_t index) {
    const Children *c = &r->children;
    const int32_t slot = node->slot;
    c->qvalue[slot] = node->qvalue;
    c->prior_prob[slot] = node->prior_prob;
    c->share[slot] = s->gumbel ? node->visits : s->share[node->visits];
    if (s->gumbel) c->score[slot] = s->scores[r->number * s->num_actions + node->action];
    c->node[slot] = index;
}

/* Makes a cleared node the child that an open action of the parent leads to (mctx: the edge of update_tree_node). */
INLINE void attach(const Search *s, const Root *r, int32_t index, int32_t parent_index, int32_t action) {
    Node *node = r->nodes + index, *parent = r->nodes + parent_index;
    float *logit = r->logits + parent_index * s->num_actions + action;
    if (parent->normaliser == 0.0) sum_prior(s, r, parent);
    node->parent = parent_index;
    node->depth = parent->depth + 1;
    node->action = action;
    node->next_sibling = parent->first_child;
    node->slot = parent->num_children;
    node->prior_logit = *logit;
    node->prior_prob = parent->open_prob;
    parent->first_child = index;
    parent->num_children++;
    *logit = NAN;
    if (!parent_index) list_child(s, r, node, index);
    if (s->gumbel)
        parent->memory.mass.open -= parent->open_prob * parent->normaliser;
    else
        parent->memory.rest.weight = INFINITY;
    find_best_open(s, r, parent);
}

#endif
