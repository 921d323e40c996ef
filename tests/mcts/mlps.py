"""Random residual MLPs, and the textbook in float64 that the native evaluator is held against."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

import mcts

VALUE = mcts.CategoricalSupport(-1.0, 1.0, 3)
REWARD = mcts.CategoricalSupport(-2.0, 2.0, 9, transform=True)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Sizes and options of a model."""

    features: int = 5
    width: int = 20
    inner: int = 24
    hidden: int = 17
    actions: int = 4
    blocks: tuple[int, int, int] = (1, 1, 1)  # representation, dynamics, prediction
    norm: str = "rms"
    change_sides: bool = False
    value: mcts.CategoricalSupport = VALUE
    reward: mcts.CategoricalSupport = REWARD

    def weights(self, seed: int, scale: float = 1.0) -> mcts.MLPWeights:
        rng = np.random.default_rng(seed)

        def layer(outputs: int, inputs: int) -> mcts.mlp.Layer:
            weight = rng.normal(size=(outputs, inputs)) * np.sqrt(2 / inputs) * scale
            return weight.astype(np.float32), rng.normal(size=outputs).astype(np.float32) * 0.1

        def blocks(count: int) -> list[mcts.mlp.Block]:
            return [(layer(self.inner, self.width), layer(self.width, self.inner)) for _ in range(count)]

        logits = self.actions + self.value.num_bins + self.reward.num_bins
        return mcts.MLPWeights(
            layer(self.width, self.features),
            blocks(self.blocks[0]),
            rng.normal(size=(self.actions, self.inner)).astype(np.float32),
            blocks(self.blocks[1]),
            blocks(self.blocks[2]),
            layer(self.hidden, self.width),
            layer(logits, self.hidden),
        )

    def build(self, weights: mcts.MLPWeights, instruction_set: str | None = None) -> mcts.ResidualMLP:
        return mcts.ResidualMLP(
            weights,
            value_support=self.value,
            reward_support=self.reward,
            latent_norm=self.norm,
            change_sides=self.change_sides,
            instruction_set=instruction_set,
        )

    def observations(self, rows: int, seed: int = 0) -> npt.NDArray[np.float32]:
        return np.random.default_rng(seed).normal(size=(rows, self.features)).astype(np.float32)


class Textbook:
    """The same model in float64, one matrix product after another."""

    def __init__(self, architecture: Architecture, weights: mcts.MLPWeights) -> None:
        self.architecture, self.weights = architecture, weights

    def initial(self, observation: npt.NDArray) -> tuple[npt.NDArray, ...]:
        x = np.maximum(self.linear(self.weights.stem, np.asarray(observation, np.float64)), 0)
        latent = self.scale(self.trunk(self.weights.representation, x))
        return latent, *self.predict(latent)

    def recurrent(self, latent: npt.NDArray, action: npt.NDArray) -> tuple[npt.NDArray, ...]:
        x = np.asarray(latent, np.float64)
        if self.architecture.change_sides:
            x = np.roll(x, x.shape[1] // 2, axis=1)
        following = self.scale(self.trunk(self.weights.dynamics, x, np.asarray(self.weights.embedding)[action]))
        return following, *self.predict(following)

    def linear(self, layer: Any, x: npt.NDArray) -> npt.NDArray:
        return np.einsum("oi,bi->bo", layer[0].astype(np.float64), x) + layer[1]

    def trunk(self, blocks: Any, x: npt.NDArray, embedded: npt.NDArray | float = 0.0) -> npt.NDArray:
        for first, second in blocks:
            x = np.maximum(x + self.linear(second, np.maximum(self.linear(first, x) + embedded, 0)), 0)
            embedded = 0.0
        return x

    def scale(self, x: npt.NDArray) -> npt.NDArray:
        if self.architecture.norm == "rms":
            return x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-6)
        low, high = x.min(1, keepdims=True), x.max(1, keepdims=True)
        return (x - low) / np.maximum(high - low, 1e-5)

    def predict(self, latent: npt.NDArray) -> tuple[npt.NDArray, ...]:
        x = self.trunk(self.weights.prediction, latent)
        logits = self.linear(self.weights.output, np.maximum(self.linear(self.weights.hidden, x), 0))
        a, v = self.architecture.actions, self.architecture.value.num_bins
        value = self.decode(self.architecture.value, logits[:, a : a + v])
        return logits[:, :a], value, self.decode(self.architecture.reward, logits[:, a + v :])

    def decode(self, support: mcts.CategoricalSupport, logits: npt.NDArray) -> npt.NDArray:
        share = np.exp(logits - logits.max(1, keepdims=True))
        even = np.linspace(support.low, support.high, support.num_bins)
        numbers = {False: lambda y: y, True: unsquash, "symlog": lambda y: np.sign(y) * (np.exp(np.abs(y)) - 1)}
        return share @ numbers[support.transform](even) / share.sum(1)


def unsquash(y: npt.NDArray) -> npt.NDArray:
    """Inverts sign(x)(sqrt(|x| + 1) - 1) + x / 1000 by bisection."""
    low, high = np.zeros_like(y), np.full_like(y, 1e7)
    for _ in range(200):
        middle = (low + high) / 2
        above = np.sqrt(middle + 1) - 1 + middle / 1000 > np.abs(y)
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.sign(y) * low


supports = st.sampled_from(
    [
        mcts.CategoricalSupport(-1.0, 1.0, 2),
        mcts.CategoricalSupport(-1.0, 1.0, 3),
        mcts.CategoricalSupport(-5.0, 25.0, 61, transform=True),
        mcts.CategoricalSupport(0.0, 15.0, 16, transform=True),
        mcts.CategoricalSupport(-30.0, 30.0, 601, transform=True),
        mcts.CategoricalSupport(-12.0, 12.0, 82, transform="symlog"),
    ]
)
architectures = st.builds(
    Architecture,
    features=st.integers(1, 40),
    width=st.integers(1, 150),
    inner=st.integers(1, 90),
    hidden=st.integers(1, 90),
    actions=st.integers(1, 30),
    blocks=st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(0, 2)),
    norm=st.sampled_from(mcts.mlp.LATENT_NORMS),
    change_sides=st.booleans(),
    value=supports,
    reward=supports,
)
