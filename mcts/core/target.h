/* How the functions of a file are compiled for an instruction set that not every processor has. */

#ifndef MCTS_TARGET_H
#define MCTS_TARGET_H

/* The system's headers come before a target begins: they are for everybody. */
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#define MCTS_X86 1
#include <immintrin.h>
#endif

#define PRAGMA(x) _Pragma(#x)
#if defined(__clang__)
#define BEGIN_TARGET(FEATURES) PRAGMA(clang attribute push(__attribute__((target(FEATURES))), apply_to = function))
#define END_TARGET PRAGMA(clang attribute pop)
#else
#define BEGIN_TARGET(FEATURES) PRAGMA(GCC push_options) PRAGMA(GCC target(FEATURES))
#define END_TARGET PRAGMA(GCC pop_options)
#endif

#endif
