/* Random numbers addressed by (key, purpose, index): the numbers of mcts/_random.py. */

#ifndef MCTS_NOISE_H
#define MCTS_NOISE_H

#include "elementary.h"

/* Purposes: independent streams under one key. */
enum { GUMBEL = 1, DIRICHLET = 2, ACTION = 3, BOOST = 16 };

#define GOLDEN 0x9E3779B97F4A7C15u
#define PURPOSE_STEP 0xD1342543DE82EF95u
#define MAX_ATTEMPTS 64 /* Marsaglia and Tsang accept more than 95 %: so many rejections in a row do not happen */

/* Hashes a number: the output function of splitmix64. */
static inline uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static inline uint64_t draw(uint64_t key, uint64_t purpose, uint64_t i) {
    return mix(mix(key + purpose * PURPOSE_STEP) + (i + 1) * GOLDEN);
}

/* A uniform number in (0, 1). */
static inline double unit(uint64_t bits) { return ((double)(bits >> 12) + 0.5) * 2.220446049250313e-16; }

static inline double standard_gumbel(uint64_t key, uint64_t purpose, uint64_t i) {
    return -log_of(-log_of(unit(draw(key, purpose, i))));
}

/* log Gamma(alpha + 1) (Marsaglia and Tsang 2000). */
static inline double log_gamma_plus_one(uint64_t seed, double alpha) {
    const double d = alpha + 1.0 - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * d);
    int attempt;
    for (attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const double normal =
            sqrt(-2.0 * log_of(unit(draw(seed, attempt, 0)))) * cos_of_turns(unit(draw(seed, attempt, 1)));
        const double base = 1.0 + c * normal, cube = base * base * base;
        if (base <= 0.0) continue;
        if (log_of(unit(draw(seed, attempt, 2))) < 0.5 * normal * normal + d * (1.0 - cube + log_of(cube)))
            return log_of(d * cube);
    }
    return 0.0;
}

/* Symmetric Dirichlet noise over the actions that are not forbidden, 0 for the others. Gammas are drawn in the
   logarithm, with Gamma(a) = Gamma(a + 1) * U^(1/a), so that a small alpha does not underflow to zeros only. */
static inline void dirichlet(uint64_t key, double alpha, const uint8_t *invalid, int n, double *out) {
    double top = -INFINITY, total = 0.0;
    int i;
    for (i = 0; i < n; i++) {
        if (invalid[i]) continue;
        out[i] = log_gamma_plus_one(draw(key, DIRICHLET, i), alpha);
        out[i] += log_of(unit(draw(key, DIRICHLET + BOOST, i))) / alpha;
        if (out[i] > top) top = out[i];
    }
    for (i = 0; i < n; i++) {
        out[i] = invalid[i] ? 0.0 : exp_of(out[i] - top);
        total += out[i];
    }
    for (i = 0; i < n; i++) out[i] /= total;
}

#endif
