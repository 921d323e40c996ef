"""A search of one size on a device: its memory, its launches, and the CUDA graph that holds them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import triton

from mcts.device.arrays import DeviceTrees
from mcts.device.formulas import Answer, Edges, Rules
from mcts.device.kernels import grow, plant
from mcts.device.outcome import Outcome, finish_gumbel, finish_puct
from mcts.qtransforms import NATIVE_QTRANSFORMS, QTransform
from mcts.seq_halving import considered_visits
from mcts.settings import GumbelSettings, PuctSettings, exploration_table

Latents = torch.Tensor | tuple[torch.Tensor, ...]


class RecurrentTensors(NamedTuple):
    """Holds the network's prediction for one new edge and node of every root, on the device.

    Attributes:
        latents: a tensor [B, ...], or a tuple of such, as the network takes them.
        reward: [B] float, seen by the player who took the action.
        discount: [B] float in [-1, 1]; -1 hands the move to the opponent, 0 ends the episode.
        prior_logits: [B, A] float, policy logits at the new node.
        value: [B] float, seen by the player to move at the new node.
    """

    latents: Latents
    reward: torch.Tensor
    discount: torch.Tensor
    prior_logits: torch.Tensor
    value: torch.Tensor


Network = Callable[[Latents, torch.Tensor], RecurrentTensors]
"""Called once per simulation as `network(latents, actions)`, actions [B] int64; row b belongs to root b."""


@dataclass(frozen=True)
class Inputs:
    """Holds what a search is given, in memory that stays where it is.

    Attributes:
        latents: of the roots.
        prior_logits: [B, A] float32.
        value: [B] float32.
        invalid_actions: [B, A] int8, 1 where forbidden.
        gumbel: [B, A] float64, standard Gumbel noise: of the root's actions, or of the draw of the action with PUCT.
        dirichlet: [B, A] float64, noise of PUCT's root.
        scale: [B] float64, of `gumbel`; with PUCT the temperature.
    """

    latents: tuple[torch.Tensor, ...]
    prior_logits: torch.Tensor
    value: torch.Tensor
    invalid_actions: torch.Tensor
    gumbel: torch.Tensor
    dirichlet: torch.Tensor
    scale: torch.Tensor


class Plan:
    """Makes searches of B roots with A actions.

    Args:
        settings: checked settings of either policy.
        network: evaluates edges.
        latents: of the roots, for their shapes, dtypes and device.
        as_tuple: the network takes and returns a tuple of latents.
        num_actions: A.

    Attributes:
        inputs: what the next `run` searches with.
        outcome: what the last one found.
        trees: of the last one.
        alpha: [1] float64, PUCT only, concentration of the root's noise.
    """

    def __init__(
        self,
        settings: GumbelSettings | PuctSettings,
        network: Network,
        latents: tuple[torch.Tensor, ...],
        as_tuple: bool,
        num_actions: int,
    ) -> None:
        num_roots, device = len(latents[0]), latents[0].device
        self._settings, self._network, self._as_tuple = settings, network, as_tuple
        self._sizes = num_roots, num_actions
        num_nodes = settings.num_simulations + 1
        self._device = device
        self.inputs = Inputs(
            latents=tuple(torch.empty_like(latent, memory_format=torch.contiguous_format) for latent in latents),
            prior_logits=self._zeros(torch.float32, num_roots, num_actions),
            value=self._zeros(torch.float32, num_roots),
            invalid_actions=self._zeros(torch.int8, num_roots, num_actions),
            gumbel=self._zeros(torch.float64, num_roots, num_actions),
            dirichlet=self._zeros(torch.float64, num_roots, num_actions),
            scale=self._zeros(torch.float64, num_roots),
        )
        self._pool = [latent.new_empty((num_nodes, *latent.shape)) for latent in latents]
        self.trees = DeviceTrees.allocate(num_roots, num_nodes, num_actions, device)
        self._edges = Edges(
            parents=self._zeros(torch.int32, num_roots),
            actions=self._zeros(torch.int64, num_roots),
            nodes=self._zeros(torch.int32, num_roots),
            rows=self._zeros(torch.int64, num_roots),
        )
        self.outcome = Outcome(
            action=self._zeros(torch.int32, num_roots),
            action_weights=self._zeros(torch.float32, num_roots, num_actions),
            visit_counts=self._zeros(torch.int32, num_roots, num_actions),
            qvalues=self._zeros(torch.float32, num_roots, num_actions),
            root_value=self._zeros(torch.float32, num_roots),
            improved_value=self._zeros(torch.float32, num_roots),
        )
        self._numbers = _constants(settings.qtransform)
        self._constants = torch.tensor(self._numbers, dtype=torch.float64, device=device)
        self._launch = {"num_warps": 1, "enable_fp_fusion": False}
        self._kind = {
            "KIND": NATIVE_QTRANSFORMS.index(type(settings.qtransform)),
            "RESCALE": bool(getattr(settings.qtransform, "rescale_values", False)),
            "MIXED": bool(getattr(settings.qtransform, "use_mixed_value", False)),
            "BLOCK": triton.next_power_of_2(num_actions),
        }
        if isinstance(settings, GumbelSettings):
            self._max_considered = min(settings.max_num_considered_actions, num_actions)
            table = [considered_visits(m, settings.num_simulations) for m in range(self._max_considered + 1)]
            self._schedules = torch.tensor(table, dtype=torch.int32, device=device)
            self._exploration = self._constants
        else:
            self.alpha = torch.tensor([settings.dirichlet_alpha], dtype=torch.float64, device=device)
            factors = exploration_table(settings.num_simulations + 1, settings.pb_c_init, settings.pb_c_base)
            self._exploration = torch.tensor(factors, dtype=torch.float64, device=device)
        self._graph: torch.cuda.CUDAGraph | None = None

    def take_numbers(self, qtransform: QTransform) -> None:
        """Searches with the numbers of a Q-transform from now on; its kind is that of the settings."""
        numbers = _constants(qtransform)
        if numbers != self._numbers:
            self._numbers = numbers
            self._constants.copy_(torch.tensor(numbers, dtype=torch.float64))

    def _zeros(self, dtype: torch.dtype, *shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype, device=self._device)

    @torch.no_grad()
    def run(self) -> None:
        """Searches; the launches are queued on the current stream."""
        self.trees.version += 1
        if self._graph is not None:
            self._graph.replay()
        else:
            self._search()

    def warm_up(self) -> None:
        """Makes a search of nothing, on a stream of its own: compiles kernels, and whatever the network makes once."""
        self._stream = torch.cuda.Stream(self._device)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.no_grad(), torch.cuda.stream(self._stream):
            self._search()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def capture(self) -> None:
        """Records the launches of a whole search, which later runs repeat; after `warm_up`, on the same stream.

        Raises:
            RuntimeError: the network does something that a CUDA graph cannot hold.
        """
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            self._search()
        self._graph = graph

    def _search(self) -> None:
        num_roots, num_actions = self._sizes
        num_simulations = self._settings.num_simulations
        gumbel = isinstance(self._settings, GumbelSettings)
        grid, tree, edges = (num_roots,), self.trees.pointers(), self._edges
        depth = min(self._settings.max_depth or num_simulations + 1, num_simulations + 1)
        sizes = num_simulations, num_simulations + 1, num_actions, num_roots, depth
        logits, rules = self._prepare()
        value = self.inputs.value
        kind = self._kind | {"GUMBEL": gumbel} | self._launch
        for pool, latent in zip(self._pool, self.inputs.latents, strict=True):
            pool[0].copy_(latent)
        plant[grid](
            tree, rules, edges, Answer(value, value, logits, value), self.inputs.invalid_actions, *sizes, **kind
        )
        for simulation in range(num_simulations):
            answer = self._ask(simulation)
            grow[grid](tree, rules, edges, answer, simulation, *sizes, **kind)
        if gumbel:
            finish_gumbel[grid](
                tree, rules, self.outcome, num_simulations + 1, num_actions, **self._kind, **self._launch
            )
        else:
            noise = self.inputs.gumbel, self.inputs.scale
            block = {"BLOCK": self._kind["BLOCK"]}
            finish_puct[grid](tree, self.outcome, *noise, num_simulations + 1, num_actions, **block, **self._launch)

    def _prepare(self) -> tuple[torch.Tensor, Rules]:
        """Returns the logits that the roots are searched with, and what actions are chosen by."""
        forbidden = self.inputs.invalid_actions != 0
        logits = self.inputs.prior_logits.masked_fill(forbidden, -torch.inf)
        if isinstance(self._settings, GumbelSettings):
            scores = logits.double() - logits.amax(1, keepdim=True).double()
            scores += self.inputs.scale[:, None] * self.inputs.gumbel
            considered = (~forbidden).sum(1).clamp(max=self._max_considered)
            return logits, Rules(self._constants, self._exploration, scores, self._schedules[considered])
        fraction = self._settings.dirichlet_fraction
        if fraction:
            mixed = (1.0 - fraction) * logits.double().softmax(1) + fraction * self.inputs.dirichlet
            # a row that is no policy stays none
            logits = torch.where(forbidden, logits, mixed.log().float())
        return logits, Rules(self._constants, self._exploration, self._constants, self._constants)

    def _ask(self, simulation: int) -> Answer:
        """Evaluates the selected edges, and keeps the latents they lead to."""
        edges = self._edges
        gathered = tuple(pool.flatten(0, 1).index_select(0, edges.rows) for pool in self._pool)
        output = self._network(gathered if self._as_tuple else gathered[0], edges.actions)
        if not isinstance(output, tuple) or len(output) != 5:
            raise TypeError(f"network: expected a mcts.device.RecurrentTensors, got {type(output).__name__}")
        latents, reward, discount, prior_logits, value = output
        parts = latents if isinstance(latents, tuple) else (latents,)
        if len(parts) != len(self._pool):
            raise ValueError(f"network: expected {len(self._pool)} latents, as it was given, got {len(parts)}")
        for pool, latent in zip(self._pool, parts, strict=True):
            if latent.shape != pool.shape[1:]:
                raise ValueError(
                    f"network: expected latents of shape {tuple(pool.shape[1:])}, as it was given, got "
                    f"{tuple(latent.shape)}"
                )
            if simulation + 1 < len(pool) - 1:
                pool[simulation + 1].copy_(latent)
        num_roots, num_actions = self._sizes
        return Answer(
            reward=self._field("reward", reward, (num_roots,)),
            discount=self._field("discount", discount, (num_roots,)),
            prior_logits=self._field("prior_logits", prior_logits, (num_roots, num_actions)),
            value=self._field("value", value, (num_roots,)),
        )

    def _field(self, name: str, field: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        if not isinstance(field, torch.Tensor) or not field.is_floating_point():
            kind = field.dtype if isinstance(field, torch.Tensor) else type(field).__name__
            raise TypeError(f"network: expected {name} to be a tensor of floats, got {kind}")
        if field.shape != shape or field.device != self._device:
            raise ValueError(
                f"network: expected {name} of shape {shape} on {self._device}, got {tuple(field.shape)} on "
                f"{field.device}"
            )
        return field.float().contiguous()


def _constants(qtransform: QTransform) -> list[float]:
    """Returns the numbers of a Q-transform in the order in which `mcts.device.formulas.transform` reads them."""
    names = ("min_value", "max_value") if hasattr(qtransform, "min_value") else ("value_scale", "maxvisit_init")
    return [getattr(qtransform, name, 1.0) for name in ("epsilon", *names)]
