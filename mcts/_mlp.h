/* A residual MLP world model that the native search calls directly: see _mlp_kernels.h for the arithmetic. */

#ifndef MCTS_MLP_H
#define MCTS_MLP_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "_native.h"
#include "core/cpu.h"

#define MCTS_MLP_PANEL 16  /* outputs and strides are padded to a multiple of this */
#define MCTS_MLP_TILE 64   /* outputs whose weights are packed together */
#define MCTS_MLP_CHUNK 48  /* rows that go through all layers before the next, so that they stay in the cache */

/* Weights in tiles of 64 outputs, the last one narrower: tile after tile, in each one input after another. */
typedef struct {
    const float *weight;
    const float *bias;   /* [outputs], or [actions, outputs]: one row for each action */
    int inputs;
    int outputs;         /* padded; what is added has zero weights and biases */
} mcts_mlp_dense;

/* A categorical scalar: where its logits begin in the output layer, and the number each of them stands for. */
typedef struct {
    const float *bins;   /* [num_bins, padded with zeros] */
    int offset;
    int num_bins;
} mcts_mlp_support;

typedef struct {
    mcts_mlp_dense stem, hidden, output;
    const mcts_mlp_dense *representation, *dynamics, *prediction;  /* two for each block */
    int num_representation, num_dynamics, num_prediction;          /* layers, not blocks */
    int width;           /* of the latent */
    int num_actions;
    int shift;           /* the latent is rolled by this before the dynamics */
    int minmax;          /* scale latents to [0, 1], else to root mean square 1 */
    int latent_stride, hidden_stride, logits_stride;  /* of the working rows */
    mcts_mlp_support value, reward;
} mcts_mlp;

/* Working memory for some rows. */
typedef struct {
    float *latent, *hidden, *logits;
} mcts_mlp_rows;

/* What one search owns; the context of the mcts_evaluate_fn. */
typedef struct {
    const mcts_mlp *network;
    float *pool;         /* [num_nodes, num_roots, width] latents */
    float *rows;         /* working memory of max_rows rows */
    float discount;
    int num_nodes, num_roots, max_rows;
} mcts_mlp_search;

typedef void (*mcts_mlp_initial_fn)(const mcts_mlp *network, const float *observation, int num_rows, float *rows,
                                    int max_rows, float *latent, float *prior_logits, float *value);

/* The evaluator in one instruction set. */
typedef struct {
    const char *name;
    mcts_evaluate_fn evaluate;
    mcts_mlp_initial_fn initial;
} mcts_mlp_isa;

/* Numbers of working memory for each row. */
static inline size_t mcts_mlp_row_size(const mcts_mlp *network) {
    return (size_t)network->latent_stride + network->hidden_stride + network->logits_stride;
}

static inline mcts_mlp_rows mcts_mlp_rows_at(const mcts_mlp *network, float *rows, size_t max_rows, size_t row) {
    mcts_mlp_rows result;
    result.latent = rows + row * network->latent_stride;
    result.hidden = rows + max_rows * network->latent_stride + row * network->hidden_stride;
    result.logits = rows + max_rows * ((size_t)network->latent_stride + network->hidden_stride) +
                    row * network->logits_stride;
    return result;
}

typedef float mcts_mlp_quad __attribute__((vector_size(16), aligned(4), may_alias));

#define MLP_NAME(x) x##_baseline
#define MLP_TARGET
#define MLP_LANES 4
#define MLP_ROWS 3
#define MLP_COLUMNS 1
#define MLP_ALONE 2
#include "_mlp_kernels.h"

#ifdef MCTS_X86
#define MLP_NAME(x) x##_avx2
#define MLP_TARGET __attribute__((target("avx2,fma")))
#define MLP_LANES 8
#define MLP_ROWS 6
#define MLP_COLUMNS 1
#define MLP_ALONE 4
#include "_mlp_kernels.h"

#define MLP_NAME(x) x##_avx512
#define MLP_TARGET __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")))
#define MLP_LANES 16
#define MLP_ROWS 6
#define MLP_COLUMNS 4
#define MLP_ALONE 4
#include "_mlp_kernels.h"
#endif

/* The instruction sets this machine has, the fastest first; returns how many. */
static inline int mcts_mlp_instruction_sets(mcts_mlp_isa *sets) {
    int count = 0;
#ifdef MCTS_X86
    const mcts_mlp_isa avx512 = {"avx512", evaluate_avx512, initial_avx512};
    const mcts_mlp_isa avx2 = {"avx2", evaluate_avx2, initial_avx2};
    const int vectors = mcts_vectors();
#endif
    const mcts_mlp_isa baseline = {"baseline", evaluate_baseline, initial_baseline};
#ifdef MCTS_X86
    if (vectors >= MCTS_AVX512) sets[count++] = avx512;
    if (vectors >= MCTS_AVX2) sets[count++] = avx2;
#endif
    sets[count++] = baseline;
    return count;
}

#endif
