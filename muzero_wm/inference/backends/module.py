"""The PyTorch module itself: as it was trained (the reference of the accuracy gate), or folded and in another dtype."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from muzero_wm.inference.backends.base import Inference
from muzero_wm.inference.description import check_described
from muzero_wm.model.layers import merged
from muzero_wm.model.networks import Normed
from muzero_wm.model.world_model import WorldModel, edge_sign


def fold_batch_norm(model: nn.Module) -> None:
    """Merges every batch norm of our blocks into the layer before it, in place, for evaluation only."""
    for block in model.modules():
        if isinstance(block, Normed):
            for layer_name, norm_name in block.normed:
                layer = getattr(block, layer_name)
                weight, bias = merged(layer, getattr(block, norm_name))
                layer.weight, layer.bias = (nn.Parameter(part.detach(), False) for part in (weight, bias))
                setattr(block, norm_name, nn.Identity())


class ModuleBackend:
    """Calls a frozen copy of the world model, on the device where the model is.

    Args:
        model: the first snapshot.
        folded: merge batch norm, keep convolutions channels last, compute in `dtype`; else the plain module in float32.
        dtype: float32 or bfloat16; the output layer stays in float32.

    Raises:
        UndescribedError: folded, and nobody knows the layers of the model.
    """

    def __init__(self, model: WorldModel, *, folded: bool, dtype: torch.dtype = torch.float32) -> None:
        """Takes the first snapshot; see the class for the arguments."""
        if folded:
            check_described(model)  # else what is in it, and in which precision, is its own matter
        self.folded = folded
        self.latent_dtype = dtype
        self.refresh(model)

    def refresh(self, model: WorldModel) -> None:
        """Replaces the weights by a snapshot of `model`."""
        snapshot = copy.deepcopy(model).float().eval().requires_grad_(False)
        if self.folded:
            fold_batch_norm(snapshot)
            for part in (snapshot.representation, snapshot.dynamics, snapshot.heads):
                if part is not None:
                    part.to(self.latent_dtype)
            snapshot.heads.output.float()
            if snapshot.torso.spatial:
                snapshot.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if snapshot.device.type == "cpu" or not hasattr(self, "model"):
            self.model = snapshot
        else:
            self._overwrite(snapshot)

    def _overwrite(self, snapshot: WorldModel) -> None:
        """Puts other weights where those of now are: what was recorded on a device reads them there."""
        for kept, new in (
            (self.model.parameters(), snapshot.parameters()),
            (self.model.buffers(), snapshot.buffers()),
        ):
            for target, source in zip(kept, new, strict=True):
                target.copy_(source)
        self.model.observation.seen = snapshot.observation.seen

    def worker(self) -> ModuleWorker:
        """Returns a worker; it has no buffers, so one would do for all threads."""
        return ModuleWorker(self)


class Evaluated(NamedTuple):
    """Holds the fields of `Inference` as tensors where the network is."""

    latent: Tensor
    reward: Tensor
    prior_logits: Tensor
    value: Tensor
    edge_sign: Tensor | None


class ModuleWorker:
    """Evaluates with the module of its backend; flat latents are stored as the module prefers them."""

    def __init__(self, backend: ModuleBackend) -> None:
        """Keeps the backend, whose module changes with every refresh."""
        self._backend = backend

    @torch.inference_mode()
    def initial(self, observation: NDArray) -> Inference:
        """Evaluates observations [B, *observation_shape]."""
        return _on_host(self.root(observation))

    @torch.inference_mode()
    def recurrent(self, latent: Tensor, action: NDArray[np.int32], out: Tensor) -> Inference:
        """Evaluates one imagined step; see `Worker`."""
        following = self.step(latent, self._there(action).long())
        return _on_host(following._replace(latent=out.copy_(following.latent)))

    def root(self, observation: NDArray) -> Evaluated:
        """Evaluates observations [B, *observation_shape] without waiting for the device."""
        return self._read(self._backend.model.represent(self._there(np.ascontiguousarray(observation))))

    def step(self, latent: Tensor, action: Tensor) -> Evaluated:
        """Evaluates an imagined step of latents [B, D] by actions [B] int64, without waiting for the device."""
        return self._read(self._backend.model.step(self._shape(latent), action))

    def _there(self, array: NDArray) -> Tensor:
        """Returns an array as a tensor where the network is."""
        return torch.from_numpy(array).to(self._backend.model.device)

    def _channels_last(self) -> bool:
        return self._backend.folded and bool(self._backend.model.torso.layout.cells)

    def _shape(self, flat: Tensor) -> Tensor:
        shape = self._backend.model.latent_shape
        if self._channels_last():
            channels, height, width = shape
            return flat.view(-1, height, width, channels).permute(0, 3, 1, 2)
        return flat.view(-1, *shape)

    def _flatten(self, latent: Tensor) -> Tensor:
        return (latent.permute(0, 2, 3, 1) if self._channels_last() else latent).reshape(latent.shape[0], -1)

    def _read(self, latent: Tensor) -> Evaluated:
        model = self._backend.model
        prediction = model.predict(latent)
        return Evaluated(
            self._flatten(latent),
            model.reward_support.decode(prediction.reward_logits),
            prediction.policy_logits.float(),
            model.value_support.decode(prediction.value_logits),
            None if prediction.turn_logits is None else edge_sign(prediction.turn_logits),
        )


def _on_host(found: Evaluated) -> Inference:
    sign = found.edge_sign
    return Inference(
        found.latent,
        found.reward.numpy(force=True),
        found.prior_logits.numpy(force=True),
        found.value.numpy(force=True),
        None if sign is None else sign.numpy(force=True),
    )
