"""Searches whose trees are where the network is: the session of a search on a GPU."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcts import SearchResult, Tree
from mcts.types import RESULT_ARRAYS
from muzero_wm.inference.backends.module import ModuleBackend, ModuleWorker

if TYPE_CHECKING:
    from mcts.device import DeviceSearch, RecurrentTensors
    from mcts.device.plan import Latents

_HUNDREDS = 256


def why_not_on(device: torch.device) -> str | None:
    """Returns why trees cannot be on a device, in a few words; None where they can."""
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"the network is on {device}"
    if importlib.util.find_spec("triton") is None:
        return "there is no Triton; it comes with `pip install triton`, for Linux"
    return None


class DeviceSession:
    """Makes searches whose trees, latents and network share a device; see `mcts.device`.

    The weights are read where the backend keeps them, which a refresh overwrites in place, so that what was recorded
    for one round of training holds for the next.

    Args:
        backend: holds the network.
        discount: of every edge, in [-1, 1]; a factor of what the network says where it learns the signs of edges.
    """

    def __init__(self, backend: ModuleBackend, discount: float) -> None:
        self._worker = ModuleWorker(backend)
        self._discount = discount
        self._searches: dict[Any, DeviceSearch] = {}

    def search(
        self,
        policy: Callable[..., SearchResult],
        num_simulations: int,
        observations: NDArray,
        options: Mapping[str, Any],
        per_search: Mapping[str, Any],
        *,
        tree: bool = True,
    ) -> SearchResult:
        """Searches one tree per observation.

        Every number of roots has memory and a graph of its own, so it is rounded up to one of few; what is added
        repeats the last root and is cut off again.

        Args:
            policy: of `mcts`.
            num_simulations: S.
            observations: [B, *observation_shape].
            options: settings of the policy.
            per_search: what belongs to this search, each [B] or [B, A].
            tree: bring the trees along; else the result's tree is that of no nodes.

        Returns:
            The same as the policy on the host.

        Raises:
            ValueError: a number of the network is not usable.
        """
        from mcts.device import DeviceSearch  # imports Triton

        batch = len(observations)
        rounded = _rounded(batch)
        rows = slice(None) if rounded == batch else np.minimum(np.arange(rounded), batch - 1)
        qtransform = options["qtransform"]
        key = policy, num_simulations, *((name, options[name]) for name in sorted(options) if name != "qtransform")
        if key not in self._searches:
            self._searches[key] = DeviceSearch(policy, num_simulations, self._recurrent, **options)
        with torch.inference_mode():
            root = self._worker.root(observations[rows])
        given = {name: array[rows] for name, array in per_search.items()}
        found = self._searches[key](root.latent, root.prior_logits, root.value, qtransform=qtransform, **given).to_host(
            tree=tree
        )
        return found if rounded == batch else _first(found, batch)

    def _recurrent(self, latents: Latents, actions: Tensor) -> RecurrentTensors:
        from mcts.device import RecurrentTensors

        assert isinstance(latents, Tensor)
        found = self._worker.step(latents, actions)
        if found.edge_sign is None:
            discount = torch.full_like(found.value, self._discount)
        else:
            discount = found.edge_sign.clamp(-1.0, 1.0) * self._discount
        return RecurrentTensors(found.latent, found.reward, discount, found.prior_logits, found.value)


def _rounded(batch: int) -> int:
    """Returns the number of roots that a search of so many is made with: a power of two, or some hundreds."""
    return 1 << (batch - 1).bit_length() if batch <= _HUNDREDS else -(-batch // _HUNDREDS) * _HUNDREDS


def _first(result: SearchResult, batch: int) -> SearchResult:
    """Returns what was found for the first roots."""
    tree = Tree(result.tree.nodes[:batch], result.tree.prior_logits[:batch])
    return SearchResult(**{name: getattr(result, name)[:batch] for name in RESULT_ARRAYS}, tree=tree)
