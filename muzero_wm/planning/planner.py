"""The planner joins the network to the tree search.

The search speaks in indices; the network's sessions own the latents, or the positions where the rules are the model.
Large batches are searched in shards, see
`muzero_wm.planning.shards`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import mcts
from mcts import SearchResult
from mcts._random import root_keys
from mcts.types import RESULT_ARRAYS
from muzero_wm.basis.errors import UserError
from muzero_wm.config import SearchConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.inference.device import DeviceSession
from muzero_wm.inference.inference import InferenceModel, Session
from muzero_wm.inference.rules import RulesSession, checked_states, rules_of
from muzero_wm.inference.symmetric import SymmetricModel, SymmetricSession
from muzero_wm.model.device import CPU
from muzero_wm.planning.shards import SHARD_ROOTS, run_shards, shard_bounds

__all__ = ["Planner", "SearchResult", "leaves_for"]

_FULL_BATCH = 16
_SIMULATIONS_PER_LEAF = 50
_LONGEST_GRAPH = 800  # simulations; a graph of more takes long to record, and a tree of so many is for analysis


class Planner:
    """Searches batches of observations with a learned model, or of positions by the rules of their game.

    Args:
        network: evaluates observations and imagined steps.
        spec: the environment's shapes and number of players.
        config: algorithm and constants.
        workers: threads that share the shards of a large batch; the results do not depend on it.
        shard_roots: about how many roots make a shard; the shapes that the network sees depend on it, and so does the
            last digit of the results.

    Attributes:
        game: the rules that are the model; None with a learned one.

    Raises:
        UserError: `search.tree` is device, and trees cannot be there; or `search.model` is rules, and they are unknown.
    """

    def __init__(
        self,
        network: InferenceModel,
        spec: EnvSpec,
        config: SearchConfig,
        workers: int = 1,
        shard_roots: int = SHARD_ROOTS,
    ) -> None:
        """Keeps the arguments; latent pools are made at the first search."""
        symmetric = config.symmetries and len(spec.symmetries) > 1
        self.network = SymmetricModel(network, spec.symmetries) if symmetric else network
        self.spec, self.config = spec, config
        self.workers, self.shard_roots = workers, shard_roots
        # where players do not alternate strictly, the network knows the signs of edges
        known_opponent = spec.num_players == 2 and spec.alternating
        self.edge_discount = -config.discount if known_opponent else config.discount
        self.game = rules_of(spec) if config.model == "rules" else None
        self._sessions: list[Session | SymmetricSession | RulesSession] = []
        self._there: DeviceSession | None = None
        # what stands in for a network need not know of devices
        if config.tree == "device" or (config.tree == "auto" and getattr(network, "device", CPU).type == "cuda"):
            rules = "positions are played on the CPU with search.model rules"
            found = rules if self.game is not None else self.network.device_session(self.edge_discount)
            if isinstance(found, DeviceSession):
                self._there = found
            elif config.tree == "device":
                raise UserError(f"search.tree: device was asked for, but {found}; use auto or host")

    def search(
        self,
        observations: NDArray,
        legal_actions: NDArray[np.bool_],
        rng: int | np.random.Generator | NDArray[np.uint64],
        *,
        states: NDArray[np.int64] | None = None,
        num_simulations: int | None = None,
        explore: bool = False,
        temperature: float | NDArray[np.float64] = 0.0,
        gumbel_scale: float | NDArray[np.float64] | None = None,
        leaves_per_step: int | Literal["auto"] = 1,
        tree: bool = True,
    ) -> SearchResult:
        """Searches one tree per observation.

        Args:
            observations: [B, *observation_shape].
            legal_actions: [B, A] bool, at least one True per row.
            rng: seed, generator, or [B] uint64 with one stream per root.
            states: [B, W] int64, the true positions that are observed, with `search.model: rules`; else not read.
            num_simulations: per root; the configured number when None.
            explore: draw the noise of self-play (Gumbel or Dirichlet) at the root.
            temperature: scalar or [B], PUCT only: of the action drawn from the visits, 0 is greedy.
            gumbel_scale: scalar or [B], overrides the noise of the Gumbel root; 1 while exploring, else 0.
            leaves_per_step: simulations of one root that are evaluated together; "auto" takes several for few roots
                with many simulations, see `leaves_for`.
            tree: the result's trees are wanted; without, those that grew on a device stay there, and its tree is empty.

        Returns:
            The planner's SearchResult.

        Raises:
            UserError: the rules are the model, and the states are missing or not positions in play.
        """
        if self.game is not None:
            legal_actions = checked_states(self.game, states, observations, legal_actions)
        batch = len(observations)
        simulations = self.config.num_simulations if num_simulations is None else num_simulations
        leaves = leaves_for(batch, simulations) if leaves_per_step == "auto" else leaves_per_step
        noise = float(explore) if gumbel_scale is None else gumbel_scale
        noises, temperatures = (np.broadcast_to(np.asarray(x, np.float64), batch) for x in (noise, temperature))
        keys = root_keys(rng, batch)
        if self._there is not None and leaves == 1 and 0 < simulations <= _LONGEST_GRAPH and batch:
            policy, options, per_search = self._policy(explore, noises, temperatures)
            per_search |= {"invalid_actions": ~legal_actions, "rng": keys}
            return self._there.search(policy, simulations, observations, options, per_search, tree=tree)
        bounds = shard_bounds(max(batch, 1), self.shard_roots)
        workers = min(self.workers, len(bounds))
        while len(self._sessions) < workers:
            made = self.network.session() if self.game is None else self.network.rules_session(self.game)
            self._sessions.append(made)
        seen: NDArray = observations if states is None or self.game is None else states

        def search_shard(shard: int, worker: int) -> SearchResult:
            rows = slice(*bounds[shard])
            logits, value, recurrent_fn = self._sessions[worker].start(
                seen[rows], max(simulations, 0) + 1, self.edge_discount, leaves
            )
            policy, options, per_search = self._policy(explore, noises[rows], temperatures[rows])
            if leaves != 1:
                options["leaves_per_step"] = leaves
            per_search |= {"invalid_actions": ~legal_actions[rows], "rng": keys[rows]}
            return policy(mcts.RootOutput(logits, value), recurrent_fn, simulations, **options, **per_search)

        return _joined(run_shards(len(bounds), workers, search_shard))

    def stored_value(self, result: SearchResult) -> NDArray[np.float32]:
        """Returns the value [B] float32 of searched positions that targets are made of, by `search.stored_value`.

        The mean over the visits is what the search met on the way, the forced visits of sequential halving included;
        the improved value is that of the policy that is learnt from. For one player the mean is too low to end
        returns with; between two, whose outcomes are half of the target, neither is better (docs/LOG.md).
        """
        kind = self.config.stored_value
        if kind == "auto":
            kind = "improved" if self.spec.num_players == 1 else "mean"
        return result.improved_value if kind == "improved" else result.root_value

    def _policy(
        self, explore: bool, noises: NDArray[np.float64], temperatures: NDArray[np.float64]
    ) -> tuple[Callable[..., SearchResult], dict[str, Any], dict[str, Any]]:
        """Returns the policy of the configuration, its settings, and what belongs to one search of it."""
        config = self.config
        if config.algorithm == "gumbel":
            qtransform = mcts.qtransform_completed_by_mix_value(
                value_scale=config.value_scale,
                maxvisit_init=config.maxvisit_init,
                epsilon=max(config.rescale_floor, self.network.q_scale),
            )
            options = {
                "qtransform": qtransform,
                "max_num_considered_actions": config.max_num_considered_actions,
                "max_depth": config.max_depth,
            }
            return mcts.gumbel_muzero_policy, options, {"gumbel_scale": noises}
        options = {
            "qtransform": self._puct_qtransform(),
            "max_depth": config.max_depth,
            "dirichlet_fraction": config.dirichlet_fraction if explore else 0.0,
            "dirichlet_alpha": config.dirichlet_alpha,
            "pb_c_init": config.pb_c_init,
            "pb_c_base": config.pb_c_base,
        }
        return mcts.muzero_policy, options, {"temperature": temperatures}

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


def leaves_for(num_roots: int, num_simulations: int) -> int:
    """Returns how many leaves of one root to evaluate together, for play and analysis.

    A call of the network costs nearly the same for one row as for sixteen, so few roots with many simulations take
    several leaves at once: until the batch has 16 rows, but never more than one in fifty of the simulations, because
    each of them is chosen without knowing what the others find.

    Args:
        num_roots: B.
        num_simulations: S.

    Returns:
        K >= 1.
    """
    return max(1, min(_FULL_BATCH // max(num_roots, 1), num_simulations // _SIMULATIONS_PER_LEAF))


def _joined(parts: list[SearchResult]) -> SearchResult:
    """Returns the results of the shards as one."""
    if len(parts) == 1:
        return parts[0]
    roots = sum(part.tree.num_roots for part in parts)
    tree = mcts.Tree.allocate(roots, parts[0].tree.num_nodes, parts[0].tree.num_actions)
    np.concatenate([part.tree.nodes for part in parts], out=tree.nodes)
    np.concatenate([part.tree.prior_logits for part in parts], out=tree.prior_logits)
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in RESULT_ARRAYS}
    return SearchResult(**arrays, tree=tree)
