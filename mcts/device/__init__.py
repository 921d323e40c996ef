"""The search on a device: trees in its memory, kernels in Triton, network and tree in one CUDA graph.

This is the one part of `mcts` that imports PyTorch and Triton, and nothing else imports it. See
`docs/device-search.md`.
"""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
    import triton as _triton  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"mcts.device needs PyTorch and Triton, and there is no {error.name}: install them with "
        "`pip install torch triton` (Triton is there for Linux only)"
    ) from error

from mcts.device.plan import Network, RecurrentTensors
from mcts.device.result import DeviceResult
from mcts.device.search import DeviceSearch

__all__ = ["DeviceResult", "DeviceSearch", "Network", "RecurrentTensors"]
