/* Loops over one row of actions for the native search, in plain C so that the compiler can vectorise them. */

#ifndef MCTS_ROWS_H
#define MCTS_ROWS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

/* Asks for memory that is needed soon. */
MCTS_INLINE void mcts_fetch(const void *address, ptrdiff_t num_bytes) {
    ptrdiff_t i;
    for (i = 0; i < num_bytes; i += 64) __builtin_prefetch((const char *)address + i);
}

/* Vectors of the compiler (GCC, Clang): one instruction each on AVX-512, two on AVX2, four on SSE2. */
typedef double mcts_doubles __attribute__((vector_size(64)));
typedef uint64_t mcts_longs __attribute__((vector_size(64)));
typedef float mcts_half_floats __attribute__((vector_size(32)));
typedef float mcts_floats __attribute__((vector_size(64)));
typedef int32_t mcts_ints __attribute__((vector_size(64)));

/* RESULT = exp(X) for numbers or vectors of doubles (LONG: integers of their size), X <= 700; 0 below -700 and for NaN.
   With k = round(X / ln 2), exp(X) = 2^k exp(X - k ln 2), and a minimax polynomial of degree 10 for the rest, in pairs so
   that few operations wait for each other. The relative error is below 4e-16 + 2e-16 |X|. Adding 1.5 * 2^52 rounds to
   an integer, which then stands in the lowest bits. */
#define MCTS_EXP(RESULT, X, DOUBLE, LONG)                                                                            \
    do {                                                                                                             \
        DOUBLE x_ = (X), k_ = x_ * 1.4426950408889634 + 6755399441055744.0, p_;                                      \
        DOUBLE r_ = x_ - (k_ - 6755399441055744.0) * 0.6931471805599453, s_ = r_ * r_, q_ = s_ * s_;                 \
        LONG bits_, scale_, mask_;                                                                                   \
        p_ = ((1.0 + r_) + (0.49999999999998324 + 0.16666666666611557 * r_) * s_)                                    \
            + ((0.04166666666813634 + 0.008333333370869441 * r_)                                                     \
               + (0.0013888888516257532 + 0.00019841185237085612 * r_) * s_) * q_                                    \
            + ((2.480193168985464e-05 + 2.7634990440954185e-06 * r_) + 2.747680644798789e-07 * s_) * (q_ * q_);      \
        memcpy(&bits_, &p_, sizeof bits_);                                                                           \
        memcpy(&scale_, &k_, sizeof scale_);                                                                         \
        mask_ = (LONG)(x_ >= -700.0);                                                                                \
        bits_ = (bits_ + (scale_ << 52)) & MCTS_MASK(mask_);                                                         \
        memcpy(&(RESULT), &bits_, sizeof bits_);                                                                     \
    } while (0)

#define MCTS_MASK(m) (-(m))
MCTS_INLINE double mcts_exp(double x) {
    double result;
    MCTS_EXP(result, x, double, uint64_t);
    return result;
}
#undef MCTS_MASK
#define MCTS_MASK(m) (m)  /* comparing vectors gives -1 where true, comparing numbers gives 1 */

MCTS_INLINE void mcts_exp_of_floats(mcts_doubles *result, const float *x, double offset) {
    mcts_half_floats floats;
    memcpy(&floats, x, sizeof floats);
    MCTS_EXP(*result, __builtin_convertvector(floats, mcts_doubles) - offset, mcts_doubles, mcts_longs);
}

/* Sum of exp(x[i] - offset); NaN counts as 0. */
MCTS_CLONES static double mcts_sum_exp(const float *x, int n, double offset) {
    mcts_doubles sum = {0}, first, second;
    float tail[8];
    int i, j;
    for (i = 0; i + 16 <= n; i += 16) {  /* two at a time, because either alone waits for itself */
        mcts_exp_of_floats(&first, x + i, offset);
        mcts_exp_of_floats(&second, x + i + 8, offset);
        sum += first;
        sum += second;
    }
    for (; i + 8 <= n; i += 8) {
        mcts_exp_of_floats(&first, x + i, offset);
        sum += first;
    }
    if (i < n) {
        for (j = 0; j < 8; j++) tail[j] = i + j < n ? x[i + j] : NAN;
        mcts_exp_of_floats(&first, tail, offset);
        sum += first;
    }
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/* Replaces x[0..n) by exp(x[i] - offset); n is a multiple of 8. */
MCTS_CLONES static void mcts_exp_all(double *x, int n, double offset) {
    mcts_doubles block;
    int i;
    for (i = 0; i < n; i += 8) {
        memcpy(&block, x + i, sizeof block);
        MCTS_EXP(block, block - offset, mcts_doubles, mcts_longs);
        memcpy(x + i, &block, sizeof block);
    }
}

/* The first largest number among those of 16 lanes, each of which holds its first largest and where it stands. */
MCTS_INLINE int mcts_first_best(const mcts_floats *best, const mcts_ints *at) {
    float value[16];
    int32_t place[16];
    int width, j, better;
    memcpy(value, best, sizeof value);
    memcpy(place, at, sizeof place);
    for (width = 8; width; width /= 2)
        for (j = 0; j < width; j++) {
            better = (value[j + width] > value[j]) | ((value[j + width] == value[j]) & (place[j + width] < place[j]));
            value[j] = better ? value[j + width] : value[j];
            place[j] = better ? place[j + width] : place[j];
        }
    return place[0];
}

#define MCTS_STEPS ((mcts_ints){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
#define MCTS_SELECT(mask, a, b, TYPE) ((TYPE)(((mask) & (mcts_ints)(a)) | (~(mask) & (mcts_ints)(b))))

/* Copies a row of logits and returns where its first largest number stands; -1 unless none is NaN or +inf and at least
   one is finite. */
MCTS_CLONES static int mcts_take_logits(float *restrict dst, const float *restrict src, int n) {
    mcts_floats x, best;
    mcts_ints at = MCTS_STEPS, usable, larger;
    float top = -INFINITY;
    int i, j, all = -1, place = -1;
    if (n >= 16) {
        memcpy(&best, src, sizeof best);
        memcpy(dst, &best, sizeof best);
        usable = best < INFINITY;
        for (i = 16; i < n; i += 16) {
            j = i + 16 <= n ? i : n - 16;  /* the last block overlaps */
            memcpy(&x, src + j, sizeof x);
            memcpy(dst + j, &x, sizeof x);
            usable &= x < INFINITY;
            larger = x > best;
            best = MCTS_SELECT(larger, x, best, mcts_floats);
            at = MCTS_SELECT(larger, MCTS_STEPS + j, at, mcts_ints);
        }
        for (j = 0; j < 16; j++) all &= usable[j];
        place = mcts_first_best(&best, &at);
        return all && src[place] > -INFINITY ? place : -1;
    }
    for (i = 0; i < n; i++) {
        dst[i] = src[i];
        all &= -(src[i] < INFINITY);
        place = src[i] > top ? i : place;
        top = src[i] > top ? src[i] : top;
    }
    return all ? place : -1;
}

/* Where the first largest number stands, NaN left aside; -1 if all are NaN. */
MCTS_CLONES static int mcts_argmax(const float *x, int n) {
    mcts_floats block, best;
    mcts_ints at = MCTS_STEPS, larger;
    float top = -INFINITY;
    int i, j, place = -1;
    if (n >= 16) {
        best = (mcts_floats){0} - INFINITY;
        for (i = 0; i < n; i += 16) {
            j = i + 16 <= n ? i : n - 16;
            memcpy(&block, x + j, sizeof block);
            larger = block > best;
            best = MCTS_SELECT(larger, block, best, mcts_floats);
            at = MCTS_SELECT(larger, MCTS_STEPS + j, at, mcts_ints);
        }
        place = mcts_first_best(&best, &at);
        if (x[place] > -INFINITY) return place;
        place = -1;
    }
    for (i = 0; i < n; i++) {
        place = x[i] > top ? i : place;
        top = x[i] > top ? x[i] : top;
    }
    for (i = 0; place < 0 && i < n; i++)
        if (x[i] == -INFINITY) place = i;
    return place;
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
