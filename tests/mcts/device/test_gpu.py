"""What only a GPU can show: full sizes, and the CUDA graph."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import mcts
from mcts.device import DeviceSearch, RecurrentTensors
from tests.mcts.models import random_masks
from tests.mcts.scenarios import POLICIES, QTRANSFORMS

from .test_agreement import WORLDS, assert_same
from .worlds import HashWorld, both

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("qtransform", QTRANSFORMS, ids=lambda qtransform: type(qtransform).__name__)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("graph", [True, False], ids=["graph", "launches"])
def test_the_same_search_as_on_the_host(policy, qtransform, world, graph, device, seed):
    rng = np.random.default_rng(seed)
    for num_roots, num_simulations, num_actions, max_depth in (
        (256, 50, 18, None),
        (64, 100, 7, 4),
        (32, 60, 362, None),
    ):
        options = {
            "qtransform": qtransform,
            "max_depth": max_depth,
            "invalid_actions": random_masks(rng, num_roots, num_actions),
        }
        made = HashWorld(num_actions, **WORLDS[world])
        assert_same(
            *both(POLICIES[policy], made, num_roots, num_simulations, device=device, seed=seed, graph=graph, **options)
        )


def linear(device, seed=0):
    """Returns a small network with weights of its own, as a function and its weights."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(16 + 4, 16 + 4 + 2, generator=generator).to(device)

    def network(latents, actions):
        hidden = torch.cat([latents, torch.nn.functional.one_hot(actions, 4).float()], 1) @ weights / 4.0
        reward, value = hidden[:, 20].tanh(), hidden[:, 21].tanh()
        return RecurrentTensors(hidden[:, :16].tanh(), reward, torch.ones_like(reward), hidden[:, 16:20], value)

    return network, weights


def test_weights_may_change_in_place(device):
    network, weights = linear(device)
    latents = torch.randn(8, 16, device=device)
    root = torch.zeros(8, 4, device=device), torch.zeros(8, device=device)
    search = DeviceSearch(mcts.muzero_policy, 20, network)
    before = search(latents, *root, rng=0)
    assert search.reason is None
    weights.mul_(-1.0)
    after = search(latents, *root, rng=0)
    fresh = DeviceSearch(mcts.muzero_policy, 20, network, graph=False)(latents, *root, rng=0)
    assert not torch.equal(before.visit_counts, after.visit_counts)
    assert torch.equal(after.visit_counts, fresh.visit_counts)


def test_a_graph_gives_the_same_again_and_again(device):
    network, _ = linear(device)
    search = DeviceSearch(mcts.gumbel_muzero_policy, 20, network)
    for num_roots in (5, 64, 5):
        latents = torch.randn(num_roots, 16, device=device)
        root = torch.zeros(num_roots, 4, device=device), torch.zeros(num_roots, device=device)
        results = [search(latents, *root, rng=1) for _ in range(3)]
        for result in results[1:]:
            assert torch.equal(result.visit_counts, results[0].visit_counts)
            assert torch.equal(result.action_weights, results[0].action_weights)


def test_what_cannot_be_recorded_runs_launch_by_launch(device):
    network, _ = linear(device)

    def waiting(latents, actions):
        output = network(latents, actions)
        assert float(output.reward.sum()) < 1e9  # waits for the device
        return output

    latents = torch.randn(6, 16, device=device)
    root = torch.zeros(6, 4, device=device), torch.zeros(6, device=device)
    search = DeviceSearch(mcts.muzero_policy, 10, waiting)
    with pytest.warns(RuntimeWarning, match="the search runs launch by launch"):
        result = search(latents, *root, rng=0)
    assert search.reason
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(latents, *root, rng=1)  # told once
    expected = DeviceSearch(mcts.muzero_policy, 10, network)(latents, *root, rng=0)
    assert torch.equal(result.visit_counts, expected.visit_counts)


def test_a_bad_number_inside_a_graph_is_told(device):
    network, _ = linear(device)
    latents = torch.randn(6, 16, device=device)
    root = torch.zeros(6, 4, device=device), torch.zeros(6, device=device)
    search = DeviceSearch(mcts.muzero_policy, 10, network)
    search(latents, *root, rng=0)
    latents[3] = torch.nan
    with pytest.raises(ValueError, match="network, simulation 0, root 3"):
        search(latents, *root, rng=0)


def test_what_does_not_fit_is_refused_with_what_would(device):
    network, _ = linear(device)
    huge = torch.empty(1, 16, device=device).expand(2**31, 16)
    root = torch.empty(1, 4, device=device).expand(2**31, 4), torch.empty(1, device=device).expand(2**31)
    with pytest.raises(MemoryError, match=r"a search of 2147483648 roots, .* roots would fit"):
        DeviceSearch(mcts.muzero_policy, 200, network)(huge, *root, rng=0)
