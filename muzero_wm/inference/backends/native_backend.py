"""The planner's own MLP evaluator: a search never returns to Python between two simulations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muzero_wm.inference.backends.base import BackendError, Inference
from muzero_wm.inference.description import check_described
from muzero_wm.inference.native import NativeModel, supported
from muzero_wm.model.world_model import WorldModel


class NativeBackend:
    """Evaluates MLP world models in float32 with hand-vectorised code.

    Args:
        model: the first snapshot.

    Raises:
        BackendError: the model is no MLP, or the evaluator is not built.
        UndescribedError: nobody knows the layers of the model.
    """

    latent_dtype = torch.float32

    def __init__(self, model: WorldModel) -> None:
        """Takes the first snapshot; see the class for the arguments."""
        check_described(model)
        reason = supported(model)
        if reason is not None:
            raise BackendError(f"native: {reason}")
        self._model = NativeModel(model)

    def refresh(self, model: WorldModel) -> None:
        """Replaces the weights by a snapshot of `model`."""
        self._model.refresh(model)

    def worker(self) -> NativeWorker:
        """Returns a worker."""
        return NativeWorker(self._model)

    def session(self) -> NativeModel:
        """Returns what starts searches; their latents belong to the search, so one serves all threads."""
        return self._model


class NativeWorker:
    """Evaluates single batches, for callers that are not a search."""

    def __init__(self, model: NativeModel) -> None:
        """Keeps the evaluator."""
        self._model = model

    def initial(self, observation: NDArray) -> Inference:
        """Evaluates observations [B, *observation_shape]."""
        return _read(self._model.initial(observation))

    def recurrent(self, latent: Tensor, action: NDArray[np.int32], out: Tensor) -> Inference:
        """Evaluates one imagined step; see `Worker`."""
        following = _read(self._model.recurrent(latent.numpy(), action))
        return following._replace(latent=out.copy_(following.latent))


def _read(output: Any) -> Inference:
    return Inference(torch.from_numpy(output.latent), output.reward, output.prior_logits, output.value)
