/* Whole searches without Python, on answers made by hashing: the same program for every compiler and processor.

   portable           names the instruction sets that this machine can run, one a line
   portable NAME      makes every search with one of them; a line for each: what it was, and a checksum of all its bits

   The last lines are the noise of the roots and what the policies make of a tree. Answers are multiples of powers of
   two, so that nothing here rounds differently anywhere. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VECTOR_BYTES 16
#include "policy.h"
#include "layout.h"
#include "table.h"

enum { ROOTS = 3, SIMULATIONS = 120, COUNTS = SIMULATIONS + 3 };
enum { MOST_ACTIONS = 150, MOST_LEAVES = 3, MOST_CONSIDERED = 4 };

static const int ACTIONS[] = {1, 3, 8, 17, 65, 150};
static const char *const KINDS[] = {"min_max", "siblings", "tree", "completed"};

static uint64_t hash(uint64_t x) {
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* A multiple of 2^-23 in [-1, 1); half of the worlds have halves only, so that scores are tied. */
static float number(uint64_t key) {
    const float fine = (float)(int32_t)(hash(key) >> 40) / 8388608.0f - 1.0f;
    return key & 1 ? fine : floorf(2.0f * fine) / 2.0f;
}

static void *memory(size_t count, size_t size) {
    void *block = aligned_alloc(CACHE_LINE, (count * size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    if (!block) abort();
    memset(block, 0, count * size);
    return block;
}

/* One row of logits: some -inf, some far from the others, the first always finite. */
static void make_logits(uint64_t key, int num_actions, float *logits) {
    int a;
    for (a = 0; a < num_actions; a++) {
        const uint64_t kind = hash(key + 1024 * (uint64_t)a) % 16;
        logits[a] = number(key + 4096 * (uint64_t)a) * (kind == 1 ? 90.0f : 4.0f);
        if (kind == 0 && a) logits[a] = -INFINITY;
    }
}

static void answer(const Search *s, uint64_t world, int simulation, float *reward, float *discount, float *logits,
                   float *value) {
    const ptrdiff_t num_rows = s->num_roots * leaves_at(s, simulation);
    ptrdiff_t row;
    for (row = 0; row < num_rows; row++) {
        const uint64_t edge = (uint64_t)s->leaf_parent[row] * 1024 + (uint64_t)s->leaf_action[row];
        const uint64_t key = 8 * (hash(world + (uint64_t)(row % s->num_roots)) + 65536 * edge) + world % 2;
        reward[row] = number(key);
        discount[row] = hash(key) % 8 ? 0.996f : hash(key) % 16 ? 0.0f : -1.0f;
        value[row] = 4.0f * number(key + 2);
        make_logits(key + 4, (int)s->num_actions, logits + row * s->num_actions);
    }
}

static uint64_t add_bytes(uint64_t sum, const void *address, size_t num_bytes) {
    const unsigned char *byte = address;
    size_t i;
    for (i = 0; i < num_bytes; i++) sum = (sum ^ byte[i]) * 0x100000001B3u;
    return sum;
}

/* Every considered action equally often, then only two of them. */
static void make_schedule(int num_legal, int32_t *considered) {
    const int many = num_legal < MOST_CONSIDERED ? num_legal : MOST_CONSIDERED, few = many < 2 ? many : 2;
    const int half = SIMULATIONS / 2 / many * many;
    int i;
    for (i = 0; i < SIMULATIONS; i++)
        considered[i] = i < half ? i / many : half / many + (i - half) / few;
}

/* Adds what the policies read off the tree of one root. */
static uint64_t add_result(uint64_t sum, const Search *s, ptrdiff_t b, uint64_t key) {
    const int n = (int)s->num_actions;
    const Node *nodes = s->nodes + b * s->num_nodes;
    const float *logits = s->logits + b * s->num_nodes * n;
    float weights[MOST_ACTIONS], qvalues[MOST_ACTIONS], values[2];
    double scratch[2 * MOST_ACTIONS];
    int32_t counts[MOST_ACTIONS], action;
    uint8_t invalid[MOST_ACTIONS];
    const ResultRow row = {&action, counts, weights, qvalues, values, values + 1};
    int i;
    for (i = 0; i < n; i++) invalid[i] = logits[i] == -INFINITY;
    if (s->gumbel)
        gumbel_result(&s->qtransform, nodes, s->num_nodes, logits, invalid, s->scores + b * n, n, scratch, &row);
    else
        puct_result(nodes, s->num_nodes, key, 0.7, n, scratch, &row);
    sum = add_bytes(sum, weights, n * sizeof *weights);
    sum = add_bytes(sum, values, sizeof values);
    return add_bytes(sum, &action, sizeof action);
}

/* The noise of a root: Dirichlet noise in its prior, Gumbel noise in its scores. */
static uint64_t noise(uint64_t key, int n) {
    float logits[MOST_ACTIONS];
    double scratch[2 * MOST_ACTIONS];
    uint8_t invalid[MOST_ACTIONS];
    uint64_t sum = 0xCBF29CE484222325u;
    int i;
    make_logits(key, n, logits);
    for (i = 0; i < n; i++) invalid[i] = logits[i] == -INFINITY;
    gumbel_scores(logits, n, key, 0.75, scratch);
    sum = add_bytes(sum, scratch, n * sizeof *scratch);
    add_dirichlet(logits, invalid, n, key, 0.25, n > 8 ? 0.03 : 1.5, scratch);
    return add_bytes(sum, logits, n * sizeof *logits);
}

/* Makes one search and returns the checksum of its result, nodes and logits. */
static uint64_t search(const InstructionSet *set, uint64_t world, int gumbel, int kind, int num_leaves, int max_depth,
                       int num_actions) {
    const size_t nodes = ROOTS * (SIMULATIONS + 1), logits = nodes * (size_t)num_actions;
    const Transform qtransform = {kind, 1, 1, -8.0, 8.0, 1e-8, 0.125, 50.0};
    double exploration[COUNTS];
    float reward[ROOTS * MOST_LEAVES], discount[ROOTS * MOST_LEAVES], value[ROOTS * MOST_LEAVES];
    double *scores = memory(ROOTS * (size_t)num_actions, sizeof(double));
    float *prior_logits = memory(ROOTS * MOST_LEAVES * (size_t)num_actions, sizeof(float));
    int32_t considered[ROOTS * SIMULATIONS];
    void *work;
    uint64_t sum = 0xCBF29CE484222325u;
    Search s;
    Stop stop;
    ptrdiff_t b, a;
    int i, num_legal;
    memset(&s, 0, sizeof s);
    s.num_roots = ROOTS;
    s.num_nodes = SIMULATIONS + 1;
    s.num_actions = num_actions;
    s.num_slots = num_actions < s.num_nodes ? num_actions : s.num_nodes;
    s.num_simulations = SIMULATIONS;
    s.first_node = 1;
    s.leaves_per_step = num_leaves;
    s.max_depth = max_depth;
    s.depth_limited = max_depth < SIMULATIONS;
    s.gumbel = gumbel;
    s.qtransform = qtransform;
    s.cached = num_leaves == 1 && kind != BY_TREE;
    s.virtual_loss = 1.0;
    s.nodes = memory(nodes, sizeof(Node));
    s.logits = memory(logits, sizeof(float));
    work = memory(1, lay_out(&s, COUNTS, 1, NULL));
    lay_out(&s, COUNTS, 1, work);
    for (i = 0; i < COUNTS; i++) s.share[i] = 1.0 / (1.0 + i);
    exploration_factors(COUNTS - 1, 1.25, 19652.0, exploration);
    s.exploration = exploration;
    s.scores = scores;
    s.considered = considered;
    s.reward = reward;
    s.discount = discount;
    s.prior_logits = prior_logits;
    s.value = value;
    for (b = 0; b < ROOTS; b++) {
        float *row = s.logits + b * s.num_nodes * s.num_actions;
        make_logits(world + 16 * (uint64_t)b, num_actions, row);
        num_legal = 0;
        for (a = 0; a < num_actions; a++) {
            scores[b * num_actions + a] = (double)row[a] + number(world + 2 * (uint64_t)(b * num_actions + a));
            num_legal += row[a] != -INFINITY;
            if (row[a] == -INFINITY) row[a] = NAN; /* forbidden */
        }
        make_schedule(num_legal, considered + b * SIMULATIONS);
        set->plant(&s, b, number(world + (uint64_t)b), NULL, NULL);
    }
    if (set->start(&s, 0, ROOTS, 0) >= 0) abort();
    for (i = 0; i < SIMULATIONS; i += num_leaves) {
        answer(&s, world, i, reward, discount, prior_logits, value);
        stop = set->step(&s, 0, ROOTS, i, 0);
        if (stop.reason != FINE) abort();
    }
    for (b = 0; b < ROOTS; b++) set->finish(&s, b);
    for (b = 0; b < ROOTS; b++) sum = add_result(sum, &s, b, world);
    sum = add_bytes(sum, s.nodes, nodes * sizeof(Node));
    sum = add_bytes(sum, s.logits, logits * sizeof(float));
    free(s.nodes);
    free(s.logits);
    free(work);
    free(scores);
    free(prior_logits);
    return sum;
}

int main(int argc, char **argv) {
    const InstructionSet *sets[MOST_SETS], *set = NULL;
    const int count = instruction_sets(sets);
    const char *policy;
    int i, gumbel, kind, leaves, world = 0;
    for (i = 0; i < count; i++) {
        if (argc < 2) puts(sets[i]->name);
        else if (!strcmp(sets[i]->name, argv[1])) set = sets[i];
    }
    if (argc < 2) return 0;
    if (!set) return 2;
    for (gumbel = 0; gumbel < 2; gumbel++)
        for (kind = BY_MIN_MAX; kind <= COMPLETED; kind++)
            for (leaves = 1; leaves <= MOST_LEAVES; leaves += 2)
                for (i = 0; i < (int)(sizeof ACTIONS / sizeof *ACTIONS); i++, world++) {
                    const int max_depth = world % 5 ? SIMULATIONS + 1 : 3;
                    const uint64_t key = 2 * hash((uint64_t)world) + (uint64_t)(world % 3 != 0);
                    const uint64_t sum = search(set, key, gumbel, kind, leaves, max_depth, ACTIONS[i]);
                    policy = gumbel ? "gumbel" : "puct";
                    printf("%s %s leaves=%d depth=%d actions=%d %016llx\n", policy, KINDS[kind], leaves, max_depth,
                           ACTIONS[i], (unsigned long long)sum);
                }
    for (i = 0; i < (int)(sizeof ACTIONS / sizeof *ACTIONS); i++)
        printf("noise actions=%d %016llx\n", ACTIONS[i], (unsigned long long)noise(hash((uint64_t)i), ACTIONS[i]));
    return 0;
}
