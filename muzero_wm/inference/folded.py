"""A world model as the plain arrays that inference needs: batch norm merged, float32, one name for each layer."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from muzero_wm.model.networks import Residual
from muzero_wm.model.observation import Limits
from muzero_wm.model.support import Support
from muzero_wm.model.world_model import WorldModel


class Layer(NamedTuple):
    """One affine layer, linear [out, in] or convolutional [out, in, 3, 3], with its bias [out]."""

    weight: Tensor
    bias: Tensor


class Block(NamedTuple):
    """One residual block: relu(x + second(relu(first(x))))."""

    first: Layer
    second: Layer


@dataclass(frozen=True)
class Folded:
    """What representation, dynamics and heads compute, as arrays that share no memory with the model.

    Attributes:
        conv: boards, else vectors.
        latent_shape: [width] or [C, H, W].
        num_actions: A.
        learns_turns: the last logit is that the player who acted moves again.
        roll: by how much a move rotates the channels, 0 where it does not change sides.
        latent_norm: "rms" or "minmax".
        value_support: how value logits are read.
        reward_support: how reward logits are read.
        limits: of observations, which are clipped to them first; None where they are not.
        stem: observation to width; what else is done to observations before it is part of it.
        position: [C, H, W] added after a convolutional stem; None for vectors.
        representation: blocks after the stem.
        embedding: [A, *latent_shape], enters the first block of the dynamics before its ReLU.
        dynamics: blocks from latent and action to the next latent.
        prediction: blocks before the heads.
        squeeze: 1x1 convolution before the heads; None for vectors.
        hidden: hidden layer of the heads; its inputs are the squeezed cells, channel by channel, then the peaks.
        output: logits of policy, value, reward and perhaps turn side by side.
    """

    conv: bool
    latent_shape: tuple[int, ...]
    num_actions: int
    learns_turns: bool
    roll: int
    latent_norm: str
    value_support: Support
    reward_support: Support
    limits: Limits | None
    stem: Layer
    position: Tensor | None
    representation: tuple[Block, ...]
    embedding: Tensor
    dynamics: tuple[Block, ...]
    prediction: tuple[Block, ...]
    squeeze: Layer | None
    hidden: Layer
    output: Layer


@torch.no_grad()
def fold(model: WorldModel) -> Folded:
    """Returns the arrays of a model as it is now.

    Args:
        model: may go on training; batch norm enters with its running statistics.

    Returns:
        Copies in float32 on the CPU.
    """
    model = on_cpu(model)
    dynamics, heads, shape = model.dynamics, model.heads, model.latent_shape
    embedding = _copy(dynamics.embedding.weight)
    if model.torso.spatial:  # the table is stored channels last
        channels, height, width = shape
        embedding = embedding.view(-1, height, width, channels).permute(0, 3, 1, 2).contiguous()
    position = model.representation.position
    return Folded(
        conv=model.torso.spatial,
        latent_shape=shape,
        num_actions=model.num_actions,
        learns_turns=model.learns_turns,
        roll=shape[0] // 2 if dynamics.change_sides else 0,
        latent_norm=model.config.latent_norm,
        value_support=model.value_support,
        reward_support=model.reward_support,
        limits=model.observation.limits(),
        stem=Layer(*model.observation.fold(*_layer(model.representation.stem))),
        position=None if position is None else _copy(position[0]),
        representation=_blocks(model.representation.blocks),
        embedding=embedding,
        dynamics=_blocks(dynamics.blocks),
        prediction=_blocks(heads.blocks),
        squeeze=None if heads.squeeze is None else _layer(heads.squeeze),
        hidden=_layer(heads.hidden),
        output=Layer(*(_copy(part).contiguous() for part in model.searched_output())),
    )


def on_cpu(model: WorldModel) -> WorldModel:
    """Returns a model, or a copy of it on the CPU where it is elsewhere."""
    return model if model.device.type == "cpu" else copy.deepcopy(model).cpu()


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True)


def _layer(layer: nn.Linear | nn.Conv2d) -> Layer:
    assert layer.bias is not None
    return Layer(_copy(layer.weight).contiguous(), _copy(layer.bias))


def _blocks(blocks: nn.ModuleList) -> tuple[Block, ...]:
    folded = []
    for block in blocks:
        assert isinstance(block, Residual)
        folded.append(Block(_merge(block.first, block.norm1), _merge(block.second, block.norm2)))
    return tuple(folded)


def _merge(layer: nn.Linear | nn.Conv2d, norm: nn.Module) -> Layer:
    """Returns a layer followed by batch norm as one layer."""
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
        return _layer(layer)
    assert norm.running_mean is not None and norm.running_var is not None
    fuse = fuse_conv_bn_weights if isinstance(layer, nn.Conv2d) else fuse_linear_bn_weights
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    weight, bias = fuse(layer.weight, layer.bias, *statistics)
    return Layer(_copy(weight).contiguous(), _copy(bias))
