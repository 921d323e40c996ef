"""Plain layers: what a stage of a network computes, as arrays, for whoever evaluates it without the module.

Where the modules of a torso can say their `layers`, every backend can read them; batch norm is merged here and nowhere
else.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias, overload

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights


class Affine(NamedTuple):
    """W x + b of all numbers of x, channel by channel."""

    weight: Tensor  # [out, in]
    bias: Tensor  # [out]


class Convolution(NamedTuple):
    """A convolution of a board, padded with 0: it keeps a side, or divides it by the stride, rounding up."""

    weight: Tensor  # [out, in, k, k], k odd
    bias: Tensor  # [out]
    stride: tuple[int, int] = (1, 1)  # of height and width


class Shift(NamedTuple):
    """x + amount."""

    amount: Tensor  # [C, H, W]


class Relu(NamedTuple):
    """max(x, 0)."""


class Exchange(NamedTuple):
    """Rotates the channels: channel c becomes channel c + by."""

    by: int


class Block(NamedTuple):
    """relu(x + second(relu(first(x) + what the action adds)))."""

    first: Affine | Convolution
    second: Affine | Convolution
    by_action: Tensor | None = None  # [A, *latent_shape]


class CellsAndPeaks(NamedTuple):
    """relu(squeeze(x)) of every cell, channel by channel, and behind it the maximum of each channel of x."""

    squeeze: Convolution  # 1x1


class Normalize(NamedTuple):
    """Scales a latent: "rms" or "minmax", see `networks.normalize_latent`."""

    kind: str


Layer: TypeAlias = Affine | Convolution | Shift | Relu | Exchange | Block | CellsAndPeaks | Normalize


@overload
def plain(layer: nn.Linear, norm: nn.Module | None = None) -> Affine: ...
@overload
def plain(layer: nn.Conv2d, norm: nn.Module | None = None) -> Convolution: ...
def plain(layer: nn.Linear | nn.Conv2d, norm: nn.Module | None = None) -> Affine | Convolution:
    """Returns a layer, and the batch norm behind it if there is one, as one layer.

    Args:
        layer: with a bias; a convolution of odd size, padded by half of it.
        norm: a batch norm, which enters with its running statistics; anything else counts as none.

    Returns:
        Copies in float32 on the CPU.
    """
    weight, bias = merged(layer, norm)
    weight, bias = copied(weight).contiguous(), copied(bias)
    if isinstance(layer, nn.Linear):
        return Affine(weight, bias)
    height, width = layer.stride
    return Convolution(weight, bias, (height, width))


def merged(layer: nn.Linear | nn.Conv2d, norm: nn.Module | None) -> tuple[Tensor, Tensor]:
    """Returns weight and bias of a layer with the batch norm behind it, where they are; see `plain`."""
    assert layer.bias is not None
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
        return layer.weight, layer.bias
    assert norm.running_mean is not None and norm.running_var is not None
    fuse = fuse_conv_bn_weights if isinstance(layer, nn.Conv2d) else fuse_linear_bn_weights
    return fuse(layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)


def copied(tensor: Tensor) -> Tensor:
    """Returns a copy in float32 on the CPU."""
    return tensor.detach().to("cpu", torch.float32, copy=True)
