"""World models with an MLP torso as the planner's own native evaluator: a search never returns to Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import mcts
from muzero_wm.inference.description import Description, describe, undescribed
from muzero_wm.model.layers import Affine, Block, Exchange, Layer, Normalize, Relu
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
    reason = undescribed(model) or unsuited(describe(model))
    if reason is not None:
        return reason
    try:
        mcts.ResidualMLP.instruction_sets()
    except ImportError:
        return "mcts._mlp is not built"
    return None


def unsuited(net: Description) -> str | None:
    """Returns what of a network the evaluator does not know, in a few words; None where it knows everything."""
    if net.convolutional:
        return "the torso is convolutional"
    if "edge_sign" in net.readouts:
        return "whose turn follows a move is learnt"
    return None if mlp_weights(net) is not None else "its layers are not those of a residual MLP"


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
        net = describe(model)
        self._mlp.load(_expected(net))
        self._limits = net.limits

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
    net = describe(model)
    return mcts.ResidualMLP(
        _expected(net),
        value_support=_support(net.support("value")),
        reward_support=_support(net.support("reward")),
        latent_norm=model.config.latent_norm,
        change_sides=isinstance(next(iter(net.dynamics), None), Exchange),
        instruction_set=instruction_set,
    )


def mlp_weights(net: Description) -> mcts.MLPWeights | None:
    """Returns the weights of a network as the native evaluator takes them, None where it is no residual MLP.

    Args:
        net: its layers.

    Returns:
        Arrays, which may share memory with the description.
    """
    dynamics = net.dynamics or _standstill(net)
    if isinstance(dynamics[0], Exchange) and dynamics[0].by == net.latent_shape[0] // 2:
        dynamics = dynamics[1:]
    match net.representation, dynamics, net.prediction:
        case (
            (Affine() as stem, Relu(), *representation, Normalize()),
            (Block(by_action=torch.Tensor() as embedding) as first, *following, Normalize()),
            (*prediction, Affine() as hidden, Relu(), Affine() as output),
        ):
            before, step = _blocks(representation), _blocks([first._replace(by_action=None), *following])
            behind = _blocks(prediction)
            if before is None or step is None or behind is None:
                return None
            return mcts.MLPWeights(
                stem=_arrays(stem),
                representation=before,
                embedding=embedding.numpy(),
                dynamics=step,
                prediction=behind,
                hidden=_arrays(hidden),
                output=_arrays(output),
            )
    return None


def _standstill(net: Description) -> tuple[Layer, ...]:
    """Returns dynamics of zeros for a network that has none: the evaluator wants some, and nobody asks it for them."""
    (width,) = net.latent_shape
    block = Block(
        Affine(torch.zeros(1, width), torch.zeros(1)),
        Affine(torch.zeros(width, 1), torch.zeros(width)),
        by_action=torch.zeros(net.num_actions, 1),
    )
    return block, Normalize("rms")


def _expected(net: Description) -> mcts.MLPWeights:
    weights = mlp_weights(net)
    assert weights is not None
    return weights


def _blocks(layers: Sequence[Layer]) -> list[mcts.mlp.Block] | None:
    """Returns the arrays of linear blocks, None where a layer is anything else."""
    blocks = []
    for layer in layers:
        match layer:
            case Block(Affine() as first, Affine() as second, None):
                blocks.append((_arrays(first), _arrays(second)))
            case _:
                return None
    return blocks


def _arrays(layer: Affine) -> mcts.mlp.Layer:
    return layer.weight.numpy(), layer.bias.numpy()


def _support(support: Support) -> mcts.CategoricalSupport:
    return mcts.CategoricalSupport(support.low, support.high, support.num_bins, support.transform)
