"""The described network as ONNX graphs: one for observations, one for imagined steps.

Written node by node, so neither a tracer nor an exporter is needed. The weights are inputs of the graph, which is
compiled once and runs with any weights, or constants, which some runtimes need to lay them out well.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from muzero_wm.inference.description import Description, Plain, Sign, TwoHot
from muzero_wm.model.layers import (
    Affine,
    Block,
    CellsAndPeaks,
    Convolution,
    Exchange,
    Layer,
    Normalize,
    Relu,
    Shift,
)
from muzero_wm.model.support import Support

_OPSET, _IR_VERSION = 20, 10  # of 2023: what runtimes of the last years read

Arrays = dict[str, NDArray[np.float32]]


def output_columns(net: Description) -> dict[str, int]:
    """Returns the outputs of both graphs in their order, each with its number of columns."""
    columns = {"next_latent": math.prod(net.latent_shape), "reward": 1, "prior_logits": net.num_actions, "value": 1}
    return columns | ({"edge_sign": 1} if "edge_sign" in net.readouts else {})


def weight_arrays(net: Description) -> Arrays:
    """Returns the weights of both graphs by the name of their input, C-contiguous float32."""
    arrays: dict[str, Any] = {}
    for stage in ("representation", "dynamics", "prediction"):
        for index, layer in enumerate(getattr(net, stage)):
            name = f"{stage}.{index}"
            match layer:
                case Affine() | Convolution():
                    arrays |= _named(name, layer)
                case Block(first, second, by_action):
                    arrays |= _named(f"{name}.first", first) | _named(f"{name}.second", second)
                    if by_action is not None:
                        arrays[f"{name}.by_action"] = by_action.flatten(1)
                case CellsAndPeaks(squeeze):
                    arrays |= _named(name, squeeze)
                case Shift(amount):
                    arrays[f"{name}.amount"] = amount
    return {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in arrays.items()}


def _named(name: str, layer: Affine | Convolution) -> dict[str, Any]:
    return {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}


def step_graph(net: Description, *, frozen: bool) -> bytes:
    """Returns the graph of one imagined step as a serialised ONNX model.

    Args:
        net: the network.
        frozen: weights are constants, else inputs named as in `weight_arrays`.

    Returns:
        A model from `latent` [B, D] float32 (channels first) and `action` [B] int32 to `output_columns`.
    """
    graph = _Graph(net, frozen)
    graph.input("latent", TensorProto.FLOAT, ["B", math.prod(net.latent_shape)])
    graph.input("action", TensorProto.INT32, ["B"])
    return graph.finish(graph.stage("dynamics", graph.shaped("latent"), "action"))


def root_graph(net: Description, *, frozen: bool) -> bytes:
    """Returns the graph from `observation` [B, *observation_shape] float32; see `step_graph`."""
    graph = _Graph(net, frozen)
    graph.input("observation", TensorProto.FLOAT, ["B", *net.observation_shape])
    return graph.finish(graph.stage("representation", "observation"))


class _Graph:
    """Collects nodes; methods return the name of what they compute."""

    def __init__(self, net: Description, frozen: bool) -> None:
        self._net, self._frozen = net, frozen
        self._arrays = weight_arrays(net)
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._weights: set[str] = set()

    def input(self, name: str, kind: int, shape: list[Any]) -> None:
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))

    def weight(self, name: str) -> str:
        if self._frozen:
            return self.constant(name, self._arrays[name])
        if name not in self._weights:
            self._weights.add(name)
            self.input(name, TensorProto.FLOAT, list(self._arrays[name].shape))
        return name

    def constant(self, name: str, array: Any) -> str:
        self._constants[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    def number(self, value: float) -> str:
        return self.constant(f"number_{value!r}", np.float32(value))

    def integers(self, *values: int) -> str:
        return self.constant("integers_" + "_".join(map(str, values)), np.array(values, np.int64))

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def split(self, x: str, sizes: list[int]) -> list[str]:
        names = [f"split_{len(self._nodes)}_{part}" for part in range(len(sizes))]
        self._nodes.append(helper.make_node("Split", [x, self.integers(*sizes)], names, axis=1))
        return names

    def shaped(self, flat: str) -> str:
        """Returns flat latents in the shape that the layers want."""
        shape = self._net.latent_shape
        return self.node("Reshape", flat, self.integers(-1, *shape)) if len(shape) == 3 else flat

    def stage(self, stage: str, x: str, action: str = "") -> str:
        """Returns what the layers of a stage make of x; latents that are scaled become the output, flat."""
        layers: tuple[Layer, ...] = getattr(self._net, stage)
        board = len(self._net.observation_shape if stage == "representation" else self._net.latent_shape) == 3
        for index, layer in enumerate(layers):
            name = f"{stage}.{index}"
            match layer:
                case Affine() | Convolution():
                    if board and isinstance(layer, Affine):
                        x, board = self.node("Flatten", x, axis=1), False
                    x = self._affine(name, layer, x)
                case Block(first, second, by_action):
                    inner = self._affine(f"{name}.first", first, x)
                    if by_action is not None:
                        rows = self.node("Gather", self.weight(f"{name}.by_action"), action, axis=0)
                        inner = self.node("Add", inner, self.shaped(rows))
                    outer = self._affine(f"{name}.second", second, self.node("Relu", inner))
                    x = self.node("Relu", self.node("Add", outer, x))
                case Exchange(by):
                    channels = self._net.latent_shape[0]
                    kept, moved = self.split(x, [channels - by, by])
                    x = self.node("Concat", moved, kept, axis=1)
                case Shift():
                    x = self.node("Add", x, self.weight(f"{name}.amount"))
                case Relu():
                    x = self.node("Relu", x)
                case CellsAndPeaks(squeeze):
                    columns = squeeze.weight.shape[0] * math.prod(self._net.latent_shape[1:])
                    cells = self.node("Relu", self._affine(name, squeeze, x))
                    peak = self.node("ReduceMax", x, self.integers(2, 3), keepdims=0)
                    x = self.node("Concat", self.node("Reshape", cells, self.integers(-1, columns)), peak, axis=1)
                    board = False
                case Normalize(kind):
                    x = self._normalized(self.node("Flatten", x, axis=1) if board else x, kind)
        return x

    def _affine(self, name: str, layer: Affine | Convolution, x: str) -> str:
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        if isinstance(layer, Convolution):
            size = layer.weight.shape[2]
            return self.node(
                "Conv", x, weight, bias, kernel_shape=[size, size], pads=[size // 2] * 4, strides=list(layer.stride)
            )
        return self.node("Gemm", x, weight, bias, transB=1)

    def finish(self, latent: str) -> bytes:
        """Adds the heads behind flat scaled latents, and returns the model."""
        self._read(self.stage("prediction", self.shaped(latent)))
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", columns])
            for name, columns in output_columns(self._net).items()
        ]
        graph = helper.make_graph(
            self._nodes, "muzero_wm", self._inputs, outputs, initializer=list(self._constants.values())
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
        onnx.checker.check_model(model)
        return model.SerializeToString()

    def _normalized(self, flat: str, kind: str) -> str:
        axis = self.integers(1)
        if kind == "rms":
            mean = self.node("ReduceMean", self.node("Mul", flat, flat), axis, keepdims=1)
            root = self.node("Sqrt", self.node("Add", mean, self.number(1e-6)))
            return self.node("Div", flat, root, output="next_latent")
        low, high = (self.node(name, flat, axis, keepdims=1) for name in ("ReduceMin", "ReduceMax"))
        span = self.node("Max", self.node("Sub", high, low), self.number(1e-5))
        return self.node("Div", self.node("Sub", flat, low), span, output="next_latent")

    def _read(self, logits: str) -> None:
        """Adds what is made of the logits."""
        readouts = self._net.readouts
        parts = self.split(logits, [readout.size for readout in readouts.values()])
        for (name, readout), part in zip(readouts.items(), parts, strict=True):
            match readout:
                case Plain():
                    self.node("Identity", part, output=name)
                case Sign():
                    self.node("Tanh", self.node("Mul", part, self.number(0.5)), output=name)
                case TwoHot(support):
                    self._decode(part, support, name)

    def _decode(self, logits: str, support: Support, output: str) -> None:
        """Adds the expectation over the bins, summed as `Support.decode` does."""
        share = self.node("Softmax", logits, axis=1)
        if len(support.minus):
            share = self.node("Sub", *(self.node("Gather", share, self.integers(*bins.tolist()), axis=1)
                                       for bins in (support.plus, support.minus)))  # fmt: skip
        bins = self.constant(f"bins_{output}", support.bins[support.plus].numpy()[:, None])
        self.node("MatMul", share, bins, output=output)
