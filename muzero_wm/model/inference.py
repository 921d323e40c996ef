"""The network as the search calls it: frozen, folded, in the fastest safe precision, flat latents in and out."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from muzero_wm.model.fused import fuse
from muzero_wm.model.networks import Residual
from muzero_wm.model.world_model import WorldModel


class Inference(NamedTuple):
    """One batch of network outputs; the latent stays where the network runs."""

    latent: Tensor  # [B, D] in the inference dtype
    reward: NDArray[np.float32]  # [B] of the edge into the latent
    prior_logits: NDArray[np.float32]  # [B, A]
    value: NDArray[np.float32]  # [B] seen by the player to move


def supports_bf16() -> bool:
    """Returns whether this CPU multiplies bf16 natively, so that it is faster than fp32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def resolve_precision(precision: str, conv: bool) -> torch.dtype:
    """Returns the dtype for a precision setting: "auto" is bf16 for convolutions on CPUs that have it."""
    bf16 = precision == "bf16" or (precision == "auto" and conv and supports_bf16())
    return torch.bfloat16 if bf16 else torch.float32


def fold_batch_norm(model: nn.Module) -> None:
    """Merges every batch norm of a residual block into the layer before it, in place, for evaluation only."""
    for block in model.modules():
        if isinstance(block, Residual):
            for layer_name, norm_name in (("first", "norm1"), ("second", "norm2")):
                layer, norm = getattr(block, layer_name), getattr(block, norm_name)
                if isinstance(norm, nn.BatchNorm2d):
                    setattr(block, layer_name, fuse_conv_bn_eval(layer, norm))
                elif isinstance(norm, nn.BatchNorm1d):
                    setattr(block, layer_name, fuse_linear_bn_eval(layer, norm))
                setattr(block, norm_name, nn.Identity())


class InferenceModel:
    """A snapshot of a world model for acting and searching.

    Args:
        model: the weights to start from; later changes of it are seen after `refresh` only.
        precision: "auto", "fp32" or "bf16".
    """

    def __init__(self, model: WorldModel, precision: str = "auto") -> None:
        """Takes the first snapshot; see the class for the arguments."""
        self.dtype = resolve_precision(precision, model.conv)
        self.latent_shape = model.latent_shape
        self.latent_size = math.prod(model.latent_shape)
        self.refresh(model)

    def refresh(self, model: WorldModel) -> None:
        """Replaces the weights by a snapshot of `model`."""
        snapshot = copy.deepcopy(model).eval().requires_grad_(False)
        fold_batch_norm(snapshot)
        snapshot.representation.to(self.dtype)
        snapshot.dynamics.to(self.dtype)
        snapshot.heads.to(self.dtype)
        snapshot.heads.output.float()
        if snapshot.conv:
            snapshot.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            fuse(snapshot, self.latent_shape)
        self._model = snapshot

    @torch.inference_mode()
    def initial(self, observation: NDArray) -> Inference:
        """Evaluates observations.

        Args:
            observation: [B, *observation_shape], any real dtype.

        Returns:
            Latents and predictions; the reward means nothing at a root.
        """
        return self._read(self._model.represent(torch.from_numpy(np.ascontiguousarray(observation))))

    @torch.inference_mode()
    def recurrent(self, latent: Tensor, action: NDArray[np.int32]) -> Inference:
        """Evaluates one imagined step.

        Args:
            latent: [B, D], as returned before.
            action: [B] integers.

        Returns:
            The next latents and their predictions.
        """
        return self._read(self._model.step(self._shape(latent), torch.from_numpy(action).long()))

    def _shape(self, flat: Tensor) -> Tensor:
        if len(self.latent_shape) == 1:
            return flat
        channels, height, width = self.latent_shape
        return flat.view(-1, height, width, channels).permute(0, 3, 1, 2)

    def _flatten(self, latent: Tensor) -> Tensor:
        return latent if latent.ndim == 2 else latent.permute(0, 2, 3, 1).reshape(latent.shape[0], -1)

    def _read(self, latent: Tensor) -> Inference:
        prediction = self._model.predict(latent)
        return Inference(
            self._flatten(latent),
            self._model.reward_support.decode(prediction.reward_logits).numpy(),
            prediction.policy_logits.float().numpy(),
            self._model.value_support.decode(prediction.value_logits).numpy(),
        )
