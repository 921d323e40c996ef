"""The worker that the ONNX runtimes share: buffers for each number of rows, bound once and run many times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muzero_wm.inference.backends.base import Inference, remember
from muzero_wm.model.observation import Limits, clipped


class Buffers:
    """Inputs and outputs of the graph of one imagined step.

    Args:
        rows: B.
        columns: of each output.
    """

    def __init__(self, rows: int, columns: dict[str, int]) -> None:
        """Allocates the arrays."""
        size = columns["next_latent"]
        self.inputs = {"latent": np.empty((rows, size), np.float32), "action": np.empty(rows, np.int32)}
        self.outputs = {name: np.empty((rows, width), np.float32) for name, width in columns.items()}


class GraphBackend(Protocol):
    """What the worker needs of a runtime."""

    observation_shape: tuple[int, ...]  # as the graph takes it
    columns: dict[str, int]  # of each output, in the order of the graphs
    limits: Limits | None  # of observations
    generation: int  # grows with every refresh: what was bound before is stale

    def run_root(self, observation: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Returns the outputs, each [B, columns], in fresh memory."""
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
        x = np.ascontiguousarray(clipped(observation, self._backend.limits), np.float32)
        found = self._backend.run_root(x.reshape(len(x), *self._backend.observation_shape))
        outputs = dict(zip(self._backend.columns, found, strict=True))
        return _read(torch.from_numpy(outputs["next_latent"]), outputs)

    def recurrent(self, latent: Tensor, action: NDArray[np.int32], out: Tensor) -> Inference:
        """Evaluates one imagined step; see `Worker`."""
        if self._generation != self._backend.generation:
            self._bound.clear()
            self._generation = self._backend.generation
        rows = len(latent)
        buffers, run = remember(self._bound, rows, lambda: self._bind(rows))
        buffers.inputs["latent"][...] = latent.numpy()
        buffers.inputs["action"][...] = action
        run()
        out.numpy()[...] = buffers.outputs["next_latent"]
        return _read(out, buffers.outputs)

    def _bind(self, rows: int) -> tuple[Buffers, Callable[[], None]]:
        buffers = Buffers(rows, self._backend.columns)
        return buffers, self._backend.bind_step(buffers)


def _read(latent: Tensor, outputs: dict[str, NDArray[np.float32]]) -> Inference:
    sign = outputs.get("edge_sign")
    return Inference(
        latent,
        outputs["reward"].reshape(-1),
        outputs["prior_logits"],
        outputs["value"].reshape(-1),
        None if sign is None else sign.reshape(-1),
    )
