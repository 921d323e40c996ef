/* The C interface of a model that the native search calls without returning to Python. */

#ifndef MCTS_NATIVE_H
#define MCTS_NATIVE_H

#include <stdint.h>

/* The version of this interface; `mcts.NativeRecurrentFn(abi=)` takes it. */
#define MCTS_NATIVE_ABI 1

/* Answers the rows [begin, end) of one network call.

   Row r asks for the outcome of action[r] in the state that node parent_index[r] of its tree stands for; what it leads
   to becomes node `node_index` of that tree. `reward`, `discount` and `value` have num_rows numbers, `prior_logits`
   num_rows rows of A; only those of the range are written. The search divides the roots into ranges as it likes, and may
   take one range to its last simulation before it begins the next: what a row is answered must not depend on the range
   it came in. Called without the GIL, for disjoint ranges from several threads at a time. Returns 0, or anything else to stop
   the search. */
typedef int (*mcts_evaluate_fn)(void *context, const int32_t *parent_index, const int32_t *action, int32_t node_index,
                                int32_t num_rows, int32_t begin, int32_t end, float *reward, float *discount,
                                float *prior_logits, float *value);

#endif
