/* The search for every processor: SSE2 on x86-64, NEON on AArch64. */

#define MCTS_ISA baseline
#define VECTOR_BYTES 16
#include "version.h"
