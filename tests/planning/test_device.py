"""Searches whose trees are on the device of the network: the planner finds the same there.

Without a GPU they run in Triton's interpreter.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="searches on a device need Triton, which is there for Linux only")

from muzero_wm.basis.errors import UserError
from muzero_wm.config import SearchConfig
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.planning.planner import Planner
from tests.model.models import make_model, make_spec
from tests.planning.test_planner import roots

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def planners(case: str, **settings: Any) -> tuple[Planner, Planner]:
    """Returns planners with trees on the host and on the device, which share a network."""
    network = InferenceModel(make_model(case).to(DEVICE), backend="torch", precision="fp32")
    made = [
        Planner(network, make_spec("connect4"), SearchConfig(num_simulations=5, tree=tree, **settings))
        for tree in ("host", "device")
    ]
    return made[0], made[1]


def assert_alike(host: Any, device: Any) -> None:
    """Visits are equal; numbers are, but for the last digits of sums over batches of another size."""
    np.testing.assert_array_equal(device.visit_counts, host.visit_counts)
    np.testing.assert_array_equal(device.action, host.action)
    for name in ("action_weights", "qvalues", "root_value", "improved_value"):
        np.testing.assert_allclose(getattr(device, name), getattr(host, name), atol=1e-4, err_msg=name)


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
@pytest.mark.parametrize("case", ["mlp", "conv"])
def test_the_same_search_on_host_and_device(algorithm: str, case: str) -> None:
    host, device = planners(case, algorithm=algorithm, max_depth=3)
    observations, legal = roots(3)
    keys = np.arange(3).astype(np.uint64)
    results = [planner.search(observations, legal, keys, explore=True) for planner in (host, device)]
    assert_alike(*results)
    assert results[1].tree.num_roots == 3  # what was added to make four is gone
    np.testing.assert_array_equal(results[1].tree.parents, results[0].tree.parents)
    assert device.search(observations, legal, keys, tree=False).tree.num_nodes == 0


def test_a_refresh_is_seen() -> None:
    """Weights and the smallest range of q change from round to round; what was recorded goes on to hold."""
    host, device = planners("mlp", rescale_share=0.5)
    observations, legal = roots(2)
    first = device.search(observations, legal, 0, tree=False)
    changed = copy.deepcopy(make_model("mlp")).to(DEVICE)
    with torch.no_grad():
        for weight in changed.parameters():
            weight.mul_(-1.0)
        changed.q_scale.fill_(3.0)
    host.network.refresh(changed)
    second = device.search(observations, legal, 0, tree=False)
    assert not np.array_equal(first.action_weights, second.action_weights)
    assert_alike(host.search(observations, legal, 0), second)


def test_the_network_says_whose_turn_it_is() -> None:
    """Signs of edges that are learnt reach the trees."""
    spec = make_spec("turns")
    network = InferenceModel(make_model("mlp-turns").to(DEVICE), backend="torch", precision="fp32")
    observations = np.random.default_rng(0).random((2, *spec.observation_shape)).astype(np.float32)
    legal = np.ones((2, spec.num_actions), bool)
    results = [
        Planner(network, spec, SearchConfig(num_simulations=5, tree=tree)).search(observations, legal, 0)  # type: ignore[arg-type]
        for tree in ("host", "device")
    ]
    assert_alike(*results)
    assert len(np.unique(np.sign(results[1].tree.discounts))) >= 2


def test_what_cannot_be_on_a_device_is_told() -> None:
    network = InferenceModel(make_model("mlp"), backend="fused")
    with pytest.raises(UserError, match=r"search\.tree: device was asked for, but the backend fused-fp32 computes"):
        Planner(network, make_spec("connect4"), SearchConfig(tree="device"))
    Planner(network, make_spec("connect4"), SearchConfig(tree="auto"))


def test_auto_leaves_trees_on_the_host_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    network = InferenceModel(make_model("mlp"), backend="torch", precision="fp32")
    planner = Planner(network, make_spec("connect4"), SearchConfig(num_simulations=4))
    monkeypatch.setattr("muzero_wm.inference.device.DeviceSession.search", None)  # would fail if it were asked
    observations, legal = roots(2)
    assert planner.search(observations, legal, 0).visit_counts.sum() == 8


def test_several_leaves_are_searched_on_the_host() -> None:
    _, device = planners("mlp")
    observations, legal = roots(2)
    result = device.search(observations, legal, 0, leaves_per_step=2)
    assert result.visit_counts.sum() == 10 and result.tree.num_nodes == 6
