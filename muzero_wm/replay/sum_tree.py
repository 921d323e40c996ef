"""A sum tree for prioritised sampling; update and sample cost O(log n).

Source: Schaul et al., Prioritized Experience Replay (arXiv:1511.05952) appendix B.2.1.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from muzero_wm.basis.compiling import compiled

_TREE, _LEAVES, _NUMBERS = types.float64[::1], types.int64[:], types.float64[:]


@compiled(types.void(_TREE, _LEAVES, _NUMBERS))
def _update(tree: NDArray[np.float64], leaves: NDArray[np.int64], priorities: NDArray[np.float64]) -> None:
    first = tree.shape[0] // 2
    for i in range(leaves.shape[0]):
        node = first + leaves[i]
        tree[node] = priorities[i]
        node //= 2
        while node >= 1:
            # summed afresh from the children: no drift however often a leaf changes
            tree[node] = tree[2 * node] + tree[2 * node + 1]
            node //= 2


@compiled(types.void(_TREE, _NUMBERS, types.int64[::1]))
def _sample(tree: NDArray[np.float64], uniforms: NDArray[np.float64], out: NDArray[np.int64]) -> None:
    first = tree.shape[0] // 2
    for i in range(uniforms.shape[0]):
        mass = uniforms[i] * tree[1]
        node = 1
        while node < first:
            node *= 2
            # an empty right half is never entered, whatever rounding says
            if mass >= tree[node] and tree[node + 1] > 0.0:
                mass -= tree[node]
                node += 1
        out[i] = node - first


class SumTree:
    """Priorities of `capacity` leaves and draws in proportion to them.

    Args:
        capacity: number of leaves, >= 1; all start at 0.
    """

    def __init__(self, capacity: int) -> None:
        """Allocates the tree: the next power of two leaves, 16 bytes each."""
        leaves = 1 << max(0, capacity - 1).bit_length()
        self.capacity = capacity
        self._tree = np.zeros(2 * max(leaves, 2), np.float64)

    @property
    def total(self) -> float:
        """Sum of all priorities."""
        return float(self._tree[1])

    @property
    def largest(self) -> float:
        """Largest priority of all."""
        first = len(self._tree) // 2
        return float(self._tree[first : first + self.capacity].max())

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._tree.nbytes

    def update(self, leaves: NDArray[np.int64], priorities: NDArray[np.float64]) -> None:
        """Sets priorities.

        Args:
            leaves: [n] int64 in [0, capacity).
            priorities: [n] float64, finite and >= 0.

        Raises:
            ValueError: a leaf outside the tree, or a priority that is negative or not finite.
        """
        leaves = np.asarray(leaves, np.int64)
        priorities = np.asarray(priorities, np.float64)
        if leaves.size and (leaves.min() < 0 or leaves.max() >= self.capacity):
            raise ValueError(f"leaves: expected 0 .. {self.capacity - 1}, got {leaves.min()} .. {leaves.max()}")
        if not np.all(np.isfinite(priorities)) or np.any(priorities < 0):
            raise ValueError("priorities: expected finite numbers >= 0")
        _update(self._tree, leaves, priorities)

    def get(self, leaves: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the [n] priorities of `leaves` [n]."""
        return self._tree[len(self._tree) // 2 + leaves]

    def sample(self, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """Draws leaves in proportion to their priorities.

        Args:
            uniforms: [n] float64 in [0, 1).

        Returns:
            [n] int64; never a leaf of priority 0.

        Raises:
            ValueError: all priorities are 0.
        """
        if self.total <= 0.0:
            raise ValueError("sample: nothing to draw from, all priorities are 0")
        out = np.empty(len(uniforms), np.int64)
        _sample(self._tree, np.asarray(uniforms, np.float64), out)
        return out
