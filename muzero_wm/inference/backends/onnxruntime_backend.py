"""ONNX Runtime (extra `onnx`), in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from muzero_wm.inference.backends.graph_worker import Buffers, GraphWorker
from muzero_wm.inference.backends.onnx_graph import output_columns, root_graph, step_graph, weight_arrays
from muzero_wm.inference.description import Description, describe
from muzero_wm.model.world_model import WorldModel


class OnnxRuntimeBackend:
    """Evaluates the ONNX graphs with ONNX Runtime's CPU kernels.

    Args:
        model: the first snapshot.
        frozen: bake the weights into the sessions, which makes convolutions about twice as fast; a refresh then makes
            new sessions. Else weights are inputs, and a refresh only replaces arrays.
    """

    latent_dtype = torch.float32

    def __init__(self, model: WorldModel, *, frozen: bool = False) -> None:
        """Makes the sessions; see the class for the arguments."""
        self._frozen, self.generation = frozen, 0
        net = describe(model)
        self.observation_shape = net.observation_shape
        self.columns = output_columns(net)
        self._load(net)
        self._make_sessions(net)

    def refresh(self, model: WorldModel) -> None:
        """Replaces the weights by a snapshot of `model`."""
        net = describe(model)
        self._load(net)
        if self._frozen:
            self._make_sessions(net)
        self.generation += 1

    def worker(self) -> GraphWorker:
        """Returns a worker with buffers of its own; sessions are shared by all threads."""
        return GraphWorker(self)

    def run_root(self, observation: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Evaluates observations; see `GraphBackend`."""
        values = {name: self._weights[name] for name in _weight_names(self.root)}
        values["observation"] = onnxruntime.OrtValue.ortvalue_from_numpy(observation)
        return [value.numpy() for value in self.root.run_with_ort_values(list(self.columns), values)]

    def bind_step(self, buffers: Buffers) -> Callable[[], None]:
        """Binds buffers to the step; see `GraphBackend`."""
        session = self.step
        binding = session.io_binding()
        for name, array in buffers.inputs.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for name, array in buffers.outputs.items():
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for name in _weight_names(session):
            binding.bind_ortvalue_input(name, self._weights[name])
        return lambda: session.run_with_iobinding(binding)

    def _load(self, net: Description) -> None:
        self.limits = net.limits
        arrays = {} if self._frozen else weight_arrays(net)
        self._weights = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}

    def _make_sessions(self, net: Description) -> None:
        self.root = _session(root_graph(net, frozen=self._frozen))
        self.step: Any = _session(step_graph(net, frozen=self._frozen)) if net.dynamics else None


def _session(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _weight_names(session: Any) -> set[str]:
    return {entry.name for entry in session.get_inputs()} - {"observation", "latent", "action"}
