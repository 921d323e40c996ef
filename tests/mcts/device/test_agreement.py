"""A search on a device is the same search as on the host: the same visits, node by node."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mcts
from mcts.device import DeviceSearch
from tests.mcts.models import random_masks
from tests.mcts.scenarios import POLICIES, QTRANSFORMS

from .worlds import DEVICE, HashWorld, both

FIELDS = ("visits", "parent", "action", "value_sum", "qvalue", "reward", "discount", "raw_value", "prior_logit")
WORLDS = {
    "one player": {"discount": 0.97},
    "two players": {"discount": -1.0, "forbidden": 0.4},
    "ties": {"discount": 1.0, "grid": 1},
}


def assert_same(host, device):
    """Compares two results: what is counted to the last visit, numbers up to the rounding of exponentials."""
    np.testing.assert_array_equal(device.visit_counts, host.visit_counts)
    np.testing.assert_array_equal(device.action, host.action)
    for name in ("action_weights", "qvalues", "root_value", "improved_value"):
        np.testing.assert_allclose(getattr(device, name), getattr(host, name), rtol=1e-5, atol=1e-6, err_msg=name)
    for name in FIELDS:
        np.testing.assert_allclose(device.tree.nodes[name], host.tree.nodes[name], rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(device.tree.nodes["prior_prob"], host.tree.nodes["prior_prob"], rtol=1e-12)
    np.testing.assert_array_equal(device.tree.prior_logits, host.tree.prior_logits)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("qtransform", QTRANSFORMS, ids=lambda qtransform: type(qtransform).__name__)
@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_search_as_on_the_host(policy, qtransform, world, seed):
    rng = np.random.default_rng(seed)
    options = {
        "qtransform": qtransform,
        "max_depth": [None, 2][seed % 2],
        "invalid_actions": random_masks(rng, 2, 5),
    }
    assert_same(*both(POLICIES[policy], HashWorld(5, **WORLDS[world]), 2, 7, seed=seed, **options))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("num_actions", [1, 2, 33])
def test_any_number_of_actions(policy, num_actions, seed):
    assert_same(*both(POLICIES[policy], HashWorld(num_actions), 2, 5, seed=seed))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("max_depth", [1, 2])
def test_edges_at_the_depth_limit_are_evaluated_again(policy, max_depth, seed):
    host, device = both(POLICIES[policy], HashWorld(2), 2, 9, seed=seed, max_depth=max_depth)
    assert_same(host, device)
    assert (host.tree.nodes["visits"] == 0).any()  # a column that no simulation filled


def test_what_belongs_to_puct(seed):
    for options in (
        {"temperature": [0.0, 2.0], "dirichlet_fraction": 0.0},
        {"temperature": 1.0, "dirichlet_fraction": 0.5, "dirichlet_alpha": 0.03, "pb_c_init": 3.0, "pb_c_base": 20.0},
    ):
        assert_same(*both(mcts.muzero_policy, HashWorld(6), 2, 6, seed=seed, **options))


def test_what_belongs_to_gumbel(seed):
    for options in (
        {"gumbel_scale": [0.0, 3.0], "max_num_considered_actions": 2},
        {"qtransform": mcts.qtransform_completed_by_mix_value(rescale_values=False, use_mixed_value=False)},
        {"qtransform": mcts.qtransform_completed_by_mix_value(value_scale=1.0, maxvisit_init=5.0, epsilon=0.5)},
    ):
        assert_same(*both(mcts.gumbel_muzero_policy, HashWorld(6), 2, 6, seed=seed, **options))


def test_noise_may_come_as_tensors(seed):
    """The search's noise is what it was given, whoever drew it."""
    world = HashWorld(4)
    latents = world.latents(2, seed)
    search = DeviceSearch(mcts.gumbel_muzero_policy, 4, world)
    noise = torch.tensor([[9.0, 0.0, 0.0, 0.0], [0.0, 0.0, 9.0, 0.0]], device=DEVICE)
    result = search(latents, *world.root(latents), gumbel=100 * noise)
    assert result.action.tolist() == [0, 2]


def test_latents_may_be_several(seed):
    """A tuple of latents goes through the search as one would."""
    world = HashWorld(3)

    def network(latents, actions):
        state, steps = latents
        output = world(state, actions)
        return output._replace(latents=(output.latents, steps + 1), value=steps.float())

    def alone(latents, actions):
        output = world(latents[:, :1], actions)
        following = torch.cat([output.latents, latents[:, 1:] + 1], 1)
        return output._replace(latents=following, value=latents[:, 1].float())

    state, steps = world.latents(2, seed), torch.zeros(2, dtype=torch.int64, device=DEVICE)
    root = world.root(state)
    several = DeviceSearch(mcts.muzero_policy, 5, network)((state, steps), *root, rng=seed).to_host()
    one = DeviceSearch(mcts.muzero_policy, 5, alone)(torch.cat([state, steps[:, None]], 1), *root, rng=seed).to_host()
    np.testing.assert_array_equal(several.tree.nodes["value_sum"], one.tree.nodes["value_sum"])
    np.testing.assert_array_equal(several.visit_counts, one.visit_counts)
