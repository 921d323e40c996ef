"""The network as the search calls it: a frozen snapshot behind one of several backends, and the sessions of searches.

`InferenceModel` holds the weights, which all threads share; a `Session` holds what one search needs for itself: the
latents of its nodes and the buffers of its network calls.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muzero_wm.envs.boards.board import BoardGame
from muzero_wm.inference import auto
from muzero_wm.inference.auto import Errors, Measured
from muzero_wm.inference.backends import Backend, BackendError, Inference, make_backend, names_for, resolve_name
from muzero_wm.inference.backends.base import Arrays, RecurrentFn, Worker, remember, split_name
from muzero_wm.inference.backends.module import ModuleBackend
from muzero_wm.inference.description import undescribed
from muzero_wm.inference.device import DeviceSession, why_not_on
from muzero_wm.inference.rules import RulesSession
from muzero_wm.model.device import CPU
from muzero_wm.model.precision import resolve_precision, short_name
from muzero_wm.model.world_model import WorldModel

__all__ = [
    "AccuracyWarning", "BackendError", "BackendWarning", "Errors", "Inference", "InferenceModel", "Measured", "Session",
]  # fmt: skip

_choices: dict[str, tuple[str, list[Measured]]] = {}


class AccuracyWarning(UserWarning):
    """A backend that was asked for by name is further from float32 than the gate allows."""


class BackendWarning(UserWarning):
    """A run was made with a backend that is missing here, and another one takes its place."""


class InferenceModel:
    """A snapshot of a world model for acting and searching.

    The module's own backends, eager and torch, compute where the model is; the others take its weights to the CPU.

    Args:
        model: the weights to start from; later changes of it are seen after `refresh` only.
        backend: "auto" measures what is there and takes the fastest that is accurate enough; else the name of one,
            "fused" or "fused-bf16" for example (see `muzero_wm.inference.backends`).
        precision: "auto" (bf16 may be used for convolutions on CPUs that have it), "fp32" or "bf16".
        batch_size: rows of a usual call, which "auto" measures with.
        frozen: the weights hardly ever change, so that backends may bake them in; a refresh may then take longer.
        stored: the backend is named by a run, perhaps of another machine: where it is missing here, the same in float32
            or the one that "auto" finds takes its place, with a `BackendWarning`.

    Attributes:
        backend: full name of the one in use, for example "fused-bf16".
        candidates: what was found out before the choice; empty for "eager".
        q_scale: differences of q that count as large in a search, learnt in training; 0 where unknown.

    Raises:
        BackendError: the backend asked for is unknown, not installed, beyond this processor, or does not fit the model.
    """

    def __init__(
        self,
        model: WorldModel,
        *,
        backend: str = "auto",
        precision: str = "auto",
        batch_size: int = 256,
        frozen: bool = False,
        stored: bool = False,
    ) -> None:
        """Takes the first snapshot; see the class for the arguments."""
        self._undescribed = undescribed(model)
        names = _names(backend, precision, model)
        try:
            self._take(model, names, batch_size, frozen)
        except BackendError as error:
            if not stored:
                raise
            self._take_another(model, names[0], batch_size, frozen, str(error))
        if backend != "auto" and self.candidates and self.candidates[0].reason and self.backend in names:
            warnings.warn(
                f"inference.backend: {self.backend} is less accurate than the gate allows: {self.candidates[0].reason}",
                AccuracyWarning,
                stacklevel=2,
            )
        self._worker = self._backend.worker()
        self.q_scale = float(model.q_scale)

    def _take(self, model: WorldModel, names: list[str], batch_size: int, frozen: bool) -> None:
        """Builds the one backend that is named, or the best of several."""
        # one choice per process for one kind of model: two runs side by side must not differ by a measurement
        shapes = f"{model.observation_shape} {model.num_actions} {model.learns_turns} {model.device}"
        key = f"{names} {batch_size} {frozen} {model.config} {shapes}"
        if key in _choices:
            self.backend, self.candidates = _choices[key]
            self._backend = make_backend(self.backend, model, batch_size=batch_size, frozen=frozen)
        else:
            self.backend, self._backend, self.candidates = _select(model, names, batch_size, frozen)
            _choices[key] = self.backend, self.candidates

    def _take_another(self, model: WorldModel, wanted: str, batch_size: int, frozen: bool, reason: str) -> None:
        """Builds what takes the place of a backend that is missing here, and tells."""
        sibling = resolve_name(split_name(wanted)[0], "fp32")
        try:
            self._take(model, [sibling], batch_size, frozen)
        except BackendError:
            self._take(model, _names("auto", "auto", model), batch_size, frozen)
        warnings.warn(
            f"inference.backend: the run was made with {wanted}, which is missing here ({reason}); {self.backend} "
            "takes its place: the same network, rounded differently, so searches may differ from those of the machine "
            "before",
            BackendWarning,
            stacklevel=3,
        )

    def describe(self) -> str:
        """Returns one line about the choice, for a log."""
        rates = ", ".join(f"{c.name} {c.evals_per_second:,.0f}/s" for c in self.candidates if c.evals_per_second)
        why = f"; {self._undescribed}, so the others cannot evaluate it" if self._undescribed else ""
        return f"inference: {self.backend}" + (f" ({rates})" if rates else "") + why

    def refresh(self, model: WorldModel) -> None:
        """Replaces the weights by a snapshot of `model`; no search may be running."""
        self._backend.refresh(model)
        self.q_scale = float(model.q_scale)

    def initial(self, observation: NDArray) -> Inference:
        """Evaluates observations.

        Args:
            observation: [B, *observation_shape], any real dtype.

        Returns:
            Latents and predictions; the reward means nothing at a root.
        """
        return self._worker.initial(observation)

    def recurrent(self, latent: Tensor, action: NDArray[np.int32]) -> Inference:
        """Evaluates one imagined step.

        Args:
            latent: [B, D], as returned before.
            action: [B] integers.

        Returns:
            The next latents and their predictions, in memory of their own.
        """
        out = self._worker.recurrent(latent.clone(), np.ascontiguousarray(action, np.int32), torch.empty_like(latent))
        return out.copied(out.latent)

    def device_session(self, discount: float) -> DeviceSession | str:
        """Returns a session of searches whose trees are where the network is, or why there is none, in a few words.

        Args:
            discount: of every edge, as in `Session.start`.
        """
        if not isinstance(self._backend, ModuleBackend):
            return f"the backend {self.backend} computes on the CPU"
        return why_not_on(self.device) or DeviceSession(self._backend, discount)

    @property
    def device(self) -> torch.device:
        """Returns where the network computes."""
        return self._backend.model.device if isinstance(self._backend, ModuleBackend) else CPU

    def worker(self) -> Worker:
        """Returns what evaluates with these weights; each thread needs one of its own."""
        return self._backend.worker()

    def rules_session(self, game: BoardGame) -> RulesSession:
        """Returns a new session whose nodes are positions of a game; each thread needs one of its own.

        Args:
            game: the true rules.
        """
        return RulesSession(self.worker(), game)

    def session(self, *, plain: bool = False) -> Session:
        """Returns a new session on these weights; each thread needs one of its own.

        Args:
            plain: its recurrent function is called by Python, not by the planner's own core.
        """
        native: Callable[[], Any] | None = None if plain else getattr(self._backend, "session", None)
        return Session(self.worker()) if native is None else native()


class Session:
    """The network's side of one search after another: latents of all nodes, and buffers that are used again.

    Args:
        worker: evaluates; nobody else may use it at the same time.
    """

    def __init__(self, worker: Worker) -> None:
        """Starts without memory; the first search allocates it."""
        self._worker = worker
        self._memory = torch.empty(0)
        self._rows: dict[int, _Rows] = {}

    def start(
        self, observation: NDArray, num_nodes: int, discount: float, leaves_per_step: int = 1
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], RecurrentFn]:
        """Evaluates the roots of a search.

        Args:
            observation: [B, *observation_shape].
            num_nodes: most nodes of one tree, the root included.
            discount: of every edge, in [-1, 1]; a factor of what the network says where it learns the signs of edges.
            leaves_per_step: K; the recurrent function is asked for up to K * B rows, leaf by leaf.

        Returns:
            Policy logits [B, A] and values [B] of the roots, and the recurrent function of the search. The latter ends
            with the next call of `start`, and its results with its own next call.
        """
        root = self._worker.initial(observation)
        batch, size = root.latent.shape
        pool = self._pool(num_nodes, batch, root.latent)
        pool[:batch].copy_(root.latent)
        worker, rows_cache = self._worker, self._rows

        def recurrent_fn(parent_index: NDArray[np.int32], action: NDArray[np.int32], node_index: int) -> Arrays:
            count = len(action)
            rows = remember(rows_cache, count, lambda: _Rows(count, size, root.latent))
            latent = rows.gather(pool, parent_index, batch)
            out = pool[node_index * batch : node_index * batch + count]
            result = worker.recurrent(latent, action, out)
            if result.edge_sign is None:
                rows.discount.fill(discount)
            else:
                # a fast tanh may be beyond 1 in its last digit, which the search would refuse
                np.clip(result.edge_sign, -1.0, 1.0, out=rows.discount)
                rows.discount *= discount
            return result.reward, rows.discount, result.prior_logits, result.value

        return root.prior_logits, root.value, recurrent_fn

    def _pool(self, num_nodes: int, batch: int, like: Tensor) -> Tensor:
        """Returns [num_nodes * batch, D] of uninitialised memory, the same again while it is large enough."""
        needed = num_nodes * batch * like.shape[1]
        known = self._memory
        if known.numel() < needed or known.dtype != like.dtype or known.device != like.device:
            self._memory = torch.empty(needed, dtype=like.dtype, device=like.device)
        return self._memory[:needed].view(-1, like.shape[1])


class _Rows:
    """Where the latents of one network call are gathered, for one number of rows."""

    def __init__(self, count: int, size: int, like: Tensor) -> None:
        self._latent = torch.empty(count, size, dtype=like.dtype, device=like.device)
        self._index = torch.empty(count, dtype=torch.int64)
        self._index_array = self._index.numpy()
        self._offset = np.zeros(count, np.int64)
        self._batch = 0
        self.discount = np.zeros(count, np.float32)

    def gather(self, pool: Tensor, parent_index: NDArray[np.int32], batch: int) -> Tensor:
        """Returns the latents of the parents: row r belongs to root r mod batch."""
        if batch != self._batch:
            self._batch = batch
            self._offset[:] = np.arange(len(self._offset)) % batch
        np.multiply(parent_index, batch, out=self._index_array)
        np.add(self._index_array, self._offset, out=self._index_array)
        return torch.index_select(pool, 0, self._index.to(pool.device), out=self._latent)


def _names(backend: str, precision: str, model: WorldModel) -> list[str]:
    """Returns the full name of a backend, or of all that "auto" has to choose from."""
    resolved = short_name(resolve_precision(precision, model.torso.spatial, model.device))
    if backend != "auto":
        return [resolve_name(backend, resolved)]
    return names_for("auto" if precision == "auto" and resolved == "bf16" else resolved)


def _select(model: WorldModel, names: list[str], batch_size: int, frozen: bool) -> tuple[str, Backend, list[Measured]]:
    """Returns the name of the backend to use, the backend, and what is known about the candidates."""
    if len(names) > 1:
        return auto.choose(model, names, batch_size=batch_size, frozen=frozen)
    (name,) = names
    if name == auto.REFERENCE:
        return name, make_backend(name, model), []
    backend, measured = auto.Gate(model).try_out(name, batch_size=batch_size, frozen=frozen)
    return name, backend, [measured]
