"""Types of the native MLP evaluator."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mcts.mlp import PackedLayer
from mcts.types import RecurrentOutput

PANEL: int
TILE: int

def aligned_zeros(size: int) -> npt.NDArray[np.float32]: ...
def instruction_sets() -> tuple[str, ...]: ...

class Network:
    width: int
    num_actions: int
    def __init__(
        self,
        layers: Mapping[str, Sequence[PackedLayer]],
        width: int,
        num_actions: int,
        *,
        change_sides: bool,
        minmax: bool,
        value: tuple[npt.NDArray[np.float32], int, int, bool],
        reward: tuple[npt.NDArray[np.float32], int, int, bool],
        instruction_set: str,
    ) -> None: ...
    def initial(
        self, observation: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]: ...

class Search:
    latents: npt.NDArray[np.float32]
    address: int
    context: int
    def __init__(
        self,
        network: Network,
        root_latent: npt.NDArray[np.float32],
        num_nodes: int,
        discount: float,
        leaves_per_step: int,
    ) -> None: ...
    def evaluate(
        self, parent_index: npt.NDArray[np.int32], action: npt.NDArray[np.int32], node_index: int
    ) -> RecurrentOutput: ...
