"""A torso that is nobody's but the tests': a vector beside a clock, which no normalisation and no loss touches."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from muzero_wm.model.networks import Residual
from muzero_wm.model.torsos import Layout, Slice, Torso


class Reader(nn.Module):
    """Reads an observation; the clock begins at 0."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, width)

    def forward(self, observation: Tensor) -> Tensor:
        features = torch.relu(self.stem(observation.flatten(1)))
        return torch.cat([features, features.new_zeros(len(features), 1)], 1)


class Ticking(nn.Module):
    """Moves on; the clock counts."""

    def __init__(self, width: int, num_actions: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_actions, width)
        self.block = Residual(width, False, False)

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        features, clock = latent[:, :-1], latent[:, -1:]
        return torch.cat([self.block(features, self.embedding(action).to(latent.dtype)), clock + 1.0], 1)


class HeadsOverBoth(nn.Module):
    """Reads everything."""

    def __init__(self, width: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes, self.output = list(sizes), nn.Linear(width, sum(sizes))

    def forward(self, latent: Tensor) -> tuple[Tensor, ...]:
        return self.output(latent.float()).split(self.sizes, 1)


class Clocked(Torso):
    """The recipe."""

    def lay_out(self) -> Layout:
        return Layout((Slice("features", self.config.width), Slice("clock", 1, scaled=False, foreseen=False)))

    def representation(self) -> nn.Module:
        return Reader(math.prod(self.spec.observation_shape), self.config.width)

    def dynamics(self) -> nn.Module:
        return Ticking(self.config.width, self.spec.num_actions)

    def heads(self, sizes: tuple[int, ...]) -> nn.Module:
        return HeadsOverBoth(self.layout.shape[0], sizes)
