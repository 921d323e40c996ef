/* Elementary functions by additions, multiplications and divisions alone, which every processor rounds alike; the last
   digits of a C library's are its own. exp_of stands in rows.h, because it is wanted in vectors. */

#ifndef MCTS_ELEMENTARY_H
#define MCTS_ELEMENTARY_H

#include "rows.h"

/* The natural logarithm of x >= 0, with a relative error of a few 1e-16; -inf for 0, inf for inf, NaN below 0.
   With x = 2^k m, m between sqrt(1/2) and sqrt(2), log x = k log 2 + 2 atanh((m - 1) / (m + 1)), and the series of
   atanh in s^2 < 0.0295. */
static inline double log_of(double x) {
    double m, s, z, series;
    uint64_t bits;
    int k;
    if (!(x > 0.0)) return x == 0.0 ? -INFINITY : NAN;
    if (x > DBL_MAX) return x;
    m = x < DBL_MIN ? x * 18014398509481984.0 : x; /* 2^54 */
    memcpy(&bits, &m, sizeof bits);
    k = (int)(bits >> 52) - 1023 - (x < DBL_MIN ? 54 : 0);
    bits = (bits & 0xFFFFFFFFFFFFFu) | 0x3FF0000000000000u;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        k++;
    }
    s = (m - 1.0) / (m + 1.0);
    z = s * s;
    series = 1.0 / 21.0 + z / 23.0;
    series = 1.0 / 17.0 + z * (1.0 / 19.0 + z * series);
    series = 1.0 / 13.0 + z * (1.0 / 15.0 + z * series);
    series = 1.0 / 9.0 + z * (1.0 / 11.0 + z * series);
    series = 1.0 / 5.0 + z * (1.0 / 7.0 + z * series);
    series = z * (1.0 / 3.0 + z * series);
    /* log 2 in two parts: k times the first is exact */
    return k * 0.693147180369123816490 + (2.0 * s + (2.0 * s * series + k * 1.90821492927058770002e-10));
}

/* cos(2 pi x) for x between 0 and 1: the nearest quarter turn, and the series of sine or cosine for the rest. */
static inline double cos_of_turns(double x) {
    const double quarters = 4.0 * x;
    const int quarter = (int)(quarters + 0.5);
    const double r = (quarters - quarter) * 1.5707963267948966, z = r * r;
    double c, s;
    c = 1.0 - z / 2.0 * (1.0 - z / 12.0 * (1.0 - z / 30.0 * (1.0 - z / 56.0 * (1.0 - z / 90.0 *
        (1.0 - z / 132.0 * (1.0 - z / 182.0 * (1.0 - z / 240.0)))))));
    s = r * (1.0 - z / 6.0 * (1.0 - z / 20.0 * (1.0 - z / 42.0 * (1.0 - z / 72.0 * (1.0 - z / 110.0 *
        (1.0 - z / 156.0 * (1.0 - z / 210.0)))))));
    switch (quarter & 3) {
    case 0: return c;
    case 1: return -s;
    case 2: return -c;
    default: return s;
    }
}

#endif
