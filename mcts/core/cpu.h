/* The compiler, and what the processor has: which vector instructions code may use that is not for every machine.

   The processor is asked here rather than by __builtin_cpu_supports, which needs a library that neither clang-cl nor
   every Apple Clang links. */

#ifndef MCTS_CPU_H
#define MCTS_CPU_H

#include <stdint.h>

#if !defined(__GNUC__) && !defined(__clang__)
#error "mcts needs GCC or Clang, on Windows clang-cl: see docs/building.md"
#endif

#if defined(__x86_64__)
#define MCTS_X86 1
#endif

/* The widest vectors of a machine; it has those of the lines above too. */
enum {
    MCTS_BASELINE, /* SSE2 on x86-64, NEON on AArch64 */
    MCTS_AVX2,     /* and FMA */
    MCTS_AVX512    /* F, VL, BW and DQ */
};

#ifdef MCTS_X86
typedef struct {
    uint32_t a, b, c, d;
} mcts_registers;

static inline mcts_registers mcts_cpuid(uint32_t leaf) {
    mcts_registers r;
    __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(0));
    return r;
}

/* Which registers the system saves when it goes from one thread to another. */
static inline uint32_t mcts_saved_registers(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* Returns the widest vectors that processor and system have (Intel's manual, volume 1, sections 14.3 and 15.2). macOS
   saves the registers of AVX-512 only after their first use, so there it is AVX2. */
static inline int mcts_vectors(void) {
    const uint32_t fma = 1u << 12, system_saves = 1u << 27;                       /* of leaf 1, c */
    const uint32_t avx2 = 1u << 5, avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* of leaf 7, b */
    const uint32_t state_of_avx = 0x06, state_of_avx512 = 0xE6;
    const uint32_t wanted = fma | system_saves;
    uint32_t features, saved;
    if (mcts_cpuid(0).a < 7 || (mcts_cpuid(1).c & wanted) != wanted) return MCTS_BASELINE;
    features = mcts_cpuid(7).b;
    saved = mcts_saved_registers();
    if (!(features & avx2) || (saved & state_of_avx) != state_of_avx) return MCTS_BASELINE;
    return (features & avx512) == avx512 && (saved & state_of_avx512) == state_of_avx512 ? MCTS_AVX512 : MCTS_AVX2;
}
#endif

#endif
