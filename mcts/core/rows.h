/* Loops over a row of numbers, written for vectors of the instruction set that isa.h names. */

#ifndef MCTS_ROWS_H
#define MCTS_ROWS_H

#include "isa.h"
#include "tree.h"

enum { PARTS = LANES / DOUBLES, FLOATS_MASK = (1 << FLOATS) - 1 };

/* What GCC 12 makes poorly of its own vectors: one bit for each number that a comparison found true, the first in the
   lowest bit; the larger and the smaller of each pair; the first floats of a row as doubles. */
#if defined(__x86_64__)
#include <immintrin.h>
#if VECTOR_BYTES == 64
INLINE int bits_of_floats(ints mask) { return _mm512_movepi32_mask((__m512i)mask); }
INLINE int bits_of_doubles(longs mask) { return _mm512_movepi64_mask((__m512i)mask); }
INLINE floats max_floats(floats a, floats b) { return (floats)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE doubles max_doubles(doubles a, doubles b) { return (doubles)_mm512_max_pd((__m512d)a, (__m512d)b); }
INLINE doubles min_doubles(doubles a, doubles b) { return (doubles)_mm512_min_pd((__m512d)a, (__m512d)b); }
INLINE doubles to_doubles(const float *x) { return (doubles)_mm512_cvtps_pd(_mm256_loadu_ps(x)); }
#elif VECTOR_BYTES == 32
INLINE int bits_of_floats(ints mask) { return _mm256_movemask_ps((__m256)mask); }
INLINE int bits_of_doubles(longs mask) { return _mm256_movemask_pd((__m256d)mask); }
INLINE floats max_floats(floats a, floats b) { return (floats)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE doubles max_doubles(doubles a, doubles b) { return (doubles)_mm256_max_pd((__m256d)a, (__m256d)b); }
INLINE doubles min_doubles(doubles a, doubles b) { return (doubles)_mm256_min_pd((__m256d)a, (__m256d)b); }
INLINE doubles to_doubles(const float *x) { return (doubles)_mm256_cvtps_pd(_mm_loadu_ps(x)); }
#else
INLINE int bits_of_floats(ints mask) { return _mm_movemask_ps((__m128)mask); }
INLINE int bits_of_doubles(longs mask) { return _mm_movemask_pd((__m128d)mask); }
INLINE floats max_floats(floats a, floats b) { return (floats)_mm_max_ps((__m128)a, (__m128)b); }
INLINE doubles max_doubles(doubles a, doubles b) { return (doubles)_mm_max_pd((__m128d)a, (__m128d)b); }
INLINE doubles min_doubles(doubles a, doubles b) { return (doubles)_mm_min_pd((__m128d)a, (__m128d)b); }
INLINE doubles to_doubles(const float *x) {
    double pair;
    memcpy(&pair, x, sizeof pair);
    return (doubles)_mm_cvtps_pd(_mm_castpd_ps(_mm_set_sd(pair)));
}
#endif
#else
INLINE int bits_of_floats(ints mask) {
    int bits = 0, j;
    for (j = 0; j < FLOATS; j++) bits |= (mask[j] & 1) << j;
    return bits;
}
INLINE int bits_of_doubles(longs mask) {
    int bits = 0, j;
    for (j = 0; j < DOUBLES; j++) bits |= (int)(mask[j] & 1) << j;
    return bits;
}
/* a > b ? a : b in every lane, as SSE has it: b where either is NaN. */
INLINE floats max_floats(floats a, floats b) { return SELECT(a > b, a, b, ints, floats); }
INLINE doubles max_doubles(doubles a, doubles b) { return SELECT(a > b, a, b, longs, doubles); }
INLINE doubles min_doubles(doubles a, doubles b) { return SELECT(a < b, a, b, longs, doubles); }
INLINE doubles to_doubles(const float *x) {
    half_floats few;
    memcpy(&few, x, sizeof few);
    return __builtin_convertvector(few, doubles);
}
#endif

/* RESULT = exp(X) for numbers or vectors of doubles (LONG: integers of their size), X <= 700; 0 below -700 and for NaN.
   With k = round(X / ln 2), exp(X) = 2^k exp(X - k ln 2), and a minimax polynomial of degree 10 for the rest, in pairs
   so that few operations wait for each other. The relative error is below 4e-16 + 2e-16 |X|. Adding 1.5 * 2^52 rounds
   to an integer, which then stands in the lowest bits. */
#define EXP(RESULT, X, DOUBLE, LONG, MASK)                                                                           \
    do {                                                                                                             \
        DOUBLE x_ = (X), k_ = x_ * 1.4426950408889634 + 6755399441055744.0, p_;                                      \
        DOUBLE r_ = x_ - (k_ - 6755399441055744.0) * 0.6931471805599453, s_ = r_ * r_, q_ = s_ * s_;                 \
        LONG bits_, scale_;                                                                                          \
        p_ = ((1.0 + r_) + (0.49999999999998324 + 0.16666666666611557 * r_) * s_)                                    \
            + ((0.04166666666813634 + 0.008333333370869441 * r_)                                                     \
               + (0.0013888888516257532 + 0.00019841185237085612 * r_) * s_) * q_                                    \
            + ((2.480193168985464e-05 + 2.7634990440954185e-06 * r_) + 2.747680644798789e-07 * s_) * (q_ * q_);      \
        memcpy(&bits_, &p_, sizeof bits_);                                                                           \
        memcpy(&scale_, &k_, sizeof scale_);                                                                         \
        bits_ = (bits_ + (scale_ << 52)) & MASK(x_ >= -700.0);                                                       \
        memcpy(&(RESULT), &bits_, sizeof bits_);                                                                     \
    } while (0)

#define MASK_OF_NUMBER(condition) (-(uint64_t)(condition))
#define MASK_OF_VECTOR(condition) ((longs)(condition))  /* comparing vectors gives -1 where true */

INLINE double exp_of(double x) {
    double result;
    EXP(result, x, double, uint64_t, MASK_OF_NUMBER);
    return result;
}

INLINE doubles exp_of_vector(doubles x) {
    doubles result;
    EXP(result, x, doubles, longs, MASK_OF_VECTOR);
    return result;
}

/* The sum of LANES numbers, in the order of every instruction set. */
INLINE double sum_of_lanes(const doubles *sums) {
    double s[LANES];
    memcpy(s, sums, sizeof s);
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

INLINE void add_exp(doubles *sums, const float *x, double offset) {
    int part;
    for (part = 0; part < PARTS; part++) sums[part] += exp_of_vector(to_doubles(x + part * DOUBLES) - offset);
}

/* Sum of exp(x[i] - offset); NaN counts as 0. */
static inline double sum_exp(const float *x, int n, double offset) {
    doubles sums[PARTS] = {{0}};
    float tail[LANES];
    int i, j;
    for (i = 0; i + LANES <= n; i += LANES) add_exp(sums, x + i, offset);
    if (i < n) {
        for (j = 0; j < LANES; j++) tail[j] = i + j < n ? x[i + j] : NAN;
        add_exp(sums, tail, offset);
    }
    return sum_of_lanes(sums);
}

/* Replaces x[0..n) by exp(x[i] - offset); n is a multiple of LANES. */
INLINE void exp_all(double *x, int n, double offset) {
    doubles block;
    int i;
    for (i = 0; i < n; i += DOUBLES) {
        memcpy(&block, x + i, sizeof block);
        block = exp_of_vector(block - offset);
        memcpy(x + i, &block, sizeof block);
    }
}

/* Index of the first x[i] == value; n if there is none. */
INLINE int find_float(const float *x, int n, float value) {
    floats block;
    int i, bits;
    for (i = 0; i + FLOATS <= n; i += FLOATS) {
        memcpy(&block, x + i, sizeof block);
        bits = bits_of_floats((ints)(block == value));
        if (bits) return i + __builtin_ctz(bits);
    }
    for (; i < n; i++)
        if (x[i] == value) break;
    return i;
}

/* The same from i on, for doubles. */
INLINE int find_double(const double *x, int i, int n, double value) {
    doubles block;
    int bits;
    for (; i + DOUBLES <= n; i += DOUBLES) {
        memcpy(&block, x + i, sizeof block);
        bits = bits_of_doubles((longs)(block == value));
        if (bits) return i + __builtin_ctz(bits);
    }
    for (; i < n; i++)
        if (x[i] == value) break;
    return i;
}

INLINE float largest_lane(floats best) {
    float lanes[FLOATS];
    int width, j;
    memcpy(lanes, &best, sizeof lanes);
    for (width = FLOATS / 2; width; width /= 2)
        for (j = 0; j < width; j++) lanes[j] = lanes[j + width] > lanes[j] ? lanes[j + width] : lanes[j];
    return lanes[0];
}

/* Copies a row of logits and returns where its first largest number stands; -1 unless none is NaN or +inf and at least
   one is finite. */
static inline int take_logits(float *restrict dst, const float *restrict src, int n) {
    floats x, best;
    ints usable;
    float top = -INFINITY;
    int i, j, all = 1;
    if (n >= FLOATS) {
        best = (floats){0} - INFINITY;
        usable = ~(ints){0};
        for (i = 0; i < n; i += FLOATS) {
            j = i + FLOATS <= n ? i : n - FLOATS; /* the last block overlaps */
            memcpy(&x, src + j, sizeof x);
            memcpy(dst + j, &x, sizeof x);
            usable &= x < INFINITY;
            best = max_floats(x, best);
        }
        all = bits_of_floats(usable) == FLOATS_MASK;
        top = largest_lane(best);
    } else {
        for (i = 0; i < n; i++) {
            dst[i] = src[i];
            all &= src[i] < INFINITY;
            top = src[i] > top ? src[i] : top;
        }
    }
    return all && top > -INFINITY ? find_float(src, n, top) : NONE;
}

/* Where the first largest number stands, NaN left aside; -1 if all are NaN. */
static inline int argmax(const float *x, int n) {
    floats block, best;
    float top = -INFINITY;
    int i = 0;
    if (n >= FLOATS) {
        best = (floats){0} - INFINITY;
        for (i = 0; i < n; i += FLOATS) {
            memcpy(&block, x + (i + FLOATS <= n ? i : n - FLOATS), sizeof block);
            best = max_floats(block, best);
        }
        top = largest_lane(best);
    } else {
        for (i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
    }
    i = find_float(x, n, top);
    return i < n ? i : NONE;
}

/* Widens [low, high] to hold x[0..n). */
INLINE void widen(const double *x, int n, double *low, double *high) {
    doubles lows = (doubles){0} + *low, highs = (doubles){0} + *high, block;
    int i, j;
    for (i = 0; i + DOUBLES <= n; i += DOUBLES) {
        memcpy(&block, x + i, sizeof block);
        lows = min_doubles(block, lows);
        highs = max_doubles(block, highs);
    }
    for (; i < n; i++) {
        *low = min2(x[i], *low);
        *high = max2(x[i], *high);
    }
    for (j = 0; j < DOUBLES; j++) {
        *low = min2(lows[j], *low);
        *high = max2(highs[j], *high);
    }
}

/* scores[i] = (q[i] - lower) * factor + weight * prob[i] * share[i]; returns the largest. */
INLINE double puct_scores(const double *q, const double *prob, const double *share, int n, double lower,
                          double factor, double weight, double *scores) {
    doubles best = (doubles){0} - INFINITY, x, y, z;
    double top = -INFINITY;
    int i, j;
    for (i = 0; i + DOUBLES <= n; i += DOUBLES) {
        memcpy(&x, q + i, sizeof x);
        memcpy(&y, prob + i, sizeof y);
        memcpy(&z, share + i, sizeof z);
        x = (x - lower) * factor + weight * y * z;
        memcpy(scores + i, &x, sizeof x);
        best = max_doubles(x, best);
    }
    for (; i < n; i++) {
        scores[i] = (q[i] - lower) * factor + weight * prob[i] * share[i];
        top = max2(scores[i], top);
    }
    for (j = 0; j < DOUBLES; j++) top = max2(best[j], top);
    return top;
}

#endif
