"""Worlds whose numbers are hashes of the path: the same to the bit on every device, for searches here and there."""

from __future__ import annotations

import numpy as np
import torch

import mcts
from mcts.device import RecurrentTensors

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def _signed(number):
    return number - 2**64 if number >= 2**63 else number


def _mix(x):
    """Hashes every element of an int64 tensor: the output function of splitmix64."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ ((x >> shift) & (2 ** (64 - shift) - 1))) * _signed(factor)
    return x ^ ((x >> 31) & (2**33 - 1))


class HashWorld:
    """A world that needs no more than integer arithmetic; latents are one int64 for each root.

    Args:
        num_actions: A.
        discount: of edges that do not end the episode.
        terminal: share of edges that end it.
        grid: values and rewards are multiples of 1 / grid, and logits whole numbers: provokes ties.
        forbidden: share of logits below the root that are -inf.
        fault: latents whose value is NaN.
    """

    def __init__(self, num_actions, *, discount=0.97, terminal=0.1, grid=None, forbidden=0.0, fault=None):
        self.num_actions, self.discount, self.terminal = num_actions, discount, terminal
        self.grid, self.forbidden, self.fault = grid, forbidden, fault

    def latents(self, num_roots, seed=0, device=DEVICE):
        return _mix(torch.arange(num_roots, device=device) + 1000 * seed).unsqueeze(1)

    def root(self, latents):
        """Returns logits and values of the roots."""
        return self._logits(latents), self._value(latents)

    def __call__(self, latents, actions):
        following = _mix(latents + (actions.unsqueeze(1) + 1) * 0x9E3779B97F4A7C1)
        reward = self._rounded(4.0 * self._unit(following, 1)[:, 0] - 2.0)
        ends = self._unit(following, 2)[:, 0] < self.terminal
        discount = torch.where(ends, 0.0, torch.full_like(reward, self.discount))
        logits = self._logits(following)
        if self.forbidden:
            lanes = torch.arange(self.num_actions, device=logits.device)
            drop = (self._unit(following + 7 * lanes, 3) < self.forbidden) & (lanes != following % self.num_actions)
            logits = torch.where(drop, -torch.inf, logits)
        value = self._value(following)
        if self.fault is not None:
            value = torch.where(following[:, 0] == self.fault, torch.nan, value)
        return RecurrentTensors(following, reward, discount, logits, value)

    def on_host(self, latents, num_nodes):
        """Returns the same world as `mcts.RecurrentFn`, for searches that begin at some latents."""
        pool = torch.zeros((num_nodes, *latents.shape), dtype=latents.dtype)
        pool[0] = latents.cpu()

        def recurrent_fn(parent_index, action, node_index):
            parents = torch.from_numpy(parent_index.astype(np.int64))
            output = self(pool[parents, torch.arange(len(parents))], torch.from_numpy(action.astype(np.int64)))
            pool[node_index] = output.latents
            return mcts.RecurrentOutput(*(field.numpy() for field in output[1:]))

        return recurrent_fn

    def _unit(self, latents, purpose):
        bits = _mix(_mix(latents + purpose * 0x1234567) + 0x9E3779B97F4A7C1)
        return ((bits >> 12) & (2**52 - 1)).double() * 2.0**-52

    def _rounded(self, x):
        return (torch.round(x * self.grid) / self.grid if self.grid else x).float()

    def _value(self, latents):
        return self._rounded(2.0 * self._unit(latents, 4)[:, 0] - 1.0)

    def _logits(self, latents):
        lanes = torch.arange(self.num_actions, device=latents.device)
        logits = 8.0 * self._unit(latents + 3 * lanes, 5) - 4.0
        return (logits.round() if self.grid else logits).float()


def both(policy, world, num_roots, num_simulations, *, device=DEVICE, seed=0, graph=True, **options):
    """Makes the same search on the host and on a device; returns both results, the host's first.

    Args:
        policy: of `mcts`.
        world: the network of both.
        num_roots: B.
        num_simulations: S.
        device: of the second search.
        seed: of the roots, and of the noise.
        graph: of the second search.
        **options: of the policy, `invalid_actions` included.
    """
    from mcts.device import DeviceSearch

    latents = world.latents(num_roots, seed, device)
    logits, value = world.root(latents)
    per_search = {
        name: options.pop(name) for name in ("invalid_actions", "gumbel_scale", "temperature") if name in options
    }
    root = mcts.RootOutput(logits.cpu().numpy(), value.cpu().numpy())
    fn = world.on_host(latents, num_simulations + 1)
    host = policy(root, fn, num_simulations, rng=seed, **options, **per_search)
    search = DeviceSearch(policy, num_simulations, world, graph=graph, **options)
    return host, search(latents, logits, value, rng=seed, **per_search).to_host()
