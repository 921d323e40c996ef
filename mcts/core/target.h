/* How the functions of a file are compiled for an instruction set that not every processor has. */

#ifndef MCTS_TARGET_H
#define MCTS_TARGET_H

/* The system's headers come before a target begins: they are for everybody. */
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cpu.h"

#ifdef MCTS_X86
#include <immintrin.h>
#if defined(_MSC_VER) /* there it leaves out what the command line does not switch on */
#include <smmintrin.h>
#include <avxintrin.h>
#include <avx2intrin.h>
#include <avx512fintrin.h>
#include <avx512dqintrin.h>
#endif
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
