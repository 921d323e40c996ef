/* The search in every instruction set, and which of them this machine can run. */

#ifndef MCTS_TABLE_H
#define MCTS_TABLE_H

#include "cpu.h"
#include "tree.h"

/* Why a range of roots stopped. */
enum { FINE = 0, BAD_ANSWER = 1, NO_CHOICE = 2 };
typedef struct {
    int reason;
    ptrdiff_t row; /* the first whose answer is not usable, or the root whose scores are not numbers */
} Stop;

typedef struct {
    const char *name;
    void (*plant)(const Search *s, ptrdiff_t b, float value, const Node *kept, const float *kept_logits);
    ptrdiff_t (*start)(const Search *s, ptrdiff_t begin, ptrdiff_t end, int worker);
    Stop (*step)(const Search *s, ptrdiff_t begin, ptrdiff_t end, int simulation, int worker);
    void (*finish)(const Search *s, ptrdiff_t b);
} InstructionSet;

extern const InstructionSet mcts_search_baseline, mcts_search_avx2, mcts_search_avx512;

enum { MOST_SETS = 3 };

/* Lists what this machine can run, the fastest first; returns how many. */
static inline int instruction_sets(const InstructionSet **sets) {
    int count = 0;
#ifdef MCTS_X86
    const int vectors = mcts_vectors();
    if (vectors >= MCTS_AVX512) sets[count++] = &mcts_search_avx512;
    if (vectors >= MCTS_AVX2) sets[count++] = &mcts_search_avx2;
#endif
    sets[count++] = &mcts_search_baseline;
    return count;
}

#endif
