/* What a file of the search is compiled for. The same text is compiled once for each instruction set: search_*.c name
   one (MCTS_ISA, and the bytes of a vector, VECTOR_BYTES) and include search.h; table.h lists them and chooses.

   Every version gives the same bits: lanes and the order of every sum are spelled out, and contraction into fused
   multiply-adds is off. */

#ifndef MCTS_ISA_H
#define MCTS_ISA_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cpu.h"

/* Clang fuses within an expression unless it is told not to, and clang-cl has no -ffp-contract; GCC gets that flag, and
   knows no such pragma. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#define INLINE static inline __attribute__((always_inline))
#define HIDDEN __attribute__((visibility("hidden")))
#define PREFETCH(address) __builtin_prefetch(address)

/* Vectors of the compiler, one register each. */
enum { DOUBLES = VECTOR_BYTES / 8, FLOATS = VECTOR_BYTES / 4 };
typedef double doubles __attribute__((vector_size(VECTOR_BYTES)));
typedef uint64_t longs __attribute__((vector_size(VECTOR_BYTES)));
typedef float floats __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t ints __attribute__((vector_size(VECTOR_BYTES)));
typedef float half_floats __attribute__((vector_size(VECTOR_BYTES / 2))); /* as many as doubles */

#define SELECT(MASK, A, B, BITS, TYPE) ((TYPE)(((BITS)(MASK) & (BITS)(A)) | (~(BITS)(MASK) & (BITS)(B))))

INLINE double min2(double a, double b) { return a < b ? a : b; }
INLINE double max2(double a, double b) { return a > b ? a : b; }

#endif
