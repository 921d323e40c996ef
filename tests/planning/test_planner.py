"""Sessions, shards and workers: whoever searches, and with whom, the results are the same."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

import mcts
from muzero_wm import envs
from muzero_wm.config import SearchConfig
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.planning.planner import Planner, leaves_for
from muzero_wm.planning.shards import available_cores, resolve_workers, run_shards, shard_bounds, shard_size
from tests.model.models import make_model, make_spec

FIELDS = ("action", "action_weights", "visit_counts", "qvalues", "root_value", "improved_value")


def roots(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    env = envs.make("connect4", count, seed, random_openings=1.0, max_random_plies=12)
    step = env.reset()
    return step.observation.copy(), step.legal_actions.copy()


def assert_same(ours: mcts.SearchResult, theirs: mcts.SearchResult) -> None:
    for field in FIELDS:
        assert np.array_equal(getattr(ours, field), getattr(theirs, field)), field
    assert np.array_equal(ours.tree.node_visits, theirs.tree.node_visits)
    assert np.array_equal(ours.tree.prior_logits, theirs.tree.prior_logits)


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
@pytest.mark.parametrize("case", ["mlp", "conv"])
@pytest.mark.parametrize("rng", ["seed", "generator", "keys"])
def test_any_number_of_workers_finds_the_same(algorithm: str, case: str, rng: str) -> None:
    model = make_model(case)
    observations, legal = roots(300)
    config = SearchConfig(algorithm=algorithm, num_simulations=6)  # type: ignore[arg-type]
    temperature = np.linspace(0.0, 1.0, 300).astype(np.float32)
    results = []
    for workers in (1, 2, 3):
        planner = Planner(InferenceModel(model, backend="fused"), make_spec("connect4"), config, workers)
        stream = {"seed": 5, "generator": np.random.default_rng(5), "keys": np.arange(300).astype(np.uint64)}[rng]
        results.append(planner.search(observations, legal, stream, explore=True, temperature=temperature))
    assert len(shard_bounds(300, 64)) >= 2
    for other in results[1:]:
        assert_same(other, results[0])


def test_shards_are_the_searches_of_their_roots() -> None:
    """A shard finds what a search of its roots alone would."""
    planner = Planner(InferenceModel(make_model("mlp"), backend="fused"), make_spec("connect4"), SearchConfig(), 2)
    observations, legal = roots(128)
    keys = np.arange(128).astype(np.uint64)
    whole = planner.search(observations, legal, keys, explore=True)
    for begin, end in shard_bounds(128, 64):
        part = planner.search(observations[begin:end], legal[begin:end], keys[begin:end], explore=True)
        for field in FIELDS:
            assert np.array_equal(getattr(whole, field)[begin:end], getattr(part, field))


@pytest.mark.parametrize("case", ["mlp", "conv"])
@pytest.mark.parametrize("name", ["eager", "fused"])
def test_a_session_gives_the_tree_the_states_it_asks_for(case: str, name: str) -> None:
    """Reward, value and logits of every node follow from its path by the module alone."""
    model = make_model(case)
    network = InferenceModel(model, backend=name, precision="fp32")
    planner = Planner(network, make_spec("connect4"), SearchConfig(num_simulations=12))
    observations, legal = roots(5)
    planner.search(observations[:3], legal[:3], 0)  # its memory is used again
    tree = planner.search(observations, legal, 0).tree
    with torch.no_grad():
        for root in range(5):
            latents = [model.represent(torch.from_numpy(observations[root : root + 1]))]
            for node in range(1, tree.num_nodes):
                parent, action = int(tree.parents[root, node]), int(tree.actions_from_parent[root, node])
                latents.append(model.step(latents[parent], torch.tensor([action])))
                prediction = model.predict(latents[node])
                value = model.value_support.decode(prediction.value_logits).item()
                reward = model.reward_support.decode(prediction.reward_logits).item()
                assert tree.raw_values[root, node] == pytest.approx(value, abs=1e-4)
                assert tree.rewards[root, node] == pytest.approx(reward, abs=1e-4)
                assert tree.discounts[root, node] == -1.0
                np.testing.assert_allclose(tree.prior_logits[root, node], prediction.policy_logits[0], atol=1e-4)


@pytest.mark.parametrize("case", ["mlp", "conv"])
def test_several_leaves_per_step_are_answered_leaf_by_leaf(case: str) -> None:
    model = make_model(case)
    network = InferenceModel(model, backend="fused", precision="fp32")
    observations, _ = roots(3)
    _, _, together = network.session().start(observations, 9, -1.0, leaves_per_step=2)
    _, _, one_by_one = network.session().start(observations, 9, -1.0)
    rng = np.random.default_rng(0)
    for node in (1, 3, 5):
        parents, actions = rng.integers(0, node, 6).astype(np.int32), rng.integers(0, 7, 6).astype(np.int32)
        both = [array.copy() for array in together(parents, actions, node)]
        for leaf in range(2):
            rows = slice(3 * leaf, 3 * leaf + 3)
            single = one_by_one(parents[rows], actions[rows], node + leaf)
            for ours, theirs in zip(both, single, strict=True):
                np.testing.assert_allclose(ours[rows], theirs, atol=1e-5)
    last = together(np.zeros(3, np.int32), np.zeros(3, np.int32), 7)  # the rest of a number that K does not divide
    assert [len(array) for array in last] == [3, 3, 3, 3]


def test_shards_follow_from_the_number_of_roots() -> None:
    for count in (1, 7, 127, 128, 129, 256, 300, 1024):
        bounds = shard_bounds(count, 64)
        assert bounds[0][0] == 0 and bounds[-1][1] == count
        assert all(before[1] == after[0] for before, after in pairwise(bounds))
        sizes = [end - begin for begin, end in bounds]
        assert max(sizes) - min(sizes) <= 1 and max(sizes) == shard_size(count, 64) <= 96
        assert len(bounds) >= 2 or count < 128


def test_workers_share_the_shards_and_run_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=30)
    seen: set[int] = set()

    def search(shard: int, worker: int) -> int:
        if shard < 3:
            meeting.wait()  # three shards are under way at once, or nobody gets past here
        seen.add(worker)
        return shard * shard

    assert run_shards(7, 3, search) == [shard * shard for shard in range(7)]
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("workers", [1, 3])
def test_exceptions_come_through_and_no_thread_stays(workers: int) -> None:
    before = threading.active_count()
    begun = []

    def search(shard: int, worker: int) -> int:
        begun.append(shard)
        if shard == 1:
            raise ValueError("shard one")
        return shard

    with pytest.raises(ValueError, match="shard one"):
        run_shards(50, workers, search)
    assert threading.active_count() == before
    assert len(begun) < 50
    observations, legal = roots(256)
    planner = Planner(
        InferenceModel(make_model("mlp"), backend="fused"), make_spec("connect4"), SearchConfig(), workers
    )
    legal[200] = False
    with pytest.raises(ValueError, match="invalid_actions"):
        planner.search(observations, legal, 0)
    assert threading.active_count() == before


def test_every_worker_has_one_torch_thread_and_the_setting_comes_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert run_shards(3, 3, lambda shard, worker: torch.get_num_threads()) == [1, 1, 1]
        assert torch.get_num_threads() == 2
        fresh: list[int] = []
        thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert fresh == [2]
    finally:
        torch.set_num_threads(before)


def test_auto_counts_cores_and_leaves() -> None:
    assert resolve_workers(3) == 3
    assert resolve_workers("auto") == available_cores()
    assert resolve_workers("auto", reserved=10**6) == 1
    assert leaves_for(1, 32) == 1 and leaves_for(256, 1000) == 1
    assert leaves_for(1, 800) == 16 and leaves_for(4, 800) == 4 and leaves_for(1, 100) == 2


@pytest.mark.parametrize(
    ("players", "setting", "expected"),
    [
        (1, "auto", "improved_value"), (2, "auto", "root_value"),
        (1, "mean", "root_value"), (2, "improved", "improved_value"),
    ],
)  # fmt: skip
def test_what_is_stored_as_the_value_of_a_position(players: int, setting: str, expected: str) -> None:
    spec = replace(make_spec("connect4"), num_players=players)
    config = SearchConfig(num_simulations=16, stored_value=setting)  # type: ignore[arg-type]
    planner = Planner(InferenceModel(make_model("mlp"), backend="eager"), spec, config)
    result = planner.search(*roots(5), 0)
    assert (result.root_value != result.improved_value).any()
    np.testing.assert_array_equal(planner.stored_value(result), getattr(result, expected))
