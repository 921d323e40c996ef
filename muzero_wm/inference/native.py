"""World models with an MLP torso as the planner's own native evaluator: a search never returns to Python."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import mcts
from muzero_wm.model.networks import Residual
from muzero_wm.model.observation import clipped
from muzero_wm.model.support import Support
from muzero_wm.model.world_model import WorldModel


class NativeInference(NamedTuple):
    """One batch of network outputs, all float32 arrays."""

    latent: NDArray[np.float32]  # [B, D]
    reward: NDArray[np.float32]  # [B] of the edge into the latent; zeros at a root
    prior_logits: NDArray[np.float32]  # [B, A]
    value: NDArray[np.float32]  # [B] seen by the player to move


def supported(model: WorldModel) -> str | None:
    """Returns why a model has no native evaluator, in a few words; None when it has one."""
    if model.torso.spatial:
        return "the torso is convolutional"
    if model.learns_turns:
        return "whose turn follows a move is learnt"
    try:
        mcts.ResidualMLP.instruction_sets()
    except ImportError:
        return "mcts._mlp is not built"
    return None


class NativeModel:
    """A snapshot of an MLP world model, evaluated natively in float32.

    The weights are shared by all threads; every search that was started has its own latents.

    Args:
        model: the weights to start from; later changes of it are seen after `refresh` only.

    Raises:
        ValueError: the model has no native evaluator; see `supported`.
    """

    def __init__(self, model: WorldModel) -> None:
        """Takes the first snapshot; see the class for the arguments."""
        self._mlp, self._limits = build_mlp(model), model.observation.limits()

    def refresh(self, model: WorldModel) -> None:
        """Replaces the weights by a snapshot of `model`, in place; no search may be running."""
        self._mlp.load(export_weights(model))
        self._limits = model.observation.limits()

    def initial(self, observation: NDArray) -> NativeInference:
        """Evaluates observations [B, *observation_shape] of any real dtype."""
        latent, prior_logits, value = self._mlp.initial(clipped(observation, self._limits))
        return NativeInference(latent, np.zeros(len(latent), np.float32), prior_logits, value)

    def recurrent(self, latent: NDArray[np.float32], action: NDArray[np.int32]) -> NativeInference:
        """Evaluates one imagined step from latents [B, D] with actions [B]."""
        return NativeInference(*self._mlp.recurrent(latent, action))

    def start(
        self, observation: NDArray, num_nodes: int, discount: float, leaves_per_step: int = 1
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], mcts.NativeRecurrentFn]:
        """Evaluates the roots of a search and makes its recurrent function.

        Args:
            observation: [B, *observation_shape], any real dtype.
            num_nodes: most nodes of one tree.
            discount: of every edge, in [-1, 1].
            leaves_per_step: most leaves of one root that are evaluated together.

        Returns:
            Policy logits [B, A] and values [B] of the roots, and the recurrent function. The attribute `latents` of the
            function's owner is the pool, [num_nodes, B, D].
        """
        latent, prior_logits, value = self._mlp.initial(clipped(observation, self._limits))
        return prior_logits, value, self._mlp.recurrent_fn(latent, num_nodes, discount, leaves_per_step)


def build_mlp(model: WorldModel, instruction_set: str | None = None) -> mcts.ResidualMLP:
    """Returns the native evaluator of a model.

    Args:
        model: the weights to start from.
        instruction_set: one of those of `mcts.ResidualMLP`; None is the fastest of this machine.

    Returns:
        The evaluator, which shares no memory with the model.

    Raises:
        ValueError: the model has no native evaluator; see `supported`.
    """
    reason = supported(model)
    if reason is not None:
        raise ValueError(f"model: expected an MLP that can be evaluated natively, but {reason}")
    return mcts.ResidualMLP(
        export_weights(model),
        value_support=_support(model.value_support),
        reward_support=_support(model.reward_support),
        latent_norm=model.config.latent_norm,
        change_sides=model.dynamics.change_sides,
        instruction_set=instruction_set,
    )


def export_weights(model: WorldModel) -> mcts.MLPWeights:
    """Returns the weights of an MLP world model as the native evaluator takes them, batch norm folded.

    Args:
        model: with an MLP torso; batch norm enters with its running statistics, as in evaluation.

    Returns:
        Arrays, which may share memory with the model.
    """
    stem = model.representation.stem
    assert stem.bias is not None
    stem_weight, stem_bias = model.observation.fold(stem.weight, stem.bias)
    weight, bias = model.searched_output()
    return mcts.MLPWeights(
        stem=(_array(stem_weight), _array(stem_bias)),
        representation=_blocks(model.representation.blocks),
        embedding=_array(model.dynamics.embedding.weight),
        dynamics=_blocks(model.dynamics.blocks),
        prediction=_blocks(model.heads.blocks),
        hidden=_linear(model.heads.hidden),
        output=(_array(weight), _array(bias)),
    )


def _blocks(blocks: nn.ModuleList) -> list[mcts.mlp.Block]:
    return [
        (_linear(block.first, block.norm1), _linear(block.second, block.norm2))
        for block in blocks
        if isinstance(block, Residual)
    ]


def _linear(layer: nn.Module, norm: nn.Module | None = None) -> mcts.mlp.Layer:
    assert isinstance(layer, nn.Linear)
    weight, bias = _array(layer.weight), _array(layer.bias)
    if not isinstance(norm, nn.BatchNorm1d):
        return weight, bias
    assert norm.running_mean is not None and norm.running_var is not None
    scale = _array(norm.weight).astype(np.float64) / np.sqrt(_array(norm.running_var).astype(np.float64) + norm.eps)
    return weight * scale[:, None], (bias - _array(norm.running_mean)) * scale + _array(norm.bias)


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy()


def _support(support: Support) -> mcts.CategoricalSupport:
    return mcts.CategoricalSupport(support.low, support.high, support.num_bins, support.transform)
