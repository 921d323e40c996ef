"""OpenVINO (extra `openvino`), in float32 or bf16."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from muzero_wm.inference.backends.base import BackendError
from muzero_wm.inference.backends.graph_worker import Buffers, GraphWorker
from muzero_wm.inference.backends.onnx_graph import output_columns, root_graph, step_graph, weight_arrays
from muzero_wm.inference.backends.signal_stack import signal_stack_kept
from muzero_wm.inference.description import Description, describe
from muzero_wm.model.layers import Affine, Block
from muzero_wm.model.world_model import WorldModel

_MAX_FIXED = 4
_ANY = -1


class OpenVinoBackend:
    """Evaluates the ONNX graphs with OpenVINO's CPU plugin.

    The step is compiled for a fixed number of rows, which is up to twice as fast as leaving it open, but rounds
    differently. In training only the usual number is fixed: were it the first few that come, what a run finds would
    depend on what it was asked before, and a resumed run on when it was stopped. Frozen weights fix the first few.

    Args:
        model: the first snapshot.
        dtype: precision of the computation; latents are float32 either way.
        batch_size: rows of a usual call.
        frozen: bake the weights in; a refresh then compiles again. Else weights are inputs, and a refresh only replaces
            arrays.

    Raises:
        BackendError: OpenVINO takes another precision on this processor than the one asked for.
    """

    latent_dtype = torch.float32

    def __init__(
        self, model: WorldModel, *, dtype: torch.dtype = torch.float32, batch_size: int = 256, frozen: bool = False
    ) -> None:
        """Compiles the graphs; see the class for the arguments."""
        self._frozen, self._batch_size, self.generation = frozen, batch_size, 0
        net = describe(model)
        self.observation_shape = net.observation_shape
        self._size = math.prod(model.latent_shape)
        self._core = openvino.Core()
        self._options: dict[str, Any] = {
            # said explicitly, because the plugin takes bf16 by itself where the CPU has it
            "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
            "PERFORMANCE_HINT": "LATENCY",
        }
        if any(isinstance(layer, Block) and isinstance(layer.first, Affine) for layer in net.layers):
            # with one thread, OpenVINO 2026.4 crashes while it fuses chains of residual linear layers
            self._options["SNIPPETS_MODE"] = "DISABLE"
        self.columns = output_columns(net)
        self._load(net)
        self._read(net)
        taken = self.root.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if taken != self._options["INFERENCE_PRECISION_HINT"]:  # it does so without a word
            raise BackendError(
                f"openvino: it computes in {taken} where it is asked for {self._options['INFERENCE_PRECISION_HINT']}, "
                "on this processor: take auto or openvino-fp32 as inference.backend"
            )

    def refresh(self, model: WorldModel) -> None:
        """Replaces the weights by a snapshot of `model`."""
        net = describe(model)
        self._load(net)
        if self._frozen:
            self._read(net)
        self.generation += 1

    def worker(self) -> GraphWorker:
        """Returns a worker with requests and buffers of its own; compiled graphs are shared by all threads."""
        return GraphWorker(self)

    def run_root(self, observation: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Evaluates observations; see `GraphBackend`."""
        request = self.root.create_infer_request()
        weights = {name: self._weights[name] for name in _weight_names(self.root)}
        request.infer({"observation": observation, **weights}, share_inputs=True)
        return [request.get_tensor(name).data.copy() for name in self.columns]

    def bind_step(self, buffers: Buffers) -> Callable[[], None]:
        """Binds buffers to the step; see `GraphBackend`."""
        compiled = self._compiled_step(len(buffers.inputs["action"]))
        request = compiled.create_infer_request()
        weights = {name: self._weights[name] for name in _weight_names(compiled)}
        arrays = buffers.inputs | buffers.outputs | weights
        for name, array in arrays.items():
            request.set_tensor(name, openvino.Tensor(array, shared_memory=True))

        # the request only points at the arrays, so whoever may run it has to hold them
        def run(_held: dict[str, NDArray] = arrays) -> None:
            request.infer()

        return run

    def _load(self, net: Description) -> None:
        self.limits = net.limits
        self._weights = {} if self._frozen else weight_arrays(net)

    def _read(self, net: Description) -> None:
        self.root = self._compile(self._core.read_model(root_graph(net, frozen=self._frozen)))
        self._step_bytes = step_graph(net, frozen=self._frozen) if net.dynamics else b""
        self._steps: dict[int, Any] = {}

    def _compiled_step(self, rows: int) -> Any:
        usual = rows in (self._batch_size, self._batch_size - 1)  # shards of one search differ by one
        room = self._frozen and len(self._steps) < _MAX_FIXED
        key = rows if usual or rows in self._steps or room else _ANY
        if key not in self._steps:
            graph = self._core.read_model(self._step_bytes)
            graph.reshape({"latent": [key, self._size], "action": [key]})
            self._steps[key] = self._compile(graph)
        return self._steps[key]

    def _compile(self, graph: Any) -> Any:
        with signal_stack_kept():
            return self._core.compile_model(graph, "CPU", self._options)


def _weight_names(compiled: Any) -> set[str]:
    names = {name for port in compiled.inputs for name in port.get_names()}
    return names - {"observation", "latent", "action"}
