"""Torsos and heads: residual MLPs for vectors, residual convolutions for boards and images.

A torso maps an observation to a latent and a latent with an action to the next latent; heads read a latent. Both kinds
share one block, `Residual`, over linear or convolutional layers. The second layer of a block starts at zero, so a deep
unroll starts as the identity.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from muzero_wm.config import ModelConfig
from muzero_wm.model.device import full_precision
from muzero_wm.model.layers import Block, CellsAndPeaks, Exchange, Layer, Relu, Shift, copied, plain

if platform.machine() == "x86_64" and torch.backends.cpu.get_cpu_capability() == "DEFAULT":
    # without AVX2 it cannot start, and PyTorch says so on standard error at every convolution
    torch.backends.nnpack.set_flags(False)


_PIXELS_AT_ONCE = 2**18
_Weighted = TypeVar("_Weighted", nn.Linear, nn.Conv2d)


def normalize_latent(latent: Tensor, kind: str) -> Tensor:
    """Scales each latent so that deep unrolls neither grow nor fade.

    Source: MuZero (arXiv:1911.08265) appendix G for "minmax"; "rms" divides by the root mean square.

    Args:
        latent: [B, ...] floating point.
        kind: "rms" (root mean square 1) or "minmax" (to [0, 1]).

    Returns:
        Same shape and dtype.
    """
    dims = tuple(range(1, latent.ndim))
    x = latent.float()
    if kind == "rms":
        scaled = x * torch.rsqrt(x.square().mean(dims, keepdim=True) + 1e-6)
    else:
        low, high = x.amin(dims, keepdim=True), x.amax(dims, keepdim=True)
        scaled = (x - low) / (high - low).clamp_min(1e-5)
    return scaled.to(latent.dtype)


def rows_at_once(sides: Sequence[int]) -> int:
    """Returns how many images [H, W] a CPU takes at once without gradients: what lies between layers is cached then."""
    return max(1, _PIXELS_AT_ONCE // math.prod(sides))


class Normed(nn.Module):
    """Has layers with a norm behind them, which is a batch norm or nothing.

    Attributes:
        normed: names of a layer and of its norm, pair by pair: what inference merges.
    """

    normed: ClassVar[tuple[tuple[str, str], ...]]


class Residual(Normed):
    """relu(x + second(relu(first(x) + bias))), both layers linear or 3x3 convolutions."""

    normed = (("first", "norm1"), ("second", "norm2"))

    def __init__(self, width: int, conv: bool, batch_norm: bool) -> None:
        """Builds the two layers.

        Args:
            width: features or channels, in and out.
            conv: 3x3 convolutions instead of linear layers.
            batch_norm: normalise after each layer.
        """
        super().__init__()
        self.first = _layer(width, width, conv)
        self.second = _layer(width, width, conv)
        norm = nn.BatchNorm2d if conv else nn.BatchNorm1d
        self.norm1: nn.Module = norm(width) if batch_norm else nn.Identity()
        self.norm2: nn.Module = norm(width) if batch_norm else nn.Identity()
        if isinstance(self.norm2, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.zeros_(self.norm2.weight)
        else:
            nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Returns the block's output; `bias` (same shape as x) enters before the first ReLU."""
        hidden = self.norm1(self.first(x))
        if bias is not None:
            hidden = hidden + bias
        # in place: nobody needs the sums, and large images are bound by memory
        return torch.relu_(x + self.norm2(self.second(torch.relu_(hidden))))

    def layer(self) -> Block:
        """Returns the block as a plain layer, without a bias for each action."""
        return Block(plain(self.first, self.norm1), plain(self.second, self.norm2))


class Halving(Normed):
    """relu(norm(layer(x))), the layer a 3x3 convolution with a stride."""

    normed = (("layer", "norm"),)

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int], batch_norm: bool) -> None:
        """Builds the layer.

        Args:
            inputs: channels.
            outputs: channels.
            stride: of height and width.
            batch_norm: normalise after the layer.
        """
        super().__init__()
        self.layer = _convolution(inputs, outputs, stride)
        self.norm: nn.Module = nn.BatchNorm2d(outputs) if batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Returns smaller images [B, outputs, H', W']."""
        return torch.relu_(self.norm(self.layer(x)))

    def layers(self) -> tuple[Layer, ...]:
        """Returns the same as plain layers."""
        return plain(self.layer, self.norm), Relu()


def _layer(inputs: int, outputs: int, conv: bool) -> nn.Linear | nn.Conv2d:
    return _convolution(inputs, outputs, (1, 1)) if conv else _begun(nn.Linear(inputs, outputs))


def _convolution(inputs: int, outputs: int, stride: tuple[int, int]) -> nn.Conv2d:
    return _begun(nn.Conv2d(inputs, outputs, 3, stride, 1))


def _begun(layer: _Weighted) -> _Weighted:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class Representation(nn.Module):
    """h: observation to latent."""

    def __init__(self, config: ModelConfig, observation_shape: tuple[int, ...], conv: bool) -> None:
        """Builds the stem and the blocks for one observation shape, [features] or [C, H, W]."""
        super().__init__()
        self.conv = conv
        inputs = observation_shape[0] if conv else math.prod(observation_shape)
        self.stem = _layer(inputs, config.width, conv)
        self.position = nn.Parameter(torch.zeros(1, config.width, *observation_shape[1:])) if conv else None
        self.blocks = nn.ModuleList(
            Residual(config.width, conv, config.batch_norm) for _ in range(config.representation_blocks)
        )

    def forward(self, observation: Tensor) -> Tensor:
        """Returns the unscaled latent [B, width] or [B, width, H, W] of an observation [B, ...]."""
        x = self.stem(observation if self.conv else observation.flatten(1))
        if self.position is not None:
            x = x + self.position.to(x.dtype)
        x = torch.relu(x)
        for block in self.blocks:
            x = block(x)
        return x

    def layers(self) -> tuple[Layer, ...]:
        """Returns the plain layers from an observation to an unscaled latent."""
        position = [] if self.position is None else [Shift(copied(self.position[0]))]
        return (plain(self.stem), *position, Relu(), *_plain_blocks(self.blocks))


class Shrinking(Normed):
    """h of images: convolutions with strides, one behind the other, residual blocks behind each.

    Source: EfficientZero (arXiv:2111.00210) appendix A, with convolutions in the place of its poolings. Where the image
    is large there are half of the channels: most of the work is done there.
    """

    normed = (("stem", "stem_norm"),)

    def __init__(
        self, config: ModelConfig, observation_shape: tuple[int, ...], strides: tuple[tuple[int, int], ...]
    ) -> None:
        """Builds the stages.

        Args:
            config: its width is that of a latent, its `representation_blocks` those of each stage.
            observation_shape: [C, H, W].
            strides: of height and width, stage by stage.
        """
        super().__init__()
        self.batch_norm = config.batch_norm
        width = config.width if len(strides) == 1 else config.width // 2
        self.stem = _convolution(observation_shape[0], width, strides[0])
        # without it what all pictures have in common drowns what tells them apart
        self.stem_norm: nn.Module = nn.BatchNorm2d(width) if config.batch_norm else nn.Identity()
        stages: list[nn.Module] = []
        for stage, stride in enumerate(strides):
            if stage:
                stages.append(Halving(width, config.width, stride, config.batch_norm))
                width = config.width
            stages += [Residual(width, True, config.batch_norm) for _ in range(config.representation_blocks)]
        self.stages = nn.Sequential(*stages)

    def forward(self, observation: Tensor) -> Tensor:
        """Returns the unscaled latents [B, width, h, w] of images [B, C, H, W]."""
        rows = rows_at_once(observation.shape[2:])
        keeps = torch.is_grad_enabled() or (self.training and self.batch_norm)
        if keeps or observation.device.type != "cpu" or len(observation) <= rows:
            return self._shrunk(observation)
        return torch.cat([self._shrunk(some) for some in observation.split(rows)])

    def _shrunk(self, image: Tensor) -> Tensor:
        latent: Tensor = self.stages(torch.relu_(self.stem_norm(self.stem(image))))
        return latent

    def layers(self) -> tuple[Layer, ...]:
        """Returns the plain layers from an image to an unscaled latent."""
        made: list[Layer] = [plain(self.stem, self.stem_norm), Relu()]
        for module in self.stages:
            if isinstance(module, Halving):
                made += module.layers()
            elif isinstance(module, Residual):
                made.append(module.layer())
        return tuple(made)


class Dynamics(nn.Module):
    """g: latent and action to the next latent.

    Between two players a move also changes sides: what was mine is now yours, everywhere. Exchanging the two halves of
    the channels says so from the start, and the blocks, which begin as the identity, are left with the move itself.
    """

    def __init__(
        self, config: ModelConfig, latent_shape: tuple[int, ...], num_actions: int, conv: bool, change_sides: bool
    ) -> None:
        """Builds one learned embedding per action, shaped like the latent, and the blocks."""
        super().__init__()
        self.latent_shape, self.change_sides = latent_shape, change_sides
        self.embedding = nn.Embedding(num_actions, math.prod(latent_shape))
        nn.init.normal_(self.embedding.weight, std=0.5)
        self.blocks = nn.ModuleList(
            Residual(config.width, conv, config.batch_norm) for _ in range(config.dynamics_blocks)
        )

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        """Returns the unscaled next latent for latent [B, ...] and action [B] int64."""
        # stored channels last, as convolutions like it; a bf16 stream must not be promoted by a float32 table
        bias = self.embedding(action).to(latent.dtype)
        if len(self.latent_shape) == 3:
            channels, height, width = self.latent_shape
            bias = bias.view(-1, height, width, channels).permute(0, 3, 1, 2)
        if self.change_sides:
            latent = latent.roll(self.latent_shape[0] // 2, 1)
        x = self.blocks[0](latent, bias)
        for block in self.blocks[1:]:
            x = block(x)
        return x

    def layers(self) -> tuple[Layer, ...]:
        """Returns the plain layers from a latent and an action to the next unscaled latent."""
        table = copied(self.embedding.weight)
        if len(self.latent_shape) == 3:  # stored channels last
            channels, height, width = self.latent_shape
            table = table.view(-1, height, width, channels).permute(0, 3, 1, 2).contiguous()
        first, *blocks = _plain_blocks(self.blocks)
        exchange = [Exchange(self.latent_shape[0] // 2)] if self.change_sides else []
        return (*exchange, first._replace(by_action=table), *blocks)


class Heads(nn.Module):
    """f: one trunk, one hidden layer, and the logits of policy, value, reward and perhaps turn side by side.

    Reward and turn are those of the edge which led to the latent. For boards the hidden layer sees a 1x1 convolution of
    every cell and the maximum of each channel over the board: "is there a line somewhere" is one step away.
    """

    def __init__(self, config: ModelConfig, latent_shape: tuple[int, ...], sizes: tuple[int, ...], conv: bool) -> None:
        """Builds the trunk and one output layer for all heads.

        Args:
            config: widths and number of blocks.
            latent_shape: [width] or [C, H, W].
            sizes: number of logits of each head.
            conv: the latent is a board.
        """
        super().__init__()
        self.sizes = list(sizes)
        self.blocks = nn.ModuleList(
            Residual(config.width, conv, config.batch_norm) for _ in range(config.prediction_blocks)
        )
        self.squeeze = nn.Conv2d(config.width, 16, 1) if conv else None
        inputs = 16 * math.prod(latent_shape[1:]) + config.width if conv else config.width
        self.hidden = _layer(inputs, config.head_width, conv=False)
        self.output = nn.Linear(config.head_width, sum(sizes))
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)

    def forward(self, latent: Tensor) -> tuple[Tensor, ...]:
        """Returns one [B, size] logits tensor per head."""
        x = latent
        for block in self.blocks:
            x = block(x)
        if self.squeeze is not None:
            # the maximum in float32: thirty times faster than in bf16, and exact either way
            peak = x.float().amax((2, 3)).to(x.dtype)
            x = torch.cat([torch.relu(self.squeeze(x)).flatten(1), peak], 1)
        hidden = torch.relu(self.hidden(x))
        # the few logits are worth full precision also where the torso runs in bf16
        with full_precision(hidden.device):
            return self.output(hidden.to(self.output.weight.dtype)).split(self.sizes, 1)

    def layers(self) -> tuple[Layer, ...]:
        """Returns the plain layers from a latent to all logits side by side."""
        summary = [] if self.squeeze is None else [CellsAndPeaks(plain(self.squeeze))]
        return (*_plain_blocks(self.blocks), *summary, plain(self.hidden), Relu(), plain(self.output))


def _plain_blocks(blocks: nn.ModuleList) -> list[Block]:
    return [block.layer() for block in blocks if isinstance(block, Residual)]
