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
    cells: tuple[int, ...]  # [H, W]


class BoardLayer(NamedTuple):
    """A convolution by itself: as oneDNN wants it with the ReLU behind it, or as it is without one."""

    layer: Convolution
    cells: tuple[int, ...]  # [H, W] of its input
    padding: tuple[int, int]  # zeros beside each side
    relu: bool


class Summary(NamedTuple):
    """Squeezed cells and peaks."""

    squeeze: Dense
    cells: int


Packed: TypeAlias = DenseBlock | BoardBlock | BoardLayer | Dense | Summary | Shift | Relu | Exchange


class Packer:
    """Packs the layers of one network.

    Args:
        dtype: float32 or bfloat16.
        batch_size: rows of a usual call.
        shape: of a latent.
    """

    def __init__(self, dtype: torch.dtype, batch_size: int, shape: tuple[int, ...]) -> None:
        """Keeps the arguments; see the class."""
        self._dtype, self._batch_size, self._shape = dtype, batch_size, shape

    def pack(self, layers: Sequence[Layer], cells: tuple[int, ...]) -> tuple[Packed, ...]:
        """Returns layers as they are computed.

        Args:
            layers: of one stage, without the scaling at its end.
            cells: [H, W] of its input where that is a board, in memory in the order of cells; () of a vector.

        Raises:
            BackendError: there is no way to compute one of them.
        """
        packed: list[Packed] = []
        squeezed = 0
        board = bool(cells)
        for index, layer in enumerate(layers):
            relu = isinstance(layers[index + 1], Relu) if index + 1 < len(layers) else False
            match layer:
                case Block(first, second, by_action):
                    table = None if by_action is None else self._table(by_action, first.bias)
                    if isinstance(first, Affine) and isinstance(second, Affine):
                        packed.append(DenseBlock(self._dense(first), self._dense(second), table))
                    elif isinstance(first, Convolution) and isinstance(second, Convolution):
                        first, second = self._convolution(first, cells), self._convolution(second, cells)
                        packed.append(BoardBlock(first, second, table, cells))
                    else:
                        raise BackendError("fused: a block of a linear layer and a convolution is beyond it")
                case Affine(weight, bias):
                    if board:
                        weight, board = _by_cell(weight, math.prod(cells), squeezed), False
                    packed.append(self._dense(Affine(weight, bias)))
                case Convolution():
                    made = self._convolution(layer, cells) if relu else self._cast(layer)
                    packed.append(BoardLayer(made, cells, _padding(layer), relu))
                    cells = tuple(-(-side // step) for side, step in zip(cells, layer.stride, strict=True))
                case CellsAndPeaks(squeeze):
                    squeezed = squeeze.weight.shape[0]
                    dense = self._dense(Affine(squeeze.weight.flatten(1), squeeze.bias), relu=True)
                    packed.append(Summary(dense, math.prod(cells)))
                case Shift(amount):
                    packed.append(Shift(amount.permute(1, 2, 0).flatten().to(self._dtype)))
                case Relu() if packed and isinstance(packed[-1], Dense):
                    packed[-1] = packed[-1]._replace(relu=True)
                case Relu() if packed and isinstance(packed[-1], BoardLayer):
                    pass  # it has it
                case Relu() | Exchange():
                    packed.append(layer)
                case _:  # only latents as a whole are scaled
                    raise BackendError(f"fused: {type(layer).__name__} in the middle of a stage is beyond it")
        return tuple(packed)

    def _table(self, by_action: Tensor, bias: Tensor) -> Tensor:
        """Returns [A, D], what an action adds before the first ReLU, the bias of that layer included."""
        table = by_action + bias.view(-1, *(1 for _ in self._shape[1:]))
        if len(self._shape) == 3:
            table = table.permute(0, 2, 3, 1)
        return table.flatten(1).to(self._dtype).contiguous()

    def _convolution(self, layer: Convolution, cells: tuple[int, ...]) -> Convolution:
        layer = self._cast(layer)
        weight = layer.weight.contiguous(memory_format=torch.channels_last)
        shape = (self._batch_size, weight.shape[1], *cells)
        packed = torch.ops.mkldnn._reorder_convolution_weight(weight, _padding(layer), layer.stride, ONES, 1, shape)
        return layer._replace(weight=packed)

    def _cast(self, layer: Convolution) -> Convolution:
        return layer._replace(weight=layer.weight.to(self._dtype), bias=layer.bias.to(self._dtype))

    def _dense(self, layer: Affine, relu: bool = False) -> Dense:
        weight = layer.weight.to(self._dtype)
        if self._dtype == torch.bfloat16:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), self._batch_size)
            return Dense(packed, layer.bias.bfloat16(), relu)
        return Dense(weight.t().contiguous(), layer.bias, relu)


def _padding(layer: Convolution) -> tuple[int, int]:
    """Returns how many zeros are put beside each side, by which a stride of 1 keeps it."""
    height, width = layer.weight.shape[2:]
    return height // 2, width // 2


def _by_cell(weight: Tensor, cells: int, squeezed: int) -> Tensor:
    """Returns the weight of a layer over a board, or over its squeezed cells and peaks, for memory by cells."""
    channels = squeezed or weight.shape[1] // cells
    by_cell = weight[:, : channels * cells].view(-1, channels, cells).transpose(1, 2).flatten(1)
    return torch.cat([by_cell, weight[:, channels * cells :]], 1)
