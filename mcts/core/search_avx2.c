/* The search for processors with AVX2. */

#include "target.h"

#ifdef MCTS_X86
#define MCTS_ISA avx2
#define VECTOR_BYTES 32
BEGIN_TARGET("avx2")
#include "version.h"
END_TARGET
#endif
