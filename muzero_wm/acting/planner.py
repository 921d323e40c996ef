"""The planner joins the network to the tree search. The only file that imports `mcts`.

The search speaks in indices; this file owns the latents: one pool, one slot per node, gathered and filled in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import mcts
from mcts import SearchResult
from muzero_wm.config import SearchConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.model.inference import InferenceModel

__all__ = ["Planner", "SearchResult"]


class Planner:
    """Searches batches of observations with a learned model.

    Args:
        network: evaluates observations and imagined steps.
        spec: the environment's shapes and number of players.
        config: algorithm and constants.
    """

    def __init__(self, network: InferenceModel, spec: EnvSpec, config: SearchConfig) -> None:
        """Keeps the arguments; the latent pool is made at the first search."""
        self.network, self.spec, self.config = network, spec, config
        self.edge_discount = -config.discount if spec.num_players == 2 else config.discount
        self._pool = torch.empty(0)

    def search(
        self,
        observations: NDArray,
        legal_actions: NDArray[np.bool_],
        rng: int | np.random.Generator | NDArray[np.uint64],
        *,
        num_simulations: int | None = None,
        explore: bool = False,
        temperature: float | NDArray[np.float32] = 0.0,
        gumbel_scale: float | None = None,
    ) -> SearchResult:
        """Searches one tree per observation.

        Args:
            observations: [B, *observation_shape].
            legal_actions: [B, A] bool, at least one True per row.
            rng: seed, generator, or [B] uint64 with one stream per root.
            num_simulations: per root; the configured number when None.
            explore: draw the noise of self-play (Gumbel or Dirichlet) at the root.
            temperature: scalar or [B], PUCT only: of the action drawn from the visits, 0 is greedy.
            gumbel_scale: overrides the noise of the Gumbel root; 1 while exploring, else 0.

        Returns:
            The planner's SearchResult.
        """
        config = self.config
        simulations = config.num_simulations if num_simulations is None else num_simulations
        batch = len(observations)
        root = self.network.initial(observations)
        pool = self._latent_pool(max(simulations, 0) + 1, batch, root.latent)
        flat_pool = pool.view(-1, pool.shape[-1])
        rows = np.arange(batch, dtype=np.int64)
        discount = np.full(batch, self.edge_discount, np.float32)

        def recurrent_fn(
            parent_index: NDArray[np.int32], action: NDArray[np.int32], node_index: int
        ) -> mcts.RecurrentOutput:
            parents = flat_pool.index_select(0, torch.from_numpy(parent_index * np.int64(batch) + rows))
            out = self.network.recurrent(parents, action)
            pool[node_index] = out.latent
            return mcts.RecurrentOutput(out.reward, discount, out.prior_logits, out.value)

        shared: dict[str, Any] = {"invalid_actions": ~legal_actions, "rng": rng, "max_depth": config.max_depth}
        root_output = mcts.RootOutput(root.prior_logits, root.value)
        if config.algorithm == "gumbel":
            scale = float(explore) if gumbel_scale is None else gumbel_scale
            return mcts.gumbel_muzero_policy(
                root_output,
                recurrent_fn,
                simulations,
                qtransform=mcts.qtransform_completed_by_mix_value(
                    value_scale=config.value_scale, maxvisit_init=config.maxvisit_init, epsilon=config.rescale_floor
                ),
                max_num_considered_actions=config.max_num_considered_actions,
                gumbel_scale=scale,
                **shared,
            )
        return mcts.muzero_policy(
            root_output,
            recurrent_fn,
            simulations,
            qtransform=self._puct_qtransform(),
            dirichlet_fraction=config.dirichlet_fraction if explore else 0.0,
            dirichlet_alpha=config.dirichlet_alpha,
            pb_c_init=config.pb_c_init,
            pb_c_base=config.pb_c_base,
            temperature=temperature,
            **shared,
        )

    def _puct_qtransform(self) -> mcts.QTransform:
        if self.config.qtransform == "tree_min_max":
            return mcts.qtransform_by_tree_min_max()
        if self.config.qtransform == "siblings":
            return mcts.qtransform_by_parent_and_siblings()
        if self.spec.value_bounds is None:
            raise ValueError(
                f"search.qtransform: min_max needs known value bounds, {self.spec.name} states none; "
                "use siblings or tree_min_max"
            )
        low, high = self.spec.value_bounds
        return mcts.qtransform_by_min_max(min_value=low, max_value=high)

    def _latent_pool(self, nodes: int, batch: int, root_latent: torch.Tensor) -> torch.Tensor:
        shape = (nodes, batch, root_latent.shape[-1])
        if self._pool.shape != shape or self._pool.dtype != root_latent.dtype:
            self._pool = torch.empty(shape, dtype=root_latent.dtype)
        self._pool[0] = root_latent
        return self._pool
