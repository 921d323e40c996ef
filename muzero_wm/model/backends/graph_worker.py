"""The worker that the ONNX runtimes share: buffers for each number of rows, bound once and run many times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muzero_wm.model.backends.base import Inference, remember


class Buffers:
    """Inputs and outputs of the graph of one imagined step.

    Args:
        rows: B.
        size: D.
        num_actions: A.
    """

    def __init__(self, rows: int, size: int, num_actions: int) -> None:
        """Allocates the arrays."""
        self.inputs = {"latent": np.empty((rows, size), np.float32), "action": np.empty(rows, np.int32)}
        columns = {"next_latent": size, "reward": 1, "prior_logits": num_actions, "value": 1}
        self.outputs = {name: np.empty((rows, width), np.float32) for name, width in columns.items()}


class GraphBackend(Protocol):
    """What the worker needs of a runtime."""

    conv: bool
    num_actions: int
    generation: int  # grows with every refresh: what was bound before is stale

    def run_root(self, observation: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Returns next_latent [B, D], reward [B, 1], prior_logits [B, A] and value [B, 1] in fresh memory."""
        ...

    def bind_step(self, buffers: Buffers) -> Callable[[], None]:
        """Returns a function that evaluates one imagined step from and into the buffers."""
        ...


class GraphWorker:
    """Evaluates with the graphs of its backend; flat latents are channels first."""

    def __init__(self, backend: GraphBackend) -> None:
        """Starts without buffers: they are made for every number of rows that comes."""
        self._backend, self._generation = backend, -1
        self._bound: dict[int, tuple[Buffers, Callable[[], None]]] = {}

    def initial(self, observation: NDArray) -> Inference:
        """Evaluates observations [B, *observation_shape]."""
        x = np.ascontiguousarray(observation, np.float32)
        latent, reward, prior_logits, value = self._backend.run_root(x if self._backend.conv else x.reshape(len(x), -1))
        return Inference(torch.from_numpy(latent), reward[:, 0], prior_logits, value[:, 0])

    def recurrent(self, latent: Tensor, action: NDArray[np.int32], out: Tensor) -> Inference:
        """Evaluates one imagined step; see `Worker`."""
        if self._generation != self._backend.generation:
            self._bound.clear()
            self._generation = self._backend.generation
        rows, size = latent.shape
        buffers, run = remember(self._bound, rows, lambda: self._bind(rows, size))
        buffers.inputs["latent"][...] = latent.numpy()
        buffers.inputs["action"][...] = action
        run()
        outputs = buffers.outputs
        out.numpy()[...] = outputs["next_latent"]
        return Inference(out, outputs["reward"].reshape(rows), outputs["prior_logits"], outputs["value"].reshape(rows))

    def _bind(self, rows: int, size: int) -> tuple[Buffers, Callable[[], None]]:
        buffers = Buffers(rows, size, self._backend.num_actions)
        return buffers, self._backend.bind_step(buffers)
