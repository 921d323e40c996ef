/* Loops over one row of actions for the native search, in plain C so that the compiler can vectorise them. */

#ifndef MCTS_ROWS_H
#define MCTS_ROWS_H

#include <math.h>
#include <stdint.h>

/* Loops over all A actions are compiled for several instruction sets, chosen when the module is loaded. Lanes and
   the order of every sum are spelled out, and contraction is off, so that all versions give the same bits. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define MCTS_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define MCTS_CLONES
#endif
#if defined(__GNUC__)
#define MCTS_INLINE static inline __attribute__((always_inline))
#else
#define MCTS_INLINE static inline
#endif

/* exp(x) to within an ulp or two for x <= 700; 0 below -700 and for NaN. Cody-Waite reduction by ln 2 and a Taylor
   polynomial of degree 13 on [-ln2 / 2, ln2 / 2]. Free of branches, so that loops over it are vectorised. */
MCTS_INLINE double mcts_exp(double x) {
    const double shifter = 6755399441055744.0;  /* 1.5 * 2^52: adding it rounds to an integer */
    double t = x * 1.4426950408889634 + shifter;
    double k = t - shifter;
    double r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800.0;
    union { double value; uint64_t bits; } scale, result;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    scale.value = t;
    scale.bits = (scale.bits << 52) + ((uint64_t)1023 << 52);  /* 2^k */
    result.value = p * scale.value;
    result.bits &= -(uint64_t)(x >= -700.0);
    return result.value;
}

/* Sum of exp(x[i] - offset); NaN counts as 0. */
MCTS_CLONES static double mcts_sum_exp(const float *x, int n, double offset) {
    double sum[8] = {0}, block[64];
    int i, j, lane, length;
    for (i = 0; i < n; i += 64) {
        length = n - i < 64 ? n - i : 64;
        for (j = 0; j < length; j++) block[j] = mcts_exp((double)x[i + j] - offset);
        for (; j % 8; j++) block[j] = 0.0;
        length = j;
        for (j = 0; j < length; j += 8)
            for (lane = 0; lane < 8; lane++) sum[lane] += block[j + lane];
    }
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/* Replaces x[0..n) by exp(x[i] - offset); n is a multiple of 8. */
MCTS_CLONES static void mcts_exp_all(double *x, int n, double offset) {
    int i;
    for (i = 0; i < n; i++) x[i] = mcts_exp(x[i] - offset);
}

/* Copies a row of logits; returns 0 unless none is NaN or +inf and at least one is finite. */
MCTS_CLONES static int mcts_copy_logits(float *dst, const float *src, int n) {
    int i, bad = 0, finite = 0;
    for (i = 0; i < n; i++) {
        float x = src[i];
        dst[i] = x;
        bad |= !(x < INFINITY);
        finite |= x > -INFINITY;
    }
    return finite & !bad;
}

/* Index of the first largest number, skipping NaN; -1 if all are NaN. */
MCTS_CLONES static int mcts_argmax(const float *x, int n) {
    float best[16], top = -INFINITY;
    int i, j, hit;
    if (n >= 16) {
        for (j = 0; j < 16; j++) best[j] = -INFINITY;
        for (i = 0; i < n; i += 16) {
            const float *block = i + 16 <= n ? x + i : x + n - 16;  /* the last block overlaps */
            for (j = 0; j < 16; j++) best[j] = block[j] > best[j] ? block[j] : best[j];
        }
        for (j = 0; j < 8; j++) best[j] = best[j] > best[j + 8] ? best[j] : best[j + 8];
        for (j = 0; j < 4; j++) best[j] = best[j] > best[j + 4] ? best[j] : best[j + 4];
        for (j = 0; j < 4; j++) top = best[j] > top ? best[j] : top;
    } else {
        for (i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
    }
    for (i = 0; i + 16 <= n; i += 16) {
        for (hit = 0, j = 0; j < 16; j++) hit |= x[i + j] == top;
        if (hit) break;
    }
    for (; i < n; i++)
        if (x[i] == top) return i;
    return -1;
}

/* Widens [low[0], high[0]] to hold x[0..n). */
MCTS_CLONES static void mcts_widen(const double *x, int n, double *low, double *high) {
    double lows[8], highs[8];
    int i, j;
    for (j = 0; j < 8; j++) { lows[j] = *low; highs[j] = *high; }
    for (i = 0; i + 8 <= n; i += 8)
        for (j = 0; j < 8; j++) {
            lows[j] = x[i + j] < lows[j] ? x[i + j] : lows[j];
            highs[j] = x[i + j] > highs[j] ? x[i + j] : highs[j];
        }
    for (; i < n; i++) {
        lows[0] = x[i] < lows[0] ? x[i] : lows[0];
        highs[0] = x[i] > highs[0] ? x[i] : highs[0];
    }
    for (j = 0; j < 8; j++) {
        *low = lows[j] < *low ? lows[j] : *low;
        *high = highs[j] > *high ? highs[j] : *high;
    }
}

/* scores[i] = (q[i] - lower) * factor + weight * prob[i] * share[i]; returns the largest. */
MCTS_CLONES static double mcts_puct_scores(const double *q, const double *prob, const double *share, int n,
                                           double lower, double factor, double weight, double *scores) {
    double best[8], top = -INFINITY;
    int i, j;
    for (i = 0; i < n; i++) scores[i] = (q[i] - lower) * factor + weight * prob[i] * share[i];
    for (j = 0; j < 8; j++) best[j] = -INFINITY;
    for (i = 0; i + 8 <= n; i += 8)
        for (j = 0; j < 8; j++) best[j] = scores[i + j] > best[j] ? scores[i + j] : best[j];
    for (; i < n; i++) top = scores[i] > top ? scores[i] : top;
    for (j = 0; j < 8; j++) top = best[j] > top ? best[j] : top;
    return top;
}

/* Index of the first x[i] == value at or after i; n if there is none. */
MCTS_CLONES static int mcts_find(const double *x, int i, int n, double value) {
    int j, hit;
    for (; i + 16 <= n; i += 16) {
        for (hit = 0, j = 0; j < 16; j++) hit |= x[i + j] == value;
        if (hit) break;
    }
    for (; i < n; i++)
        if (x[i] == value) break;
    return i;
}

#endif
