"""Packs of stored episodes, as they pass from the replay to the disk and back: neither needs to know the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from numpy.typing import NDArray


class Stored(Protocol):
    """Is where the arrays of a pack lie once they are stored."""

    def arrays(self, max_bytes: int | None = None) -> dict[str, NDArray]:
        """Returns the arrays.

        Raises:
            CheckpointError: they are missing, damaged or not plausible.
        """


class EpisodePack:
    """Arrays that never change again, in memory until they are stored and on the disk from then on.

    `save_checkpoint` stores the packs it meets in a payload; `load_checkpoint` gives them back without reading them.

    Args:
        arrays: by name; None where they are stored already.
        stored: where they are stored; None until then.
    """

    def __init__(self, arrays: Mapping[str, NDArray] | None = None, stored: Stored | None = None) -> None:
        if (arrays is None) == (stored is None):
            raise ValueError("expected arrays or stored, and not both")
        self._arrays = None if arrays is None else dict(arrays)
        self.stored = stored

    def now_stored(self, stored: Stored) -> None:
        """Frees the memory: from now on the arrays are read from the disk."""
        self._arrays, self.stored = None, stored

    def arrays(self, max_bytes: int | None = None) -> dict[str, NDArray]:
        """Returns the arrays, from the disk after their digest was compared.

        Args:
            max_bytes: most bytes they may take together.

        Raises:
            CheckpointError: the file is missing, damaged or not plausible.
        """
        if self._arrays is not None:
            return dict(self._arrays)
        assert self.stored is not None
        return self.stored.arrays(max_bytes)
