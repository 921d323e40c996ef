"""Lays the trees of the native search so that a sanitizer sees the first byte before and behind them.

A tree starts on a cache line, for which up to 64 bytes more than it needs are allocated: room enough for a small
overflow to go unseen. Importing this module leaves that room out; pytest does by
`-p tests.native.guard`, and so does the fuzzer.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from mcts.tree import Tree


def install() -> None:
    """Makes every later tree end where its memory ends."""
    allocate = Tree.allocate

    @functools.wraps(allocate)
    def exact(*args: Any, **kwargs: Any) -> Tree:
        tree = allocate(*args, **kwargs)
        shape, dtype = tree.nodes.shape, tree.nodes.dtype
        # A tree is frozen; its first array goes before the second comes, so that the peak of memory stays the same.
        object.__setattr__(tree, "nodes", None)
        object.__setattr__(tree, "nodes", np.empty(shape, dtype))
        return tree

    Tree.allocate = staticmethod(exact)  # type: ignore[method-assign,assignment]


install()
