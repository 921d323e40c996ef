"""Takes a replay back to a moment in the recent past: what was overwritten since is kept until the next mark.

A run in the middle of a round is in no state that a checkpoint could describe: new episodes, priorities and reanalysed
targets of half a round are in the store. Going back to the last border costs only what that half round changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Put = Callable[[str, NDArray[np.int64], NDArray[Any]], None]


class UndoLog:
    """Old values of slots, in the order in which they were overwritten."""

    def __init__(self) -> None:
        """Remembers nothing yet."""
        self._entries: list[tuple[str, NDArray[np.int64], NDArray[Any]]] = []

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(slots.nbytes + old.nbytes for _, slots, old in self._entries)

    def keep(self, name: str, slots: NDArray[np.int64], old: NDArray[Any]) -> None:
        """Remembers what stands in some slots, to be called before they are overwritten.

        Args:
            name: of the array.
            slots: [n] int64.
            old: [n, ...] a copy of the values there.
        """
        self._entries.append((name, slots.copy(), old))

    def undo(self, put: Put) -> None:
        """Puts every old value back, the newest change first, and forgets them.

        Args:
            put: writes values [n, ...] of the named array into slots [n].
        """
        while self._entries:
            put(*self._entries.pop())
