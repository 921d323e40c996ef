/* Where the arrays of a search lie: one function says it, to whoever allocates and to whoever asks how much it is. */

#ifndef MCTS_LAYOUT_H
#define MCTS_LAYOUT_H

#include "tree.h"

enum { CACHE_LINE = 64 };

/* Where an AddressSanitizer watches, the arrays of a block stand apart and the room between them is forbidden. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MCTS_WATCHED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(MCTS_WATCHED)
#include <sanitizer/asan_interface.h>
enum { GAP = CACHE_LINE };
#define FORBID(address, num_bytes) __asan_poison_memory_region(address, num_bytes)
#define ALLOW(address, num_bytes) __asan_unpoison_memory_region(address, num_bytes)
#else
enum { GAP = 0 };
#define FORBID(address, num_bytes) ((void)0)
#define ALLOW(address, num_bytes) ((void)0)
#endif

typedef struct {
    char *memory; /* NULL: only count */
    size_t used;
} Arena;

/* Takes the next array of a block. */
static inline void *take(Arena *arena, ptrdiff_t count, size_t size) {
    const size_t num_bytes = (size_t)count * size;
    const size_t end = (arena->used + num_bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE + GAP;
    char *array = arena->memory ? arena->memory + arena->used : NULL;
    if (array) FORBID(array + num_bytes, end - arena->used - num_bytes);
    arena->used = end;
    return array;
}

/* Divides a block of memory into what only the search needs, all but the tree; returns its size. The sizes in `s` are
   set already.

   num_counts: entries of `share`.
   num_workers: threads, each with scratch of its own.
   memory: the block, or NULL to count only. */
static inline size_t lay_out(Search *s, ptrdiff_t num_counts, ptrdiff_t num_workers, void *memory) {
    const ptrdiff_t num_rows = s->num_roots * s->leaves_per_step, num_slots = s->num_roots * s->num_slots;
    Arena arena = {(char *)memory, 0};
    /* Two numbers beside the children, see choose_gumbel, and up to a multiple of LANES. */
    s->scratch_size = (s->num_slots + 2 + LANES - 1) / LANES * LANES;
    s->leaf_parent = (int32_t *)take(&arena, num_rows, sizeof(int32_t));
    s->leaf_action = (int32_t *)take(&arena, num_rows, sizeof(int32_t));
    s->leaf_node = (int32_t *)take(&arena, num_rows, sizeof(int32_t));
    s->lent = (int32_t *)take(&arena, 2 * num_rows, sizeof(int32_t));
    s->share = (double *)take(&arena, num_counts, sizeof(double));
    s->bounds = (double *)take(&arena, 2 * s->num_roots, sizeof(double));
    s->scratch = (double *)take(&arena, num_workers * SCRATCH_ARRAYS * s->scratch_size, sizeof(double));
    s->child_numbers = (double *)take(&arena, CHILD_ARRAYS * num_slots, sizeof(double));
    s->child_node = (int32_t *)take(&arena, num_slots, sizeof(int32_t));
    return arena.used;
}

#endif
