/* One version of the search: the last line of every search_*.c, behind the definition of MCTS_ISA. */

#include "root.h"

#define VERSION_NAME2(x) mcts_search_##x
#define VERSION_NAME(x) VERSION_NAME2(x)
#define STRING2(x) #x
#define STRING(x) STRING2(x)

HIDDEN const InstructionSet VERSION_NAME(MCTS_ISA) = {STRING(MCTS_ISA), plant, start, step, finish};
