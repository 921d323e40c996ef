/* The first and the last step of a search: roots are planted (mctx: instantiate_tree_from_root), and trees are made fit
   to be looked at. */

#include "prior.h"
#include "search.h"

/* Puts the kept nodes of an earlier search, whose columns stand where they stay, below a root. */
static void replant(const Search *s, const Root *r, const Node *kept, const float *kept_logits) {
    const ptrdiff_t num_actions = s->num_actions;
    const Node *from;
    Node *node, *parent;
    double mean;
    int32_t index, choice;
    for (index = 1; index < s->first_node; index++) {
        node = r->nodes + index;
        from = kept + index;
        clear(node);
        memcpy(r->logits + index * num_actions, kept_logits + index * num_actions, num_actions * sizeof(float));
        if (from->parent == NONE) continue;
        parent = r->nodes + from->parent;
        node->best_open = argmax(r->logits + index * num_actions, (int)num_actions);
        attach(s, r, index, from->parent, from->action);
        node->value_sum = from->value_sum;
        node->qvalue = from->qvalue;
        node->visits = from->visits;
        node->reward = from->reward;
        node->discount = from->discount;
        node->raw_value = from->raw_value;
        node->prior_prob = exp_of((double)node->prior_logit - parent->log_ref) / parent->normaliser;
        r->bounds[0] = min2(r->bounds[0], node->qvalue);
        r->bounds[1] = max2(r->bounds[1], node->qvalue);
        if (!node->parent) list_child(s, r, node, index);
    }
    if (!s->cached) return;
    for (index = s->first_node - 1; index >= 0; index--) { /* children come after their parents */
        node = r->nodes + index;
        if (!node->visits) continue;
        if (node->first_child == NONE) {
            aim(s, r->nodes, index);
            continue;
        }
        mean = node->value_sum / node->visits;
        choice = index ? choose_puct(s, r, node, mean, 0) : choose_puct_root(s, r, mean);
        node->target = choice == NONE ? index : r->nodes[choice].target;
    }
}

/* Puts a root, whose logits are there already, into its tree, with the nodes kept of an earlier search if any. */
static void plant(const Search *s, ptrdiff_t b, float value, const Node *kept, const float *kept_logits) {
    const Root r = root_at(s, b, 0);
    Node *root = r.nodes;
    clear(root);
    r.bounds[0] = r.bounds[1] = value;
    root->visits = kept ? kept->visits : 1;
    root->value_sum = kept ? kept->value_sum : value;
    root->raw_value = value;
    root->best_open = argmax(r.logits, (int)s->num_actions);
    sum_prior(s, &r, root);
    if (kept) replant(s, &r, kept, kept_logits);
}

/* Writes logits back where they marked taken and forbidden actions. */
static void finish(const Search *s, ptrdiff_t b) {
    const ptrdiff_t num_actions = s->num_actions;
    const Root r = root_at(s, b, 0);
    const Node *node;
    ptrdiff_t i;
    for (i = 1; i < s->num_nodes; i++) {
        node = r.nodes + i;
        if (node->parent != NONE) r.logits[node->parent * num_actions + node->action] = node->prior_logit;
    }
    for (i = 0; i < num_actions; i++)
        if (r.logits[i] != r.logits[i]) r.logits[i] = -INFINITY;
}
