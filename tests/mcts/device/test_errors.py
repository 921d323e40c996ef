"""What goes wrong in a search on a device is told in one message that says where."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch

import mcts
from mcts.device import DeviceSearch, RecurrentTensors
from mcts.device.search import bytes_per_root

from .worlds import DEVICE, HashWorld

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton.runtime.interpreter")  # NaN is what is tested
POLICY = mcts.gumbel_muzero_policy


def search_with(network, *, latents=None, logits=None, value=None, **options):
    """Searches two roots with three actions for two simulations."""
    world = HashWorld(3)
    latents = world.latents(2) if latents is None else latents
    root = world.root(world.latents(2))
    return DeviceSearch(POLICY, 2, network)(
        latents, root[0] if logits is None else logits, root[1] if value is None else value, **({"rng": 0} | options)
    )


@pytest.mark.parametrize("policy", [mcts.gumbel_muzero_policy, mcts.muzero_policy])
def test_a_bad_number_is_told_with_root_and_simulation(policy):
    world = HashWorld(3)
    latents = world.latents(3)
    root = world.root(latents)
    good = DeviceSearch(policy, 4, world)(latents, *root, rng=0)
    nodes = good.tree().nodes[1]  # of the second root
    simulation = 1
    parents = world.latents(3)[1:2]
    for action in _path(nodes, 1 + simulation):
        parents = world(parents, torch.tensor([action], device=DEVICE)).latents
    world.fault = int(parents)
    search = DeviceSearch(policy, 4, world)
    with pytest.raises(ValueError, match=r"network, simulation 1, root 1: expected a finite reward and value"):
        search(latents, *root, rng=0)
    result = search(latents, *root, rng=0, check=False)
    assert result.visit_counts.sum(1).tolist()[::2] == [4, 4]  # the other roots do not mind
    with pytest.raises(ValueError, match="simulation 1, root 1"):
        result.check()
    search(latents[[0, 0, 2]], *(field[[0, 0, 2]] for field in root), rng=0)  # and the next search is a new one


def _path(nodes, node):
    """Returns the actions from the root to a node."""
    return [] if node == 0 else [*_path(nodes, nodes["parent"][node]), int(nodes["action"][node])]


@pytest.mark.parametrize("bad", ["reward", "discount", "prior_logits"])
def test_every_field_is_looked_at(bad):
    world = HashWorld(3)

    def network(latents, actions):
        output = world(latents, actions)
        return output._replace(**{bad: torch.full_like(getattr(output, bad), 2.0 if bad == "discount" else torch.nan)})

    with pytest.raises(ValueError, match="network, simulation 0, root 0"):
        search_with(network)


def test_a_bad_root_is_told():
    with pytest.raises(ValueError, match=r"root 1: expected a finite value, and logits"):
        search_with(HashWorld(3), value=torch.tensor([0.0, torch.nan], device=DEVICE))
    logits = torch.tensor([[0.0, 0.0, torch.inf], [0.0, 0.0, 0.0]], device=DEVICE)
    with pytest.raises(ValueError, match="root 0: expected a finite value, and logits"):
        search_with(HashWorld(3), logits=logits)
    with pytest.raises(ValueError, match="root 1: "):
        search_with(HashWorld(3), invalid_actions=np.array([[False] * 3, [True] * 3]))


def test_answers_of_the_wrong_shape_or_type_are_refused():
    world = HashWorld(3)

    def answering(**changes):
        def network(latents, actions):
            return world(latents, actions)._replace(**changes)

        return network

    for changes, message in (
        ({"value": torch.zeros(2, 1, device=DEVICE)}, r"network: expected value of shape \(2,\) on .*, got \(2, 1\)"),
        ({"prior_logits": torch.zeros(2, 4, device=DEVICE)}, r"network: expected prior_logits of shape \(2, 3\)"),
        (
            {"latents": torch.zeros(2, 5, device=DEVICE)},
            r"network: expected latents of shape \(2, 1\), as it was given, got \(2, 5\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            search_with(answering(**changes))
    with pytest.raises(TypeError, match=r"network: expected reward to be a tensor of floats, got torch.int64"):
        search_with(answering(reward=torch.zeros(2, dtype=torch.int64, device=DEVICE)))
    with pytest.raises(TypeError, match="network: expected value to be a tensor of floats, got ndarray"):
        search_with(answering(value=np.zeros(2)))
    with pytest.raises(TypeError, match=r"network: expected a mcts.device.RecurrentTensors, got Tensor"):
        search_with(lambda latents, actions: latents)


def test_arguments_of_the_wrong_shape_or_type_are_refused():
    world = HashWorld(3)
    with pytest.raises(TypeError, match=r"value: expected a torch.Tensor, got ndarray"):
        search_with(world, value=np.zeros(2))
    with pytest.raises(ValueError, match=r"value: expected shape \(2,\)"):
        search_with(world, value=torch.zeros(3, device=DEVICE))
    with pytest.raises(ValueError, match=r"latents\[0\]: expected 2 rows"):
        search_with(world, latents=world.latents(3))
    with pytest.raises(ValueError, match=r"prior_logits: expected shape \(B, A\)"):
        search_with(world, logits=torch.zeros(2, device=DEVICE))
    with pytest.raises(TypeError, match=r"invalid_actions: expected bool, True = forbidden, got torch.int64"):
        search_with(world, invalid_actions=np.zeros((2, 3), int))
    with pytest.raises(ValueError, match=r"invalid_actions: expected shape \(2, 3\)"):
        search_with(world, invalid_actions=np.zeros((1, 3), bool))
    with pytest.raises(TypeError, match="gumbel: expected a tensor of noise, or an rng"):
        search_with(world, rng=None)
    with pytest.raises(ValueError, match="gumbel_scale"):
        search_with(world, gumbel_scale=-1.0)


def test_settings_of_the_host_are_refused():
    for options, message in (
        ({"leaves_per_step": 2}, "leaves_per_step: expected a setting of a search on a device"),
        ({"backend": "native"}, "backend: expected a setting of a search on a device"),
        ({"no_such": 1}, "no_such: expected a setting of mcts.gumbel_muzero_policy"),
    ):
        with pytest.raises(TypeError, match=message):
            DeviceSearch(POLICY, 2, HashWorld(3), **options)
    with pytest.raises(ValueError, match="num_simulations"):
        DeviceSearch(POLICY, 0, HashWorld(3))
    with pytest.raises(TypeError, match="network"):
        DeviceSearch(POLICY, 2, None)


def test_a_tree_that_was_overwritten_is_not_handed_out():
    world = HashWorld(3)
    latents = world.latents(2)
    search = DeviceSearch(POLICY, 2, world)
    first = search(latents, *world.root(latents), rng=0)
    actions = first.action.tolist()
    search(latents, *world.root(latents), rng=1)
    with pytest.raises(RuntimeError, match="a later search has used its memory"):
        first.tree()
    assert first.action.tolist() == actions  # the result itself is its own
    assert first.to_host(tree=False).tree.num_nodes == 0


def test_the_memory_of_sizes_that_were_not_used_for_long_is_freed():
    world = HashWorld(2)
    search = DeviceSearch(POLICY, 1, world)
    trees = []
    for num_roots in range(1, 11):
        latents = world.latents(num_roots)
        trees.append(weakref.ref(search(latents, *world.root(latents), rng=0)._trees))
    gc.collect()
    assert [memory() is None for memory in trees] == [True] * 2 + [False] * 8


def test_bytes_are_what_is_allocated():
    """What a search of one size keeps, counted by hand."""
    latents = torch.zeros(2, 5, dtype=torch.float16)
    num_nodes, num_actions = 9, 3
    per_node = 3 * (4 + 4 + 8 + 4 + 8) + 3 * 4 + 8 + 3 * 4
    outside = num_actions * (4 + 1 + 8 + 8) + 4 + 8  # what goes in
    outside += num_actions * (4 + 4 + 4) + 4 + 4 + 4  # what comes out
    counted = num_nodes * per_node + 20 + 10 * (num_nodes + 1) + outside
    assert counted <= bytes_per_root((latents,), num_nodes, num_actions) <= counted + 100


PROGRAM = """
import mcts, torch
from mcts.device import DeviceSearch
search = DeviceSearch(mcts.muzero_policy, 2, lambda *edges: None)
try:
    search(torch.zeros(2, 1), torch.zeros(2, 3), torch.zeros(2), rng=0)
except ValueError as error:
    print(error)
"""


def run(program, **environment):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=os.environ | environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tensors_on_a_cpu_are_refused_outside_of_tests():
    told = run(PROGRAM, TRITON_INTERPRET="0")
    assert "prior_logits: expected tensors on a CUDA device, got cpu; on a CPU use mcts.muzero_policy" in told


def test_without_triton_the_message_says_what_to_install():
    program = """
import sys
sys.modules["triton"] = None
import mcts
assert "torch" not in sys.modules
try:
    import mcts.device
except ImportError as error:
    print(error)
"""
    assert "mcts.device needs PyTorch and Triton, and there is no triton: install" in run(program)


def test_fields_are_those_of_the_network():
    assert RecurrentTensors._fields[1:] == mcts.RecurrentOutput._fields
