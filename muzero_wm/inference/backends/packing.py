"""Plain layers as the fused backend computes them: weights laid out once, a ReLU behind a product made part of it.

Boards lie in memory in the order of their cells, so a layer that reads all numbers of one has its columns moved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from muzero_wm.inference.backends.base import BackendError
from muzero_wm.model.layers import Affine, Block, CellsAndPeaks, Convolution, Exchange, Layer, Relu, Shift

ONES = (1, 1)
"""Stride, padding and dilation of a 3x3 convolution that keeps height and width."""


class Dense(NamedTuple):
    """A linear layer as it is multiplied: transposed, or packed in bf16; with the ReLU behind it."""

    weight: Tensor
    bias: Tensor
    relu: bool


class DenseBlock(NamedTuple):
    """A residual block of linear layers."""

    first: Dense
    second: Dense
    table: Tensor | None  # [A, D] what an action adds before the first ReLU, the first bias included


class BoardBlock(NamedTuple):
    """The same of convolutions, as oneDNN wants them."""

    first: Convolution
    second: Convolution
    table: Tensor | None


class Summary(NamedTuple):
    """Squeezed cells and peaks."""

    squeeze: Dense


Packed: TypeAlias = DenseBlock | BoardBlock | Dense | Summary | Convolution | Shift | Relu | Exchange


class Packer:
    """Packs the layers of one network.

    Args:
        dtype: float32 or bfloat16.
        batch_size: rows of a usual call.
        shape: of a latent.
        cells: [H, W] of boards, if there are any.
    """

    def __init__(self, dtype: torch.dtype, batch_size: int, shape: tuple[int, ...], cells: tuple[int, ...]) -> None:
        """Keeps the arguments; see the class."""
        self._dtype, self._batch_size, self._shape, self._cells = dtype, batch_size, shape, cells

    def pack(self, layers: Sequence[Layer], board: bool) -> tuple[Packed, ...]:
        """Returns layers as they are computed.

        Args:
            layers: of one stage, without the scaling at its end.
            board: its input is one, in memory in the order of cells.

        Raises:
            BackendError: there is no way to compute one of them.
        """
        packed: list[Packed] = []
        squeezed = 0
        for layer in layers:
            match layer:
                case Block(first, second, by_action):
                    table = None if by_action is None else self._table(by_action, first.bias)
                    if isinstance(first, Affine) and isinstance(second, Affine):
                        packed.append(DenseBlock(self._dense(first), self._dense(second), table))
                    elif isinstance(first, Convolution) and isinstance(second, Convolution):
                        packed.append(BoardBlock(self._convolution(first), self._convolution(second), table))
                    else:
                        raise BackendError("fused: a block of a linear layer and a convolution is beyond it")
                case Affine(weight, bias):
                    if board:
                        weight, board = self._by_cell(weight, squeezed), False
                    packed.append(self._dense(Affine(weight, bias)))
                case Convolution():
                    packed.append(Convolution(*(tensor.to(self._dtype) for tensor in layer)))
                case CellsAndPeaks(squeeze):
                    squeezed = squeeze.weight.shape[0]
                    dense = self._dense(Affine(squeeze.weight.flatten(1), squeeze.bias), relu=True)
                    packed.append(Summary(dense))
                case Shift(amount):
                    packed.append(Shift(amount.permute(1, 2, 0).flatten().to(self._dtype)))
                case Relu() if packed and isinstance(packed[-1], Dense):
                    packed[-1] = packed[-1]._replace(relu=True)
                case Relu() | Exchange():
                    packed.append(layer)
                case _:  # only latents as a whole are scaled
                    raise BackendError(f"fused: {type(layer).__name__} in the middle of a stage is beyond it")
        return tuple(packed)

    def _by_cell(self, weight: Tensor, squeezed: int) -> Tensor:
        """Returns the weight of a layer over a board, or over its squeezed cells and peaks, for memory by cells."""
        cells = math.prod(self._cells)
        channels = squeezed or weight.shape[1] // cells
        by_cell = weight[:, : channels * cells].view(-1, channels, cells).transpose(1, 2).flatten(1)
        return torch.cat([by_cell, weight[:, channels * cells :]], 1)

    def _table(self, by_action: Tensor, bias: Tensor) -> Tensor:
        """Returns [A, D], what an action adds before the first ReLU, the bias of that layer included."""
        table = by_action + bias.view(-1, *(1 for _ in self._shape[1:]))
        if len(self._shape) == 3:
            table = table.permute(0, 2, 3, 1)
        return table.flatten(1).to(self._dtype).contiguous()

    def _convolution(self, layer: Convolution) -> Convolution:
        weight = layer.weight.to(self._dtype).contiguous(memory_format=torch.channels_last)
        shape = (self._batch_size, weight.shape[1], *self._cells)
        packed = torch.ops.mkldnn._reorder_convolution_weight(weight, ONES, ONES, ONES, 1, shape)
        return Convolution(packed, layer.bias.to(self._dtype))

    def _dense(self, layer: Affine, relu: bool = False) -> Dense:
        weight = layer.weight.to(self._dtype)
        if self._dtype == torch.bfloat16:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), self._batch_size)
            return Dense(packed, layer.bias.bfloat16(), relu)
        return Dense(weight.t().contiguous(), layer.bias, relu)
