/* One residual MLP, for one instruction set: included once for each by _mlp.h, which defines

   MLP_NAME(x)    the name of x in this instruction set,
   MLP_TARGET     the attribute that selects it,
   MLP_LANES      numbers in a vector register,
   MLP_ROWS       rows of a register block, with
   MLP_COLUMNS    columns, in units of MCTS_MLP_PANEL, and
   MLP_ALONE      the columns where there is one row only.

   A block keeps its rows x columns of sums in registers while it walks along the inputs. Each sum starts from the bias
   and takes the inputs one by one, in order, whatever the block's shape: so a row's numbers do not depend on its
   neighbours. What is not a matrix product is written as loops over 16 lanes that the compiler turns into vectors. */

#define MLP_INLINE MLP_TARGET static inline __attribute__((always_inline))
#define MLP_PER_PANEL (MCTS_MLP_PANEL / MLP_LANES)
#define vector MLP_NAME(vector)
#define vector_bits MLP_NAME(vector_bits)

typedef float vector __attribute__((vector_size(4 * MLP_LANES), aligned(4), may_alias));
typedef int32_t vector_bits __attribute__((vector_size(4 * MLP_LANES), aligned(4), may_alias));

enum { MLP_NAME(relu) = 1, MLP_NAME(residual) = 2 };
#define RELU MLP_NAME(relu)
#define RESIDUAL MLP_NAME(residual)

/* out = relu?(residual out? + start + w x) for some rows and panels of columns, both known when this is compiled. */
MLP_INLINE void MLP_NAME(block)(const int rows, const int panels, int inputs, const float *x, ptrdiff_t x_stride,
                                const float *w, ptrdiff_t w_stride, const float *const *start, int flags, float *out,
                                ptrdiff_t out_stride) {
    const int columns = panels * MLP_PER_PANEL;
    vector sum[MLP_ROWS][MCTS_MLP_TILE / MLP_LANES], weight[MCTS_MLP_TILE / MLP_LANES];
    int k, r, c;
#pragma GCC unroll 8
    for (r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (c = 0; c < columns; c++) sum[r][c] = *(const vector *)(start[r] + c * MLP_LANES);
    for (k = 0; k < inputs; k++) {
#pragma GCC unroll 8
        for (c = 0; c < columns; c++) weight[c] = *(const vector *)(w + c * MLP_LANES);
#pragma GCC unroll 8
        for (r = 0; r < rows; r++) {
            const float input = x[r * x_stride + k];
#pragma GCC unroll 8
            for (c = 0; c < columns; c++) sum[r][c] += weight[c] * input;
        }
        w += w_stride;
    }
#pragma GCC unroll 8
    for (r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (c = 0; c < columns; c++) {
            float *to = out + r * out_stride + c * MLP_LANES;
            vector y = sum[r][c];
            if (flags & RESIDUAL) y += *(const vector *)to;
            if (flags & RELU) y = (vector)((vector_bits)y & ~(y < 0.0f));  /* NaN stays NaN */
            *(vector *)to = y;
        }
}

/* The same for a number of rows and panels known only now: one call of `block` for each pair that can occur. */
MLP_TARGET static void MLP_NAME(any_block)(int rows, int panels, int inputs, const float *x, ptrdiff_t x_stride,
                                           const float *w, ptrdiff_t w_stride, const float *const *start, int flags,
                                           float *out, ptrdiff_t out_stride) {
#define MLP_CASE(R, C) \
    case (R) * 8 + (C): \
        MLP_NAME(block)(R, C, inputs, x, x_stride, w, w_stride, start, flags, out, out_stride); \
        break;
    switch (rows * 8 + panels) {
        MLP_CASE(1, 1)
#if MLP_ALONE > 1
        MLP_CASE(1, 2)
#endif
#if MLP_ALONE > 2
        MLP_CASE(1, 3) MLP_CASE(1, 4)
#endif
        MLP_CASE(2, 1) MLP_CASE(3, 1)
#if MLP_COLUMNS > 1
        MLP_CASE(2, 2) MLP_CASE(2, 3) MLP_CASE(2, 4) MLP_CASE(3, 2) MLP_CASE(3, 3) MLP_CASE(3, 4)
#endif
#if MLP_ROWS > 3
        MLP_CASE(4, 1) MLP_CASE(5, 1) MLP_CASE(6, 1)
#endif
#if MLP_ROWS > 3 && MLP_COLUMNS > 1
        MLP_CASE(4, 2) MLP_CASE(4, 3) MLP_CASE(4, 4) MLP_CASE(5, 2) MLP_CASE(5, 3) MLP_CASE(5, 4)
        MLP_CASE(6, 2) MLP_CASE(6, 3) MLP_CASE(6, 4)
#endif
    }
#undef MLP_CASE
}

/* One layer over some rows. `action` chooses the row of the bias, NULL if it has only one. */
MLP_TARGET static void MLP_NAME(dense)(const mcts_mlp_dense *layer, int num_rows, const float *x, ptrdiff_t x_stride,
                                       const int32_t *action, int flags, float *out, ptrdiff_t out_stride) {
    const int most = num_rows > 1 ? MLP_COLUMNS : MLP_ALONE;
    /* blocks of nearly the same height: 8 rows are 4 + 4, not 6 + 2 */
    const int blocks = (num_rows + MLP_ROWS - 1) / MLP_ROWS;
    int tile, block, column, r;
    for (tile = 0; tile < layer->outputs; tile += MCTS_MLP_TILE) {
        const int width = layer->outputs - tile < MCTS_MLP_TILE ? layer->outputs - tile : MCTS_MLP_TILE;
        const float *weight = layer->weight + (ptrdiff_t)tile * layer->inputs;
        for (block = 0; block < blocks; block++) {
            const int begin = num_rows * block / blocks, end = num_rows * (block + 1) / blocks;
            for (column = 0; column < width; column += most * MCTS_MLP_PANEL) {
                const int left = (width - column) / MCTS_MLP_PANEL;
                const float *start[MLP_ROWS];
                for (r = begin; r < end; r++)
                    start[r - begin] = layer->bias + (action ? (ptrdiff_t)action[r] * layer->outputs : 0) + tile + column;
                MLP_NAME(any_block)(end - begin, left < most ? left : most, layer->inputs, x + begin * x_stride,
                                    x_stride, weight + column, width, start, flags,
                                    out + begin * out_stride + tile + column, out_stride);
            }
        }
    }
}

/* Residual blocks in place: x = relu(x + second(relu(first(x)))). `action` enters the first layer of all. */
MLP_TARGET static void MLP_NAME(trunk)(const mcts_mlp *network, const mcts_mlp_dense *layers, int num_layers,
                                       int num_rows, const int32_t *action, mcts_mlp_rows rows) {
    int i;
    for (i = 0; i < num_layers; i += 2) {
        MLP_NAME(dense)(layers + i, num_rows, rows.latent, network->latent_stride, action, RELU, rows.hidden,
                        network->hidden_stride);
        MLP_NAME(dense)(layers + i + 1, num_rows, rows.hidden, network->hidden_stride, NULL, RELU | RESIDUAL,
                        rows.latent, network->latent_stride);
        action = NULL;
    }
}

/* Sixteen partial results into one, always in the same order. */
MLP_INLINE float MLP_NAME(total)(const float *lane) {
    const mcts_mlp_quad *quad = (const mcts_mlp_quad *)lane, sum = (quad[0] + quad[2]) + (quad[1] + quad[3]);
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

MLP_INLINE float MLP_NAME(largest)(const float *lane) {
    float most[4], low, high;
    int j;
    for (j = 0; j < 4; j++) {
        low = lane[j] > lane[j + 8] ? lane[j] : lane[j + 8];
        high = lane[j + 4] > lane[j + 12] ? lane[j + 4] : lane[j + 12];
        most[j] = low > high ? low : high;
    }
    low = most[0] > most[2] ? most[0] : most[2];
    high = most[1] > most[3] ? most[1] : most[3];
    return low > high ? low : high;
}

/* Scales one latent of `width` numbers in place; what overflows becomes NaN and so stops the search. */
MLP_INLINE void MLP_NAME(normalise)(float *x, int width, int minmax) {
    float low[16], high[16], square[16] = {0}, scale, offset = 0.0f;
    int i, j;
    if (minmax) {
        for (j = 0; j < 16; j++) { low[j] = -x[0]; high[j] = x[0]; }
        for (i = 0; i + 16 <= width; i += 16)
            for (j = 0; j < 16; j++) {
                low[j] = -x[i + j] > low[j] ? -x[i + j] : low[j];
                high[j] = x[i + j] > high[j] ? x[i + j] : high[j];
            }
        for (j = 0; i + j < width; j++) {
            low[j] = -x[i + j] > low[j] ? -x[i + j] : low[j];
            high[j] = x[i + j] > high[j] ? x[i + j] : high[j];
        }
        offset = -MLP_NAME(largest)(low);
        scale = MLP_NAME(largest)(high) - offset;
        scale = scale > 1e-5f ? scale : 1e-5f;
        for (i = 0; i < width; i++) x[i] = (x[i] - offset) / scale;
        return;
    }
    for (i = 0; i + 16 <= width; i += 16)
        for (j = 0; j < 16; j++) square[j] += x[i + j] * x[i + j];
    for (j = 0; i + j < width; j++) square[j] += x[i + j] * x[i + j];
    scale = MLP_NAME(total)(square) / (float)width + 1e-6f;
    scale = scale < INFINITY ? 1.0f / sqrtf(scale) : NAN;
    for (i = 0; i < width; i++) x[i] *= scale;
}

/* exp(x) for x <= 0, to within two ulp; 0 below -87. NaN stays NaN. */
MLP_INLINE float MLP_NAME(exp)(float x) {
    const float shifter = 12582912.0f;  /* 1.5 * 2^23: adding it rounds to an integer */
    const float t = x * 1.44269504f + shifter, k = t - shifter;
    const float r = (x - k * 0.693145752f) - k * 1.42860677e-6f;
    union { float value; uint32_t bits; } scale;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    scale.value = t;
    scale.bits = (scale.bits << 23) + (127u << 23);  /* 2^k */
    return x < -87.0f ? 0.0f : p * scale.value;
}

/* The scalar that one row of logits stands for, its expectation. `total` adds even lanes and odd lanes apart: where
   bins are the same on both sides of 0, a bin and its opposite are neighbours and cancel exactly. Reads up to 15 logits beyond the last. */
MLP_INLINE float MLP_NAME(decode)(const mcts_mlp_support *support, const float *logits) {
    const float *x = logits + support->offset;
    const int n = support->num_bins;
    float most[16], mass[16] = {0}, moment[16] = {0}, top;
    int i, j;
    for (j = 0; j < 16; j++) most[j] = x[0];
    for (i = 0; i < n; i += 16)
        for (j = 0; j < 16; j++) most[j] = ((i + j < n) & (x[i + j] > most[j])) ? x[i + j] : most[j];
    top = MLP_NAME(largest)(most);
    for (i = 0; i < n; i += 16)
        for (j = 0; j < 16; j++) {
            const float y = MLP_NAME(exp)(x[i + j] - top), p = i + j < n ? y : 0.0f;
            mass[j] += p;
            moment[j] += p * support->bins[i + j];
        }
    return MLP_NAME(total)(moment) / MLP_NAME(total)(mass);
}

/* Predictions for the latents in `rows`, which it overwrites; no rewards where `reward` is NULL. */
MLP_TARGET static void MLP_NAME(predict)(const mcts_mlp *network, int num_rows, mcts_mlp_rows rows, float *reward,
                                         float *prior_logits, float *value) {
    int r;
    MLP_NAME(trunk)(network, network->prediction, network->num_prediction, num_rows, NULL, rows);
    MLP_NAME(dense)(&network->hidden, num_rows, rows.latent, network->latent_stride, NULL, RELU, rows.hidden,
                    network->hidden_stride);
    MLP_NAME(dense)(&network->output, num_rows, rows.hidden, network->hidden_stride, NULL, 0, rows.logits,
                    network->logits_stride);
    for (r = 0; r < num_rows; r++) {
        const float *logits = rows.logits + (ptrdiff_t)r * network->logits_stride;
        memcpy(prior_logits + (ptrdiff_t)r * network->num_actions, logits, sizeof(float) * network->num_actions);
        value[r] = MLP_NAME(decode)(&network->value, logits);
        if (reward) reward[r] = MLP_NAME(decode)(&network->reward, logits);
    }
}

/* Latents, policies and values of observations; there is working memory for max_rows of them at a time. */
MLP_TARGET static void MLP_NAME(initial)(const mcts_mlp *network, const float *observation, int num_rows, float *rows,
                                         int max_rows, float *latent, float *prior_logits, float *value) {
    const mcts_mlp_rows work = mcts_mlp_rows_at(network, rows, max_rows, 0);
    const ptrdiff_t size = network->stem.inputs;
    ptrdiff_t begin;
    int r;
    for (begin = 0; begin < num_rows; begin += max_rows) {
        const int count = num_rows - begin < max_rows ? num_rows - (int)begin : max_rows;
        MLP_NAME(dense)(&network->stem, count, observation + begin * size, size, NULL, RELU, work.latent,
                        network->latent_stride);
        MLP_NAME(trunk)(network, network->representation, network->num_representation, count, NULL, work);
        for (r = 0; r < count; r++) {
            float *x = work.latent + (ptrdiff_t)r * network->latent_stride;
            MLP_NAME(normalise)(x, network->width, network->minmax);
            memcpy(latent + (begin + r) * network->width, x, sizeof(float) * network->width);
        }
        MLP_NAME(predict)(network, count, work, NULL, prior_logits + begin * network->num_actions, value + begin);
    }
}

/* The mcts_evaluate_fn. Refuses nodes and actions that the pool and the network do not have. */
MLP_TARGET static int MLP_NAME(evaluate)(void *context, const int32_t *parent_index, const int32_t *action,
                                         int32_t node_index, int32_t num_rows, int32_t begin, int32_t end,
                                         float *reward, float *discount, float *prior_logits, float *value) {
    const mcts_mlp_search *search = (const mcts_mlp_search *)context;
    const mcts_mlp *network = search->network;
    const ptrdiff_t width = network->width, shift = network->shift, num_roots = search->num_roots;
    /* several threads may be here: each works in the rows that its own range begins with */
    const mcts_mlp_rows work = mcts_mlp_rows_at(network, search->rows, search->max_rows, begin);
    ptrdiff_t row;
    int r;
    if (begin < 0 || end > num_rows || num_rows > search->max_rows || num_rows % num_roots || node_index < 1 ||
        node_index > search->num_nodes - num_rows / num_roots)
        return 1;
    for (row = begin; row < end; row++)
        if (parent_index[row] < 0 || parent_index[row] >= node_index || action[row] < 0 ||
            action[row] >= network->num_actions)
            return 1;
    for (row = begin; row < end; row += MCTS_MLP_CHUNK) {
        const int count = end - row < MCTS_MLP_CHUNK ? end - (int)row : MCTS_MLP_CHUNK;
        for (r = 0; r < count; r++) {
            const float *from = search->pool + (parent_index[row + r] * num_roots + (row + r) % num_roots) * width;
            float *x = work.latent + (ptrdiff_t)r * network->latent_stride;
            memcpy(x + shift, from, sizeof(float) * (width - shift));
            memcpy(x, from + width - shift, sizeof(float) * shift);
        }
        MLP_NAME(trunk)(network, network->dynamics, network->num_dynamics, count, action + row, work);
        for (r = 0; r < count; r++) {
            float *x = work.latent + (ptrdiff_t)r * network->latent_stride;
            MLP_NAME(normalise)(x, network->width, network->minmax);
            /* the pool is [node][root], so leaf k = row / num_roots of a step follows node_index by k nodes */
            memcpy(search->pool + (node_index * num_roots + row + r) * width, x, sizeof(float) * width);
            discount[row + r] = search->discount;
        }
        MLP_NAME(predict)(network, count, work, reward + row, prior_logits + row * network->num_actions, value + row);
    }
    return 0;
}

#undef MLP_NAME
#undef MLP_TARGET
#undef MLP_LANES
#undef MLP_ROWS
#undef MLP_COLUMNS
#undef MLP_ALONE
#undef MLP_INLINE
#undef MLP_PER_PANEL
#undef vector
#undef vector_bits
#undef RELU
#undef RESIDUAL
