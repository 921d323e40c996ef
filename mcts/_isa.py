"""Which of the processor's vector instructions the native code uses: every choice gives the same numbers."""

from __future__ import annotations

import os
from functools import lru_cache

VARIABLE = "MCTS_INSTRUCTION_SET"


def instruction_sets() -> tuple[str, ...]:
    """Lists the instruction sets that the native code was built for and this machine has.

    The first, which is the fastest, is used, unless the environment variable MCTS_INSTRUCTION_SET names another before
    the first search.

    Returns:
        Names among avx512, avx2 and baseline (SSE2 or NEON), the fastest first; empty where the core is not built.

    Example:
        >>> "baseline" in instruction_sets()
        True
    """
    try:
        from mcts._core import instruction_sets as of_native
    except ImportError:
        return ()
    return of_native()


@lru_cache(maxsize=1)
def default_instruction_set() -> str:
    """Returns the instruction set in use.

    Raises:
        ValueError: MCTS_INSTRUCTION_SET names one that this machine does not have.
    """
    available = instruction_sets()
    wanted = os.environ.get(VARIABLE) or available[0]
    if wanted not in available:
        raise ValueError(f"{VARIABLE}: expected one of {', '.join(available)} on this machine, got {wanted!r}")
    return wanted
