"""Searches on a device: the two policies of `mcts` for a network that is a function of tensors."""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mcts import _random, checks
from mcts.device.arrays import DeviceTrees
from mcts.device.noise import draw_dirichlet, draw_gumbel
from mcts.device.plan import Latents, Network, Plan
from mcts.device.result import DeviceResult
from mcts.policies import checked_settings
from mcts.qtransforms import NATIVE_QTRANSFORMS, QTransform
from mcts.settings import GumbelSettings, Rng
from mcts.types import SearchResult

_MOST_PLANS = 8


class DeviceSearch:
    """Makes searches whose trees and network are on one device, for any number of roots.

    The first search of a size allocates its memory and records all of its launches, those of the network included, as
    one CUDA graph; the next ones copy their inputs and replay it. So the network has to work on the same memory every
    time: weights may be changed in place, and are read as they are when a search is made. What cannot be recorded, for
    example because the network waits for the device, runs launch by launch, and a warning says why.

    On a CPU the kernels run in Triton's interpreter, which is for tests: set TRITON_INTERPRET=1 before the import.

    Args:
        policy: `mcts.muzero_policy` or `mcts.gumbel_muzero_policy`.
        num_simulations: S >= 1, of each search.
        network: maps latents and actions to `RecurrentTensors`; called once per simulation for all roots.
        graph: record a CUDA graph; if False every launch is made by itself.
        **options: keyword arguments of the policy, but for `rng`, `invalid_actions`, `temperature` and `gumbel_scale`,
            which are given to every call, and for `leaves_per_step`, `kept`, `num_threads` and `backend`, which are
            the host's.

    Raises:
        TypeError: a setting has the wrong type, or there is no such setting here.
        ValueError: a setting is out of range.

    Example:
        >>> import torch  # doctest: +SKIP
        >>> search = DeviceSearch(mcts.gumbel_muzero_policy, 16, network)  # doctest: +SKIP
        >>> result = search(latents, prior_logits, value, rng=0)  # doctest: +SKIP
    """

    def __init__(
        self,
        policy: Callable[..., SearchResult],
        num_simulations: int,
        network: Network,
        *,
        graph: bool = True,
        **options: Any,
    ) -> None:
        checks.function("network", network)
        for name in ("leaves_per_step", "num_threads", "backend", "virtual_loss"):
            if name in options:
                raise TypeError(f"{name}: expected a setting of a search on a device, this is one of the host's")
        self._settings = checked_settings(policy, num_simulations, options)
        checks.native_qtransform(self._settings.qtransform, NATIVE_QTRANSFORMS)
        self._network, self._graph = network, graph
        self._plans: OrderedDict[Any, Plan] = OrderedDict()
        self.reason: str | None = None
        """Why the last search ran launch by launch; None if it was a graph."""

    @property
    def num_simulations(self) -> int:
        """Returns S."""
        return self._settings.num_simulations

    def __call__(
        self,
        latents: Latents,
        prior_logits: torch.Tensor,
        value: torch.Tensor,
        *,
        rng: Rng | None = None,
        gumbel: torch.Tensor | None = None,
        dirichlet: torch.Tensor | None = None,
        invalid_actions: torch.Tensor | npt.NDArray[np.bool_] | None = None,
        gumbel_scale: float | npt.ArrayLike | torch.Tensor = 1.0,
        temperature: float | npt.ArrayLike | torch.Tensor = 1.0,
        qtransform: QTransform | None = None,
        check: bool = True,
    ) -> DeviceResult:
        """Searches B roots.

        Args:
            latents: of the roots, a tensor [B, ...] or a tuple of such.
            prior_logits: [B, A] float, the network's policy logits at the roots.
            value: [B] float, the network's value of the roots.
            rng: a seed, a NumPy generator, or [B] uint64 keys; gives the noise that the policy on the host has.
            gumbel: [B, A] float, standard Gumbel noise in the place of what `rng` gives: of the root's actions, or of
                the draw of the action with PUCT.
            dirichlet: [B, A] float, noise of PUCT's root prior in the place of what `rng` gives; each row sums to 1 and
                is 0 where forbidden.
            invalid_actions: [B, A] bool, True = forbidden at the root; None forbids nothing.
            gumbel_scale: Gumbel only: scale of the noise, one for all or [B], >= 0.
            temperature: PUCT only: one for all or [B], >= 0; 0 takes the most visited.
            qtransform: of the kind and with the switches of the search's own, with other numbers for this search.
            check: wait for the search and raise what went wrong in it; without, call `DeviceResult.check` later.

        Returns:
            The result, in memory of its own.

        Raises:
            ValueError: an argument or an answer of the network has the wrong shape or unusable numbers.
            TypeError: an argument or an answer of the network has the wrong type.
            MemoryError: the device has not enough memory; says how many roots would fit.
        """
        parts = latents if isinstance(latents, tuple) else (latents,)
        sizes = self._check_tensors(parts, prior_logits, value)
        if qtransform is not None and not _alike(qtransform, self._settings.qtransform):
            raise ValueError(
                f"qtransform: expected one like {self._settings.qtransform} with other numbers, got {qtransform}"
            )
        forbidden = _as_tensor("invalid_actions", invalid_actions, sizes)
        with _current(prior_logits.device):
            plan = self._plan_for(parts, isinstance(latents, tuple), sizes)
            plan.take_numbers(qtransform or self._settings.qtransform)
            inputs = plan.inputs
            if forbidden is None:
                inputs.invalid_actions.zero_()
            else:
                inputs.invalid_actions.copy_(forbidden)
            inputs.scale.copy_(self._scale(gumbel_scale, temperature, sizes[0]))
            self._noise(plan, sizes, rng, gumbel, dirichlet)
            for target, source in zip(inputs.latents, parts, strict=True):
                target.copy_(source)
            inputs.prior_logits.copy_(prior_logits)
            inputs.value.copy_(value)
            plan.run()
            found = {name: tensor.clone() for name, tensor in plan.outcome._asdict().items()}
            result = DeviceResult(
                **found,
                failures=plan.trees.failures.clone(),
                _num_simulations=self.num_simulations,
                _trees=plan.trees,
                _version=plan.trees.version,
            )
        if check:
            result.check()
        return result

    def _scale(self, gumbel_scale: Any, temperature: Any, num_roots: int) -> torch.Tensor:
        """Returns the scale of the noise of each root, or one for all."""
        is_gumbel = isinstance(self._settings, GumbelSettings)
        name, scale = ("gumbel_scale", gumbel_scale) if is_gumbel else ("temperature", temperature)
        if isinstance(scale, torch.Tensor):
            return scale
        rows = 1 if isinstance(scale, (int, float)) else num_roots
        return torch.from_numpy(np.array(checks.per_root(name, scale, rows)))

    def _check_tensors(
        self, latents: tuple[torch.Tensor, ...], prior_logits: torch.Tensor, value: torch.Tensor
    ) -> tuple[int, int]:
        named = {"prior_logits": prior_logits, "value": value} | {
            f"latents[{i}]": part for i, part in enumerate(latents)
        }
        for name, tensor in named.items():
            if not isinstance(tensor, torch.Tensor):
                raise TypeError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")
        if prior_logits.ndim != 2 or 0 in prior_logits.shape:
            raise ValueError(f"prior_logits: expected shape (B, A), got {tuple(prior_logits.shape)}")
        num_roots, num_actions = prior_logits.shape
        if value.shape != (num_roots,):
            raise ValueError(f"value: expected shape ({num_roots},) as prior_logits say, got {tuple(value.shape)}")
        device = prior_logits.device
        for name, tensor in named.items():
            if tensor.ndim == 0 or len(tensor) != num_roots or tensor.device != device:
                raise ValueError(
                    f"{name}: expected {num_roots} rows on {device}, as prior_logits, got shape {tuple(tensor.shape)} "
                    f"on {tensor.device}"
                )
        if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
            raise ValueError(
                f"prior_logits: expected tensors on a CUDA device, got {device}; on a CPU use "
                f"mcts.{self._policy_name()}, or for tests set TRITON_INTERPRET=1 before the program starts"
            )
        return num_roots, num_actions

    def _policy_name(self) -> str:
        return "gumbel_muzero_policy" if isinstance(self._settings, GumbelSettings) else "muzero_policy"

    def _plan_for(self, latents: tuple[torch.Tensor, ...], as_tuple: bool, sizes: tuple[int, int]) -> Plan:
        """Returns the plan of a size, made at its first search; of the sizes not used for long the memory is freed."""
        key = (sizes[1], latents[0].device, as_tuple, *((latent.shape, latent.dtype) for latent in latents))
        if key in self._plans:
            self._plans.move_to_end(key)
            return self._plans[key]
        while len(self._plans) >= _MOST_PLANS:
            self._plans.popitem(last=False)
        _check_memory(latents, self.num_simulations + 1, *sizes)
        plan = Plan(self._settings, self._network, latents, as_tuple, sizes[1])
        self.reason = "graph=False" if not self._graph else None
        if latents[0].device.type != "cuda":
            self.reason = "the tensors are on a CPU"
        elif self._graph:
            plan.warm_up()  # what is wrong with the network itself is raised here
            try:
                plan.capture()
            except RuntimeError as error:
                torch.cuda.synchronize(latents[0].device)  # raises where the device itself is in trouble
                self.reason = str(error).strip().splitlines()[0]
                warnings.warn(
                    f"the search runs launch by launch, because a CUDA graph cannot hold the network: {self.reason}",
                    RuntimeWarning,
                    stacklevel=3,
                )
        self._plans[key] = plan
        return plan

    def _noise(
        self,
        plan: Plan,
        sizes: tuple[int, int],
        rng: Rng | None,
        gumbel: torch.Tensor | None,
        dirichlet: torch.Tensor | None,
    ) -> None:
        """Puts the noise of the roots where the search reads it."""
        settings = self._settings
        needs_dirichlet = not isinstance(settings, GumbelSettings) and settings.dirichlet_fraction > 0.0
        if rng is None:
            missing = "gumbel" if gumbel is None else "dirichlet" if needs_dirichlet and dirichlet is None else None
            if missing:
                raise TypeError(f"{missing}: expected a tensor of noise, or an rng to draw it from")
        else:
            keys = torch.from_numpy(_random.root_keys(rng, sizes[0]).view(np.int64)).to(plan.inputs.scale.device)
            purpose = _random.GUMBEL if isinstance(settings, GumbelSettings) else _random.ACTION
            draw_gumbel(keys, purpose, plan.inputs.gumbel)
            if needs_dirichlet:
                draw_dirichlet(keys, plan.alpha, plan.inputs.invalid_actions, plan.inputs.dirichlet)
        for name, noise, target in (
            ("gumbel", gumbel, plan.inputs.gumbel),
            ("dirichlet", dirichlet if needs_dirichlet else None, plan.inputs.dirichlet),
        ):
            given = _as_tensor(name, noise, sizes)
            if given is not None:
                target.copy_(given)


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Returns the context in which kernels are launched on a device, whichever is the current one outside."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _alike(one: QTransform, other: QTransform) -> bool:
    """Returns whether two Q-transforms differ in nothing but numbers, so that the same kernels have them."""
    switches = ("rescale_values", "use_mixed_value")
    return type(one) is type(other) and all(getattr(one, s, None) == getattr(other, s, None) for s in switches)


def _as_tensor(name: str, array: Any, shape: tuple[int, ...]) -> torch.Tensor | None:
    if array is None:
        return None
    tensor = array if isinstance(array, torch.Tensor) else torch.from_numpy(np.asarray(array))
    if name == "invalid_actions" and tensor.dtype != torch.bool:
        raise TypeError(f"{name}: expected bool, True = forbidden, got {tensor.dtype}")
    if tensor.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {tuple(tensor.shape)}")
    return tensor


def bytes_per_root(latents: tuple[torch.Tensor, ...], num_nodes: int, num_actions: int) -> int:
    """Returns the bytes that a search keeps for each root: its tree, its latents, what goes in and what comes out."""
    states = sum(latent[:1].numel() * latent.element_size() for latent in latents) * (num_nodes + 1)
    return DeviceTrees.bytes_per_root(num_nodes, num_actions) + states + 40 * num_actions + 80


def _check_memory(latents: tuple[torch.Tensor, ...], num_nodes: int, num_roots: int, num_actions: int) -> None:
    device = latents[0].device
    if device.type != "cuda":
        return
    each = bytes_per_root(latents, num_nodes, num_actions)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + unused
    if each * num_roots > free:
        raise MemoryError(
            f"a search of {num_roots} roots, {num_nodes - 1} simulations and {num_actions} actions takes "
            f"{each * num_roots / 2**30:.1f} GiB, {device} has {free / 2**30:.1f} GiB free: {free // each} roots "
            "would fit"
        )
