"""What a search on a device found, and its way to the host."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mcts.device.arrays import DeviceTrees
from mcts.tree import Tree
from mcts.types import RESULT_ARRAYS, SearchResult


@dataclass(frozen=True, eq=False, repr=False)
class DeviceResult:
    """Holds what a search found, one row per root, as tensors on its device; the fields of `mcts.SearchResult`.

    Attributes:
        action: [B] int32.
        action_weights: [B, A] float32.
        visit_counts: [B, A] int32.
        qvalues: [B, A] float32.
        root_value: [B] float32.
        improved_value: [B] float32.
        failures: [B] int32, 0 where all is well; read by `check`.
    """

    action: torch.Tensor
    action_weights: torch.Tensor
    visit_counts: torch.Tensor
    qvalues: torch.Tensor
    root_value: torch.Tensor
    improved_value: torch.Tensor
    failures: torch.Tensor
    _num_simulations: int
    _trees: DeviceTrees
    _version: int

    def check(self) -> None:
        """Waits for the search and looks whether it went well.

        Raises:
            ValueError: the prediction at a root, or the network's answer to an edge, had unusable numbers, or scores
                were not numbers; says in which simulation and at which root.
        """
        failures = self.failures.cpu().numpy()
        if not failures.any():
            return
        simulations = np.where(failures == 0, np.iinfo(np.int32).max, np.abs(failures) - 1)
        simulations[failures == self._num_simulations + 1] = -1
        root = int(simulations.argmin())
        simulation = int(simulations[root])
        if failures[root] < 0:
            raise ValueError(
                "qtransform: expected Q-values and constants whose scores are numbers, got none that is one at root "
                f"{root}, simulation {simulation}; choose constants nearer to 1"
            )
        if simulation < 0:
            raise ValueError(
                f"root {root}: expected a finite value, and logits without NaN or +inf, an allowed one of them finite"
            )
        raise ValueError(
            f"network, simulation {simulation}, root {root}: expected a finite reward and value, a discount in "
            "[-1, 1], and logits without NaN or +inf, one of them finite"
        )

    def tree(self) -> Tree:
        """Returns the trees as an ordinary `mcts.Tree` in the host's memory; waits for the device.

        Raises:
            RuntimeError: another search of the same size has overwritten them.
        """
        if self._trees.version != self._version:
            raise RuntimeError("tree: a later search has used its memory; call tree() before the next search")
        return self._trees.to_host()

    def to_host(self, *, tree: bool = True) -> SearchResult:
        """Returns a copy as an `mcts.SearchResult`, checked; waits for the device.

        Args:
            tree: bring the trees along; without them the result's tree is that of no nodes.

        Raises:
            ValueError: see `check`.
            RuntimeError: see `tree`.
        """
        self.check()
        num_roots, num_actions = self.visit_counts.shape
        arrays = {name: getattr(self, name).cpu().numpy() for name in RESULT_ARRAYS}
        trees = self.tree() if tree else Tree.allocate(num_roots, 0, num_actions)
        return SearchResult(**arrays, tree=trees)
