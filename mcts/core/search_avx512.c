/* The search for processors with AVX-512. */

#include "target.h"

#ifdef MCTS_X86
#define MCTS_ISA avx512
#define VECTOR_BYTES 64
BEGIN_TARGET("avx512f,avx512vl,avx512bw,avx512dq,avx2")
#include "version.h"
END_TARGET
#endif
