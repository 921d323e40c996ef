"""Types of the native random numbers."""

import numpy as np
import numpy.typing as npt

def stream(keys: npt.NDArray[np.uint64], purpose: int, length: int) -> npt.NDArray[np.uint64]: ...
def gumbel(keys: npt.NDArray[np.uint64], purpose: int, length: int) -> npt.NDArray[np.float64]: ...
def dirichlet(
    keys: npt.NDArray[np.uint64], purpose: int, alpha: float, legal: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]: ...
