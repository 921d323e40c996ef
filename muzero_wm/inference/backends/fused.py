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
from muzero_wm.inference.folded import Block, Folded, Layer, fold, on_cpu
from muzero_wm.model.networks import normalize_latent
from muzero_wm.model.observation import clipped
from muzero_wm.model.support import Support
from muzero_wm.model.world_model import WorldModel, edge_sign

_ONES = (1, 1)
_RMS_EPSILON = 1e-6


@dataclass(frozen=True)
class _Weights:
    """One snapshot, packed: convolutions as oneDNN wants them, linear layers transposed (or packed, in bf16)."""

    stem: Layer
    position: Tensor | None
    representation: tuple[Block, ...]
    table: Tensor  # [A, D] what an action adds before the first ReLU, the bias of that layer included
    dynamics: tuple[Block, ...]
    prediction: tuple[Block, ...]
    squeeze: Layer | None
    hidden: Layer
    output: Layer  # float32: policy, reward and value logits, the latter two as `_order` has them, and perhaps turn
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
            packed = ops._reorder_convolution_weight(kernel, _ONES, _ONES, _ONES, 1, board.shape)
            inner = ops._convolution_pointwise(board, packed, bias, _ONES, _ONES, _ONES, 1, "relu", [], None)
            ops._convolution_pointwise_.binary(
                board, inner, packed, bias, _ONES, _ONES, _ONES, 1, "add", 1.0, "relu", [], None
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
    """Evaluates the folded network with fused operators.

    Args:
        model: the first snapshot.
        dtype: float32 or bfloat16.
        batch_size: rows of a usual call, which the layout of the packed weights is chosen for.

    Raises:
        BackendError: this PyTorch has no such operators, or does not run them on this processor.
    """

    def __init__(self, model: WorldModel, *, dtype: torch.dtype = torch.float32, batch_size: int = 128) -> None:
        """Packs the first snapshot; see the class for the arguments."""
        self.latent_dtype, self._batch_size = dtype, batch_size
        self.shape, self.num_actions, self.conv = model.latent_shape, model.num_actions, model.torso.spatial
        self.learns_turns = model.learns_turns
        here = on_cpu(model)
        self.supports: tuple[Support, Support] = (here.reward_support, here.value_support)
        self.orders = [_order(support) for support in self.supports]
        self.sizes = [max(map(len, part)) for part in zip(*self.orders, strict=True)]
        self.num_bins = sum(self.sizes)
        self.latent_norm = model.config.latent_norm
        if reason := lacking(dtype, model.torso.spatial):
            raise BackendError(f"fused: {reason}")
        self.refresh(model)

    def refresh(self, model: WorldModel) -> None:
        """Replaces the weights by a snapshot of `model`."""
        folded = fold(model)
        self.roll, self.limits = folded.roll, folded.limits
        self.weights = self._pack(folded)

    def worker(self) -> FusedWorker:
        """Returns a worker with buffers of its own."""
        return FusedWorker(self)

    def _pack(self, net: Folded) -> _Weights:
        dtype, cells = self.latent_dtype, math.prod(self.shape[1:])
        embedding = net.embedding + net.dynamics[0].first.bias.view(-1, *(1 for _ in self.shape[1:]))
        hidden = net.hidden.weight
        if self.conv:
            embedding = embedding.permute(0, 2, 3, 1)
            assert net.squeeze is not None
            squeezed = net.squeeze.weight.shape[0]
            by_cell = hidden[:, : squeezed * cells].view(-1, squeezed, cells).transpose(1, 2).flatten(1)
            hidden = torch.cat([by_cell, hidden[:, squeezed * cells :]], 1)
        return _Weights(
            stem=Layer(*(tensor.to(dtype) for tensor in net.stem)),
            position=None if net.position is None else net.position.to(dtype),
            representation=self._blocks(net.representation),
            table=embedding.flatten(1).to(dtype).contiguous(),
            dynamics=self._blocks(net.dynamics),
            prediction=self._blocks(net.prediction),
            squeeze=None
            if net.squeeze is None
            else self._linear(Layer(net.squeeze.weight.flatten(1), net.squeeze.bias)),
            hidden=self._linear(Layer(hidden, net.hidden.bias)),
            output=self._output(net),
            bins=torch.stack(
                [F.pad(s.bins[s.plus], (0, self.sizes[0] - len(s.plus))) for s in self.supports]
            ).unsqueeze(-1),
        )

    def _blocks(self, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        pack = self._convolution if self.conv else self._linear
        return tuple(Block(pack(block.first), pack(block.second)) for block in blocks)

    def _convolution(self, layer: Layer) -> Layer:
        weight = layer.weight.to(self.latent_dtype).contiguous(memory_format=torch.channels_last)
        shape = (self._batch_size, *self.shape)
        packed = torch.ops.mkldnn._reorder_convolution_weight(weight, _ONES, _ONES, _ONES, 1, shape)
        return Layer(packed, layer.bias.to(self.latent_dtype))

    def _linear(self, layer: Layer) -> Layer:
        weight = layer.weight.to(self.latent_dtype)
        if self.latent_dtype == torch.bfloat16:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), self._batch_size)
            return Layer(packed, layer.bias.bfloat16())
        return Layer(weight.t().contiguous(), layer.bias)

    def _output(self, net: Folded) -> Layer:
        """Returns the output layer with equally many logits for reward and value: a missing one is always -inf."""
        actions, value_bins = self.num_actions, self.supports[1].num_bins
        parts = [(torch.arange(actions), 0)]
        for start, order in zip((actions + value_bins, actions), self.orders, strict=True):
            parts += [(start + rows, size - len(rows)) for rows, size in zip(order, self.sizes, strict=True)]
        if self.learns_turns:
            parts.append((torch.tensor([len(net.output.bias) - 1]), 0))
        weight = torch.cat([F.pad(net.output.weight[rows], (0, 0, 0, missing)) for rows, missing in parts])
        bias = torch.cat([F.pad(net.output.bias[rows], (0, missing), value=-math.inf) for rows, missing in parts])
        return Layer(weight.t().contiguous(), bias)


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
        net, weights = self._backend, self._backend.weights
        x = torch.from_numpy(np.ascontiguousarray(clipped(observation, net.limits))).to(net.latent_dtype)
        if net.conv:
            x = x.contiguous(memory_format=torch.channels_last)
            assert weights.position is not None
            x = F.conv2d(x, *weights.stem, padding=1).add_(weights.position).relu_()
            x = self._flat(x.contiguous(memory_format=torch.channels_last))
        else:
            x = F.linear(x.flatten(1), *weights.stem).relu_()
        for block in weights.representation:
            x = self._block(x, block)
        latent = torch.empty_like(x)
        self._normalize(x, latent)
        return self._heads(latent, self._get(len(x))).copied(latent)

    @torch.inference_mode()
    def recurrent(self, latent: Tensor, action: NDArray[np.int32], out: Tensor) -> Inference:
        """Evaluates one imagined step; see `Worker`."""
        weights = self._backend.weights
        buffers = self._get(len(latent))
        x = self._rolled(latent, buffers.rolled) if self._backend.roll else latent
        torch.index_select(weights.table, 0, torch.from_numpy(action), out=buffers.added)
        x = self._block(x, weights.dynamics[0], buffers.added)
        for block in weights.dynamics[1:]:
            x = self._block(x, block)
        self._normalize(x, out)
        return self._heads(out, buffers)

    def _get(self, rows: int) -> _Buffers:
        return remember(self._buffers, rows, lambda: _Buffers(self._backend, rows))

    def _board(self, flat: Tensor) -> Tensor:
        channels, height, width = self._backend.shape
        return flat.view(-1, height, width, channels).permute(0, 3, 1, 2)

    def _flat(self, board: Tensor) -> Tensor:
        return board.permute(0, 2, 3, 1).reshape(board.shape[0], -1)

    def _rolled(self, latent: Tensor, out: Tensor) -> Tensor:
        """Rotates the channels by half: two strided copies are cheaper than `torch.roll` for few rows."""
        channels, roll = self._backend.shape[0], self._backend.roll
        source, target = latent.view(-1, channels), out.view(-1, channels)
        target[:, :roll].copy_(source[:, channels - roll :])
        target[:, roll:].copy_(source[:, : channels - roll])
        return out

    def _block(self, x: Tensor, block: Block, added: Tensor | None = None, keep: bool = False) -> Tensor:
        """Computes a residual block over flat x [B, D].

        Args:
            x: input; overwritten unless `keep`.
            block: packed weights.
            added: [B, D] enters before the first ReLU instead of the first bias; overwritten.
            keep: leave x as it is.

        Returns:
            [B, D].
        """
        return (self._conv_block if self._backend.conv else self._linear_block)(x, block, added, keep)

    def _conv_block(self, x: Tensor, block: Block, added: Tensor | None, keep: bool) -> Tensor:
        ops = torch.ops.mkldnn
        board = self._board(x)
        weight, bias = block.first
        if added is None:
            inner = ops._convolution_pointwise(board, weight, bias, _ONES, _ONES, _ONES, 1, "relu", [], None)
        else:
            inner = self._board(added)
            ops._convolution_pointwise_.binary(
                inner, board, weight, None, _ONES, _ONES, _ONES, 1, "add", 1.0, "relu", [], None
            )
        weight, bias = block.second
        if keep:
            return self._flat(
                ops._convolution_pointwise.binary(
                    inner, board, weight, bias, _ONES, _ONES, _ONES, 1, "add", 1.0, "relu", [], None
                )
            )
        ops._convolution_pointwise_.binary(
            board, inner, weight, bias, _ONES, _ONES, _ONES, 1, "add", 1.0, "relu", [], None
        )
        return x

    def _linear_block(self, x: Tensor, block: Block, added: Tensor | None, keep: bool) -> Tensor:
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

    def _affine(self, x: Tensor, layer: Layer, relu: bool = True) -> Tensor:
        if self._backend.latent_dtype == torch.bfloat16:
            kind = "relu" if relu else "none"
            return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, kind, [], "")
        y = torch.addmm(layer.bias, x, layer.weight)
        return y.relu_() if relu else y

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
        x = latent
        for block in weights.prediction:
            x = self._block(x, block, keep=x is latent)
        if weights.squeeze is not None:
            rows, channels = len(x), net.shape[0]
            # the maximum in float32: thirty times faster than in bf16, and exact either way
            peak = x.view(rows, -1, channels).float().amax(1).to(x.dtype)
            cells = self._affine(x.view(-1, channels), weights.squeeze).view(rows, -1)
            x = torch.cat([cells, peak], 1)
        hidden = self._affine(x, weights.hidden).float()
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
