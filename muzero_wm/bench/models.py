"""The networks that are timed: convolutions for boards and a small MLP, with weights as if they were trained."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.config import Config
from muzero_wm.config.presets import load_config
from muzero_wm.envs.base import EnvSpec
from muzero_wm.model.world_model import WorldModel

# name: (preset, settings over it)
NETWORKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "conv-64x4": ("connect4", ("model.width=64", "model.representation_blocks=4", "model.dynamics_blocks=4")),
    "connect4": ("connect4", ()),
    "mlp-64": ("tictactoe", ("model.width=64", "model.head_width=64")),
}


class Network(NamedTuple):
    """Holds a model with the configuration it was made from."""

    config: Config
    spec: EnvSpec
    model: WorldModel


def make_network(name: str, seed: int) -> Network:
    """Makes one of the networks.

    New networks predict almost nothing and leave latents as they are; with such weights every precision looks exact.
    So the layers that start at zero or close to it are drawn like all others.

    Args:
        name: of NETWORKS.
        seed: of the weights.

    Returns:
        The network, ready for evaluation.
    """
    preset, overrides = NETWORKS[name]
    config = load_config(preset, overrides=overrides)
    spec = envs.spec(config.env)
    torch.manual_seed(seed)
    model = WorldModel(config.model, spec).eval()
    for part in model.modules():
        if isinstance(part, torch.nn.Linear | torch.nn.Conv2d):
            fan_in = part.weight[0].numel()
            torch.nn.init.normal_(part.weight, std=fan_in**-0.5)
    return Network(config, spec, model)


def observations(network: Network, count: int, seed: int) -> NDArray:
    """Draws observations of noughts and ones, [count, *observation_shape] in the environment's dtype."""
    shape = (count, *network.spec.observation_shape)
    return np.random.default_rng(seed).integers(0, 2, shape).astype(network.spec.observation_dtype)
