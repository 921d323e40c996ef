"""The network in as few PyTorch calls as it takes, on prepacked weights and reused buffers.

A residual block of convolutions is two oneDNN calls: convolution, addition and ReLU in one pass, the second one adding
to its input in place. PyTorch's compiler emits the same operators; called directly nothing is traced, and new weights
cost a repacking only. The operators are private, and oneDNN has not every one of them for every processor, so the
constructor tries them, and what they compute has to pass the accuracy gate like everything else.

Latents are stored channels last, so the flat form, the boards of the convolutions and the rows of cells that the 1x1
convolution multiplies are views of the same memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from muzero_wm.inference.backends.base import BackendError, Inference, remember
from muzero_wm.inference.backends.packing import (
    ONES,
    BoardBlock,
    BoardLayer,
    Dense,
    DenseBlock,
    Packed,
    Packer,
    Summary,
)
from muzero_wm.inference.description import Description, describe
from muzero_wm.model.layers import Affine, Exchange, Relu, Shift
from muzero_wm.model.networks import normalize_latent, rows_at_once
from muzero_wm.model.observation import clipped
from muzero_wm.model.support import Support
from muzero_wm.model.world_model import WorldModel, edge_sign

_RMS_EPSILON = 1e-6


@dataclass(frozen=True)
class _Weights:
    """One snapshot, packed."""

    representation: tuple[Packed, ...]
    dynamics: tuple[Packed, ...]
    prediction: tuple[Packed, ...]  # all but the last layer
    output: Affine  # float32: policy, reward and value logits, the latter two as `_order` has them, and perhaps turn
    bins: Tensor  # [2, sides, 1] of reward and value, padded with 0


@torch.inference_mode()
def lacking(dtype: torch.dtype, conv: bool) -> str | None:
    """Returns why the operators cannot be used here, found by running each of them once; None where they can.

    Args:
        dtype: float32 or bfloat16.
        conv: those of boards too.
    """
    bias = torch.zeros(16, dtype=dtype)
    try:
        ops = torch.ops.mkldnn
        if conv:
            board = torch.zeros(2, 16, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
            kernel = torch.zeros(16, 16, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
            packed = ops._reorder_convolution_weight(kernel, ONES, ONES, ONES, 1, board.shape)
            inner = ops._convolution_pointwise(board, packed, bias, ONES, ONES, ONES, 1, "relu", [], None)
            ops._convolution_pointwise_.binary(
                board, inner, packed, bias, ONES, ONES, ONES, 1, "add", 1.0, "relu", [], None
            )
        if dtype == torch.bfloat16:
            packed = ops._reorder_linear_weight(torch.zeros(16, 16, dtype=dtype), 2)
            ops._linear_pointwise(torch.zeros(2, 16, dtype=dtype), packed, bias, "relu", [], "")
    except (AttributeError, NotImplementedError) as error:
        return f"this PyTorch lacks the operators ({str(error).splitlines()[0]})"
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rpartition(": ")[2]
        if dtype == torch.bfloat16:
            return f"oneDNN has no bf16 for this processor ({reason}): take auto or fused-fp32 as inference.backend"
        return f"this PyTorch does not run the operators on this processor ({reason}): take auto as inference.backend"
    return None


class FusedBackend:
    """Evaluates the described network with fused operators.

    Args:
        model: the first snapshot.
        dtype: float32 or bfloat16.
        batch_size: rows of a usual call, which the layout of the packed weights is chosen for.

    Raises:
        BackendError: this PyTorch has no such operators, or does not run them on this processor.
    """

    def __init__(self, model: WorldModel, *, dtype: torch.dtype = torch.float32, batch_size: int = 128) -> None:
        """Packs the first snapshot; see the class for the arguments."""
        net = describe(model)
        if reason := lacking(dtype, net.convolutional):
            raise BackendError(f"fused: {reason}")
        self.latent_dtype = dtype
        self.shape, self.num_actions = net.latent_shape, net.num_actions
        self.board = len(net.observation_shape) == 3  # observations are seen as one
        self.rows_at_once = rows_at_once(net.observation_shape[1:])
        self.learns_turns = "edge_sign" in net.readouts
        self.supports: tuple[Support, Support] = (net.support("reward"), net.support("value"))
        self.orders = [_order(support) for support in self.supports]
        self.sizes = [max(map(len, part)) for part in zip(*self.orders, strict=True)]
        self.num_bins = sum(self.sizes)
        self.latent_norm = model.config.latent_norm
        self._packer = Packer(dtype, batch_size, self.shape)
        self._take(net)

    def refresh(self, model: WorldModel) -> None:
        """Replaces the weights by a snapshot of `model`."""
        self._take(describe(model))

    def worker(self) -> FusedWorker:
        """Returns a worker with buffers of its own."""
        return FusedWorker(self)

    def _take(self, net: Description) -> None:
        self.limits = net.limits
        *representation, _ = net.representation  # what comes last is the scaling of the latent
        dynamics = net.dynamics[:-1]
        *prediction, output = net.prediction
        assert isinstance(output, Affine)
        self.weights = _Weights(
            representation=self._packer.pack(representation, net.observation_shape[1:]),
            dynamics=self._packer.pack(dynamics, self.shape[1:]),
            prediction=self._packer.pack(prediction, self.shape[1:]),
            output=self._output(net, output),
            bins=torch.stack(
                [F.pad(s.bins[s.plus], (0, self.sizes[0] - len(s.plus))) for s in self.supports]
            ).unsqueeze(-1),
        )

    def _output(self, net: Description, output: Affine) -> Affine:
        """Returns the output layer with equally many logits for reward and value: a missing one is always -inf."""
        first, starts = 0, {}
        for name, readout in net.readouts.items():
            starts[name] = first
            first += readout.size
        parts = [(torch.arange(self.num_actions), 0)]
        for name, order in zip(("reward", "value"), self.orders, strict=True):
            parts += [(starts[name] + rows, size - len(rows)) for rows, size in zip(order, self.sizes, strict=True)]
        if self.learns_turns:
            parts.append((torch.tensor([starts["edge_sign"]]), 0))
        weight = torch.cat([F.pad(output.weight[rows], (0, 0, 0, missing)) for rows, missing in parts])
        bias = torch.cat([F.pad(output.bias[rows], (0, missing), value=-math.inf) for rows, missing in parts])
        return Affine(weight.t().contiguous(), bias)


def _order(support: Support) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the bins whose shares count, those that are subtracted from them, and the rest, which is 0."""
    rest = torch.ones(support.num_bins, dtype=torch.bool)
    rest[support.plus] = rest[support.minus] = False
    return support.plus, support.minus, rest.nonzero().flatten()


class _Buffers:
    """What a worker needs for one number of rows."""

    def __init__(self, backend: FusedBackend, rows: int) -> None:
        size, dtype = math.prod(backend.shape), backend.latent_dtype
        self.rolled, self.added = (torch.empty(rows, size, dtype=dtype) for _ in range(2))
        self.bins = slice(backend.num_actions, backend.num_actions + 2 * backend.num_bins)
        self.logits = torch.empty(rows, self.bins.stop + backend.learns_turns)
        self.prior_logits = torch.empty(rows, backend.num_actions)
        self.probs = torch.empty(rows, 2, backend.num_bins)
        self.scalars = torch.empty(2, rows, 1)
        reward, value = self.scalars.view(2, rows).numpy()
        self.edge_sign = torch.empty(rows) if backend.learns_turns else None
        sign = None if self.edge_sign is None else self.edge_sign.numpy()
        self.arrays = (reward, self.prior_logits.numpy(), value, sign)


class FusedWorker:
    """Evaluates in buffers of its own, with the weights of its backend."""

    def __init__(self, backend: FusedBackend) -> None:
        """Starts without buffers: they are made for every number of rows that comes."""
        self._backend = backend
        self._buffers: dict[int, _Buffers] = {}

    @torch.inference_mode()
    def initial(self, observation: NDArray) -> Inference:
        """Evaluates observations [B, *observation_shape]."""
        net = self._backend
        parts = torch.from_numpy(np.ascontiguousarray(clipped(observation, net.limits))).split(net.rows_at_once)
        seen = [self._represented(part.to(net.latent_dtype)) for part in parts]
        x = seen[0] if len(seen) == 1 else torch.cat(seen)
        latent = torch.empty_like(x)
        self._normalize(x, latent)
        return self._heads(latent, self._get(len(x))).copied(latent)

    @torch.inference_mode()
    def recurrent(self, latent: Tensor, action: NDArray[np.int32], out: Tensor) -> Inference:
        """Evaluates one imagined step; see `Worker`."""
        buffers = self._get(len(latent))
        x = self._through(latent, self._backend.weights.dynamics, buffers, torch.from_numpy(action))
        self._normalize(x, out)
        return self._heads(out, buffers)

    def _represented(self, observation: Tensor) -> Tensor:
        net = self._backend
        x = observation.permute(0, 2, 3, 1) if net.board else observation
        return self._through(x.flatten(1), net.weights.representation, self._get(len(x)), keep=True)

    def _get(self, rows: int) -> _Buffers:
        return remember(self._buffers, rows, lambda: _Buffers(self._backend, rows))

    def _through(
        self,
        x: Tensor,
        layers: tuple[Packed, ...],
        buffers: _Buffers,
        action: Tensor | None = None,
        keep: bool = False,
    ) -> Tensor:
        """Computes layers over flat x [B, D], boards by cells.

        Args:
            x: input; overwritten unless `keep`.
            layers: packed.
            buffers: for as many rows.
            action: [B], of what depends on it.
            keep: leave x as it is.

        Returns:
            Flat [B, D'].
        """
        for layer in layers:
            match layer:
                case BoardBlock():
                    x = self._conv_block(x, layer, self._added(layer.table, action, buffers), keep)
                case DenseBlock():
                    x = self._linear_block(x, layer, self._added(layer.table, action, buffers))
                case Dense():
                    x = self._affine(x, layer, layer.relu)
                case Summary():
                    x = self._summary(x, layer)
                case BoardLayer():
                    x = self._convolution(x, layer)
                case Shift(amount):
                    x = x + amount if keep else x.add_(amount)
                case Relu():
                    x = torch.relu(x) if keep else x.relu_()
                case Exchange(by):
                    x = self._rolled(x, by, buffers.rolled)
            keep = False
        return x

    def _board(self, flat: Tensor, cells: tuple[int, ...]) -> Tensor:
        return flat.view(len(flat), *cells, -1).permute(0, 3, 1, 2)

    def _flat(self, board: Tensor) -> Tensor:
        return board.permute(0, 2, 3, 1).reshape(board.shape[0], -1)

    def _rolled(self, latent: Tensor, by: int, out: Tensor) -> Tensor:
        """Rotates the channels: two strided copies are cheaper than `torch.roll` for few rows."""
        channels = self._backend.shape[0]
        source, target = latent.view(-1, channels), out.view(-1, channels)
        target[:, :by].copy_(source[:, channels - by :])
        target[:, by:].copy_(source[:, : channels - by])
        return out

    @staticmethod
    def _added(table: Tensor | None, action: Tensor | None, buffers: _Buffers) -> Tensor | None:
        """Returns what the actions add before the first ReLU of a block, bias included; it may be overwritten."""
        if table is None or action is None:
            return None
        return torch.index_select(table, 0, action, out=buffers.added)

    def _convolution(self, x: Tensor, board: BoardLayer) -> Tensor:
        layer, planes = board.layer, self._board(x, board.cells)
        if board.relu:
            y = torch.ops.mkldnn._convolution_pointwise(
                planes, layer.weight, layer.bias, board.padding, layer.stride, ONES, 1, "relu", [], None
            )
        else:
            y = F.conv2d(planes, layer.weight, layer.bias, layer.stride, board.padding)
        return self._flat(y.contiguous(memory_format=torch.channels_last))

    def _conv_block(self, x: Tensor, block: BoardBlock, added: Tensor | None, keep: bool) -> Tensor:
        ops = torch.ops.mkldnn
        weight, bias, _ = block.first
        board = self._board(x, block.cells)
        if added is None:
            inner = ops._convolution_pointwise(board, weight, bias, ONES, ONES, ONES, 1, "relu", [], None)
        else:
            inner = self._board(added, block.cells)
            ops._convolution_pointwise_.binary(
                inner, board, weight, None, ONES, ONES, ONES, 1, "add", 1.0, "relu", [], None
            )
        weight, bias, _ = block.second
        if keep:
            return self._flat(
                ops._convolution_pointwise.binary(
                    inner, board, weight, bias, ONES, ONES, ONES, 1, "add", 1.0, "relu", [], None
                )
            )
        ops._convolution_pointwise_.binary(
            board, inner, weight, bias, ONES, ONES, ONES, 1, "add", 1.0, "relu", [], None
        )
        return x

    def _linear_block(self, x: Tensor, block: DenseBlock, added: Tensor | None) -> Tensor:
        if self._backend.latent_dtype == torch.bfloat16:
            if added is None:
                inner = self._affine(x, block.first)
            else:
                inner = torch.ops.mkldnn._linear_pointwise(x, block.first.weight, None, "none", [], "")
                inner.add_(added).relu_()
            return self._affine(inner, block.second, relu=False).add_(x).relu_()
        start = block.first.bias if added is None else added
        inner = torch.addmm(start, x, block.first.weight).relu_()
        return torch.addmm(block.second.bias, inner, block.second.weight).add_(x).relu_()

    def _affine(self, x: Tensor, layer: Dense, relu: bool = True) -> Tensor:
        if self._backend.latent_dtype == torch.bfloat16:
            kind = "relu" if relu else "none"
            return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, kind, [], "")
        y = torch.addmm(layer.bias, x, layer.weight)
        return y.relu_() if relu else y

    def _summary(self, x: Tensor, layer: Summary) -> Tensor:
        """Returns the squeezed cells and the peaks of boards."""
        rows = len(x)
        board = x.view(rows, layer.cells, -1)
        # the maximum in float32: thirty times faster than in bf16, and exact either way
        peak = board.float().amax(1).to(x.dtype)
        return torch.cat([self._affine(board.flatten(0, 1), layer.squeeze).view(rows, -1), peak], 1)

    def _normalize(self, x: Tensor, out: Tensor) -> None:
        """Scales each latent of x [B, D] into out."""
        if self._backend.latent_norm != "rms":
            out.copy_(normalize_latent(x, self._backend.latent_norm))
            return
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32)
        scale = norm.square_().div_(x.shape[1]).add_(_RMS_EPSILON).rsqrt_()
        torch.mul(x, scale, out=out)

    def _heads(self, latent: Tensor, buffers: _Buffers) -> Inference:
        """Fills reward, prior_logits, value and perhaps edge_sign of a batch of latents and returns them."""
        net, weights = self._backend, self._backend.weights
        hidden = self._through(latent, weights.prediction, buffers, keep=True).float()
        logits = torch.addmm(weights.output.bias, hidden, weights.output.weight, out=buffers.logits)
        buffers.prior_logits.copy_(logits[:, : net.num_actions])
        split = logits[:, buffers.bins].view(-1, 2, net.num_bins)
        torch.softmax(split, -1, out=buffers.probs)
        plus, minus, _ = buffers.probs.split(net.sizes, -1)
        plus[..., : net.sizes[1]] -= minus
        torch.bmm(plus.transpose(0, 1), weights.bins, out=buffers.scalars)
        if buffers.edge_sign is not None:
            buffers.edge_sign.copy_(edge_sign(logits[:, -1]))
        return Inference(latent, *buffers.arrays)
