"""A world model as lists of plain layers, made once for every backend that does not call the module itself.

A backend says what it supports by looking at the lists, never at the kind of torso.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch

from muzero_wm.basis.errors import UserError
from muzero_wm.model.layers import Affine, Block, Convolution, Layer, Normalize
from muzero_wm.model.observation import Limits
from muzero_wm.model.support import Support
from muzero_wm.model.world_model import WorldModel


class UndescribedError(UserError):
    """A network that only its own module can evaluate."""


class Plain(NamedTuple):
    """Logits that are wanted as they are."""

    size: int


class TwoHot(NamedTuple):
    """The expectation over bins."""

    support: Support

    @property
    def size(self) -> int:
        """Number of logits."""
        return self.support.num_bins


class Sign(NamedTuple):
    """tanh(x / 2): the expected sign of the edge into the latent."""

    size: int = 1


Readout: TypeAlias = Plain | TwoHot | Sign


@dataclass(frozen=True)
class Description:
    """What a world model computes, in arrays that share no memory with it.

    Attributes:
        observation_shape: in which the first layer wants an observation: [features], or [C, H, W] of a convolution.
        latent_shape: [width] or [C, H, W].
        num_actions: A.
        limits: of observations, which are clipped to them first; None where they are not.
        representation: from observations to latents; what else is done to observations is part of the first layer.
        dynamics: from latents and actions to the next latents; empty where nothing is imagined.
        prediction: from latents to logits, those of all readouts side by side.
        readouts: what is made of the logits, by name, in their order: prior_logits, value, reward, and edge_sign where
            turns are learnt.
    """

    observation_shape: tuple[int, ...]
    latent_shape: tuple[int, ...]
    num_actions: int
    limits: Limits | None
    representation: tuple[Layer, ...]
    dynamics: tuple[Layer, ...]
    prediction: tuple[Layer, ...]
    readouts: dict[str, Readout]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers."""
        return self.representation + self.dynamics + self.prediction

    @property
    def convolutional(self) -> bool:
        """Whether there is a convolution in it."""
        inner = [layer.first if isinstance(layer, Block) else layer for layer in self.layers]
        return any(isinstance(layer, Convolution) for layer in inner)

    def support(self, name: str) -> Support:
        """Returns the bins of "value" or "reward"."""
        readout = self.readouts[name]
        assert isinstance(readout, TwoHot)
        return readout.support


@torch.no_grad()
def describe(model: WorldModel) -> Description:
    """Returns the layers of a model as it is now.

    Args:
        model: may go on training; batch norm enters with its running statistics.

    Returns:
        Copies in float32 on the CPU.

    Raises:
        UndescribedError: a stage has no method `layers`, they neither begin nor end with weights, or only some slices
            of its latents are normalised.
    """
    check_described(model)
    model = model if model.device.type == "cpu" else copy.deepcopy(model).cpu()
    first, *rest = model.representation.layers()
    if not isinstance(first, Affine | Convolution):
        raise UndescribedError(f"the torso {model.torso.name!r} begins with {type(first).__name__}, no affine layer")
    *heads, output = model.heads.layers()
    if not isinstance(output, Affine):
        raise UndescribedError(f"the heads of the torso {model.torso.name!r} end with {type(output).__name__}")
    weight, bias = model.observation.fold(first.weight, first.bias)
    scaled = Normalize(model.config.latent_norm)
    readouts: dict[str, Readout] = {
        "prior_logits": Plain(model.num_actions),
        "value": TwoHot(model.value_support),
        "reward": TwoHot(model.reward_support),
    }
    if model.learns_turns:
        readouts["edge_sign"] = Sign()
    searched = sum(readout.size for readout in readouts.values())  # what else is learnt lies behind them
    return Description(
        observation_shape=model.observation_shape if isinstance(first, Convolution) else (weight.shape[1],),
        latent_shape=model.latent_shape,
        num_actions=model.num_actions,
        limits=model.observation.limits(),
        representation=(first._replace(weight=weight, bias=bias), *rest, scaled),
        dynamics=(*model.dynamics.layers(), scaled) if model.imagines else (),
        prediction=(*heads, Affine(output.weight[:searched], output.bias[:searched])),
        readouts=readouts,
    )


def check_described(model: WorldModel) -> None:
    """Raises UndescribedError where a model has no description."""
    if (reason := undescribed(model)) is not None:
        raise UndescribedError(reason)


def undescribed(model: WorldModel) -> str | None:
    """Returns why a model has no description, in a few words; None where it has one."""
    name, layout = model.torso.name, model.torso.layout
    for stage in ("representation", "dynamics", "heads"):
        if stage == "dynamics" and not model.imagines:
            continue
        if not hasattr(getattr(model, stage), "layers"):
            return f"the {stage} of the torso {name!r} do{'' if stage == 'heads' else 'es'} not say what layers it has"
    if layout.channels("scaled") != tuple(range(layout.shape[0])):
        return f"the torso {name!r} normalises only some slices of its latents"
    return None
