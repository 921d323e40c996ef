"""The folded network as ONNX graphs: one for observations, one for imagined steps.

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

from muzero_wm.inference.folded import Block, Folded
from muzero_wm.model.support import Support

_OPSET, _IR_VERSION = 20, 10  # of 2023: what runtimes of the last years read

Arrays = dict[str, NDArray[np.float32]]


def output_columns(net: Folded) -> dict[str, int]:
    """Returns the outputs of both graphs in their order, each with its number of columns."""
    columns = {"next_latent": math.prod(net.latent_shape), "reward": 1, "prior_logits": net.num_actions, "value": 1}
    return columns | ({"edge_sign": 1} if net.learns_turns else {})


def weight_arrays(net: Folded) -> Arrays:
    """Returns the weights of both graphs by the name of their input, C-contiguous float32."""
    arrays: dict[str, Any] = {"embedding": net.embedding.flatten(1)}
    layers = {"stem": net.stem, "hidden": net.hidden, "output": net.output}
    if net.squeeze is not None:
        layers["squeeze"] = net.squeeze
    for kind in ("representation", "dynamics", "prediction"):
        for index, block in enumerate(getattr(net, kind)):
            layers |= {f"{kind}.{index}.first": block.first, f"{kind}.{index}.second": block.second}
    for name, layer in layers.items():
        arrays |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
    if net.position is not None:
        arrays["position"] = net.position
    return {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in arrays.items()}


def step_graph(net: Folded, *, frozen: bool) -> bytes:
    """Returns the graph of one imagined step as a serialised ONNX model.

    Args:
        net: the network.
        frozen: weights are constants, else inputs named as in `weight_arrays`.

    Returns:
        A model from `latent` [B, D] float32 (channels first) and `action` [B] int32 to `output_columns`.
    """
    size = math.prod(net.latent_shape)
    graph = _Graph(net, frozen)
    graph.input("latent", TensorProto.FLOAT, ["B", size])
    graph.input("action", TensorProto.INT32, ["B"])
    x = graph.shaped("latent")
    if net.roll:
        first, second = graph.split(x, [net.latent_shape[0] - net.roll, net.roll])
        x = graph.node("Concat", second, first, axis=1)
    added = graph.shaped(graph.node("Gather", graph.weight("embedding"), "action", axis=0))
    x = graph.blocks("dynamics", net.dynamics, x, added)
    return graph.finish(x)


def root_graph(net: Folded, *, frozen: bool) -> bytes:
    """Returns the graph from `observation` [B, *observation_shape] float32; see `step_graph`."""
    graph = _Graph(net, frozen)
    inputs = net.stem.weight.shape[1]
    graph.input("observation", TensorProto.FLOAT, ["B", inputs, *net.latent_shape[1:]])
    x = graph.layer("stem", "observation", kernel=3)
    if net.position is not None:
        x = graph.node("Add", x, graph.weight("position"))
    return graph.finish(graph.blocks("representation", net.representation, graph.node("Relu", x)))


class _Graph:
    """Collects nodes; methods return the name of what they compute."""

    def __init__(self, net: Folded, frozen: bool) -> None:
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
        return self.node("Reshape", flat, self.integers(-1, *self._net.latent_shape)) if self._net.conv else flat

    def layer(self, name: str, x: str, kernel: int = 0) -> str:
        """Returns an affine layer of x: a convolution for boards if a kernel size is given, else linear."""
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        if self._net.conv and kernel:
            return self.node("Conv", x, weight, bias, kernel_shape=[kernel, kernel], pads=[kernel // 2] * 4)
        return self.node("Gemm", x, weight, bias, transB=1)

    def blocks(self, kind: str, blocks: tuple[Block, ...], x: str, added: str | None = None) -> str:
        for index in range(len(blocks)):
            inner = self.layer(f"{kind}.{index}.first", x, kernel=3)
            if index == 0 and added is not None:
                inner = self.node("Add", inner, added)
            outer = self.layer(f"{kind}.{index}.second", self.node("Relu", inner), kernel=3)
            x = self.node("Relu", self.node("Add", outer, x))
        return x

    def finish(self, x: str) -> bytes:
        """Adds the scaling of the latent and the heads, and returns the model."""
        net = self._net
        size = math.prod(net.latent_shape)
        flat = self.node("Reshape", x, self.integers(-1, size)) if net.conv else x
        latent = self._normalized(flat)
        self._heads(latent)
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", columns])
            for name, columns in output_columns(net).items()
        ]
        graph = helper.make_graph(
            self._nodes, "muzero_wm", self._inputs, outputs, initializer=list(self._constants.values())
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
        onnx.checker.check_model(model)
        return model.SerializeToString()

    def _normalized(self, flat: str) -> str:
        axis = self.integers(1)
        if self._net.latent_norm == "rms":
            mean = self.node("ReduceMean", self.node("Mul", flat, flat), axis, keepdims=1)
            root = self.node("Sqrt", self.node("Add", mean, self.number(1e-6)))
            return self.node("Div", flat, root, output="next_latent")
        low, high = (self.node(kind, flat, axis, keepdims=1) for kind in ("ReduceMin", "ReduceMax"))
        span = self.node("Max", self.node("Sub", high, low), self.number(1e-5))
        return self.node("Div", self.node("Sub", flat, low), span, output="next_latent")

    def _heads(self, latent: str) -> None:
        net = self._net
        x = self.blocks("prediction", net.prediction, self.shaped(latent))
        if net.squeeze is not None:
            squeezed = net.squeeze.weight.shape[0] * math.prod(net.latent_shape[1:])
            cells = self.node("Relu", self.layer("squeeze", x, kernel=1))
            peak = self.node("ReduceMax", x, self.integers(2, 3), keepdims=0)
            x = self.node("Concat", self.node("Reshape", cells, self.integers(-1, squeezed)), peak, axis=1)
        logits = self.layer("output", self.node("Relu", self.layer("hidden", x)))
        sizes = [net.num_actions, net.value_support.num_bins, net.reward_support.num_bins]
        policy, value, reward, *turn = self.split(logits, [*sizes, 1] if net.learns_turns else sizes)
        self.node("Identity", policy, output="prior_logits")
        self._decode(reward, net.reward_support, "reward")
        self._decode(value, net.value_support, "value")
        for logit in turn:
            self.node("Tanh", self.node("Mul", logit, self.number(0.5)), output="edge_sign")

    def _decode(self, logits: str, support: Support, output: str) -> None:
        """Adds the expectation over the bins, summed as `Support.decode` does."""
        share = self.node("Softmax", logits, axis=1)
        if len(support.minus):
            share = self.node("Sub", *(self.node("Gather", share, self.integers(*bins.tolist()), axis=1)
                                       for bins in (support.plus, support.minus)))  # fmt: skip
        bins = self.constant(f"bins_{output}", support.bins[support.plus].numpy()[:, None])
        self.node("MatMul", share, bins, output=output)
