"""What every way of evaluating the network offers, and how their names are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muzero_wm.basis.errors import UserError
from muzero_wm.model.world_model import WorldModel

Arrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
RecurrentFn = Callable[[NDArray[np.int32], NDArray[np.int32], int], Arrays]
"""From parents, actions and the number of the node to rewards, discounts, logits and values: what a search calls."""

_KEPT = 4
_T = TypeVar("_T")


class BackendError(UserError):
    """A backend that was asked for is missing, does not fit the model, or fails the accuracy gate."""


class Inference(NamedTuple):
    """One batch of network outputs; the latent stays where the network runs."""

    latent: Tensor  # [B, D], dtype and order of the elements are the backend's own
    reward: NDArray[np.float32]  # [B] of the edge into the latent, environment units
    prior_logits: NDArray[np.float32]  # [B, A]
    value: NDArray[np.float32]  # [B] seen by the player to move, environment units
    edge_sign: NDArray[np.float32] | None = None  # [B] of the edge into the latent, -1 to 1; None where it is known

    def copied(self, latent: Tensor) -> Inference:
        """Returns copies of the arrays beside another latent."""
        sign = None if self.edge_sign is None else self.edge_sign.copy()
        return Inference(latent, self.reward.copy(), self.prior_logits.copy(), self.value.copy(), sign)


class Worker(Protocol):
    """Evaluates batches with the weights of its backend, in buffers of its own: one for each thread."""

    def initial(self, observation: NDArray) -> Inference:
        """Evaluates observations [B, *observation_shape]; the result lies in fresh memory."""
        ...

    def recurrent(self, latent: Tensor, action: NDArray[np.int32], out: Tensor) -> Inference:
        """Evaluates one imagined step.

        Args:
            latent: [B, D] contiguous; may be overwritten.
            action: [B] int32.
            out: [B, D] contiguous, receives the next latents.

        Returns:
            The outputs; the arrays are overwritten by the next call with as many rows, the latent is `out`.
        """
        ...


class Backend(Protocol):
    """One way of evaluating the network: shared weights, and workers that use them."""

    latent_dtype: torch.dtype

    def refresh(self, model: WorldModel) -> None:
        """Replaces the weights by a snapshot of `model`, an architecture like the first one's."""

    def worker(self) -> Worker:
        """Returns a new worker; it sees every later refresh."""
        ...


def split_name(name: str) -> tuple[str, str | None]:
    """Returns ("fused", "bf16") for "fused-bf16", and ("fused", None) for "fused"."""
    kind, dash, precision = name.partition("-")
    return kind, precision if dash else None


def remember(cache: dict[int, _T], rows: int, make: Callable[[], _T]) -> _T:
    """Returns what is cached for a number of rows; a few numbers are kept, so that memory stays bounded."""
    if rows not in cache:
        if len(cache) >= _KEPT:
            del cache[next(iter(cache))]
        cache[rows] = make()
    return cache[rows]
