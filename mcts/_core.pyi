"""Types of the native core."""

import numpy as np
import numpy.typing as npt

from mcts.tree import Tree
from mcts.types import SearchProblem

class NativeSearch:
    parent_index: npt.NDArray[np.int32]
    action: npt.NDArray[np.int32]
    def __init__(self, problem: SearchProblem) -> None: ...
    def start(self) -> None: ...
    def receive(
        self,
        reward: npt.NDArray[np.float32],
        discount: npt.NDArray[np.float32],
        prior_logits: npt.NDArray[np.float32],
        value: npt.NDArray[np.float32],
    ) -> None: ...
    def step(self, simulation: int, begin: int, end: int) -> int: ...
    def finish(self) -> Tree: ...
