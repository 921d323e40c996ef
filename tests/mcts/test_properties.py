"""The mistakes that public implementations made, noise, acting and memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import mcts
from mcts import _memory, _random
from mcts.search import as_float32

from .models import ConstantModel, RandomModel, random_masks

POLICIES = {"puct": mcts.muzero_policy, "gumbel": mcts.gumbel_muzero_policy}
QUIET = {"puct": {"dirichlet_fraction": 0.0, "temperature": 0.0}, "gumbel": {"gumbel_scale": 0.0}}
policies = pytest.mark.parametrize("policy", POLICIES)

# Mistakes of public implementations -----------------------------------------------------------------------------------


@policies
def test_a_winning_move_attracts_and_a_losing_one_repels(policy, backend):
    """The first-play value and the sign of the opponent's values: wrong in several two-player trees.

    Action 0 leads to a position that is good for the opponent, action 1 to one that is bad for the opponent.
    """

    class Duel:
        def root(self):
            return mcts.RootOutput(np.zeros((1, 2)), np.zeros(1))

        def __call__(self, parent_index, action, node_index):
            value = np.where(parent_index == 0, np.where(action == 0, 0.9, -0.9), 0.0)
            return mcts.RecurrentOutput(np.zeros(1), -np.ones(1), np.zeros((1, 2)), value)

    model = Duel()
    result = POLICIES[policy](model.root(), model, 2, rng=0, backend=backend, **QUIET[policy])
    assert result.qvalues[0].tolist() == pytest.approx([-0.9, 0.9])
    result = POLICIES[policy](model.root(), model, 30, rng=0, backend=backend, **QUIET[policy])
    assert result.action.tolist() == [1]


def test_unvisited_actions_do_not_outrank_visited_ones_in_a_lost_position(backend):
    """First-play urgency is the node's minimum, also where all values are negative for the player to move."""
    model = ConstantModel(1, 6, discount=-1.0, value=0.8, prior_logits=[3, 0, 0, 0, 0, 0])
    result = mcts.muzero_policy(model.root(), model, 4, rng=0, backend=backend, **QUIET["puct"])
    # The root is worth 0.8, every action -0.8: at the minimum like the unvisited ones, so the prior decides.
    assert result.visit_counts[0, 0] >= 3


@pytest.mark.parametrize("num_actions", [2, 9, 50])
def test_the_first_child_of_a_fresh_node_follows_the_prior(num_actions, backend, seed):
    """With a parent count that starts at 0 the exploration term vanishes and the first child is arbitrary."""
    model = RandomModel([seed], num_actions, terminal=0.0)
    root = model.root()
    tree = mcts.muzero_policy(root, model, 40, rng=0, backend=backend, **QUIET["puct"]).tree
    parents = tree.parents[0]
    for node in range(40):
        children = np.flatnonzero(parents == node)
        if children.size:
            assert tree.actions_from_parent[0, children.min()] == tree.prior_logits[0, node].argmax()


@policies
def test_logits_and_not_probabilities(policy, backend):
    """A constant added to the logits changes nothing; passing probabilities instead would flatten the prior."""
    logits = np.array([[4.0, 0.0, -4.0]])
    counts = []
    for shift in (0.0, 500.0):
        model = ConstantModel(1, 3, prior_logits=logits[0] + shift)
        result = POLICIES[policy](model.root(), model, 12, rng=3, backend=backend)
        counts.append(result.visit_counts.tolist())
        if policy == "puct":
            assert result.visit_counts[0].argmax() == 0
    assert counts[0] == counts[1]


def test_dirichlet_noise_stays_on_the_legal_actions(backend, seed):
    """The root's prior is a mixture over the legal actions only, and sums to 1 over them."""
    rng = np.random.default_rng(seed)
    invalid = random_masks(rng, 20, 10, share=0.6)
    logits = rng.normal(size=(20, 10))
    model = ConstantModel(20, 10)
    result = mcts.muzero_policy(
        mcts.RootOutput(logits, np.zeros(20)), model, 1, rng=seed, invalid_actions=invalid, backend=backend
    )
    noisy = np.exp(result.tree.prior_logits[:, 0].astype(np.float64))
    assert (noisy[invalid] == 0).all()
    np.testing.assert_allclose(noisy.sum(axis=1), 1, rtol=1e-5)
    masked = np.where(invalid, -np.inf, logits)
    clean = np.exp(masked) / np.exp(masked).sum(axis=1, keepdims=True)
    assert (noisy >= 0.75 * clean - 1e-6).all()
    assert (np.abs(noisy - clean).max(axis=1) > 1e-3)[(~invalid).sum(axis=1) > 1].all()


def test_gumbel_search_adds_no_dirichlet_noise(backend, seed):
    model = RandomModel([seed], 8)
    root = model.root()
    result = mcts.gumbel_muzero_policy(root, model, 10, rng=seed, backend=backend)
    np.testing.assert_array_equal(result.tree.prior_logits[0, 0], root.prior_logits[0])


@policies
def test_noise_depends_on_the_seed_and_on_nothing_else(policy, backend):
    def search(rng, num_roots=1):
        model = ConstantModel(num_roots, 30)
        result = POLICIES[policy](model.root(), model, 12, rng=rng, backend=backend)
        return result.visit_counts.tolist()

    assert search(1) == search(1)
    assert len({str(search(rng)) for rng in range(8)}) == 8
    # Roots of a batch get different noise, and the first one the same whatever the size of the batch.
    rows = search(5, num_roots=6)
    assert len({str(row) for row in rows}) == 6
    assert rows[:2] == search(5, num_roots=2)
    assert search(np.random.default_rng(7)) == search(np.random.default_rng(7))


def test_every_root_may_have_its_own_scale_of_noise(backend, seed):
    scales = np.array([0.0, 0.3, 1.0, 5.0])
    model = RandomModel(np.arange(4) + seed, 6)
    together = mcts.gumbel_muzero_policy(
        model.root(), model, 20, rng=np.arange(4, dtype=np.uint64), gumbel_scale=scales, backend=backend
    )
    for row, scale in enumerate(scales):
        model = RandomModel([row + seed], 6)
        alone = mcts.gumbel_muzero_policy(
            model.root(), model, 20, rng=np.array([row], np.uint64), gumbel_scale=float(scale), backend=backend
        )
        assert together.action[row] == alone.action[0]
        np.testing.assert_array_equal(together.visit_counts[row], alone.visit_counts[0])


@policies
def test_forbidden_actions_never_compete_even_with_the_best_logits(policy, backend, seed):
    model = ConstantModel(1, 5, prior_logits=[50, 50, 50, 50, -50])
    invalid = np.array([[True, True, True, True, False]])
    result = POLICIES[policy](model.root(), model, 9, rng=seed, invalid_actions=invalid, backend=backend)
    assert result.visit_counts.tolist() == [[0, 0, 0, 0, 9]]
    assert result.action_weights.tolist() == [[0, 0, 0, 0, 1]]


def test_terminal_edges_cut_off_what_follows(backend):
    """Discount 0: values below the edge must not reach the root, though the search goes on there."""
    model = ConstantModel(1, 2, reward=1.0, discount=0.0, value=100.0)
    result = mcts.muzero_policy(mcts.RootOutput(np.zeros((1, 2)), np.zeros(1)), model, 20, rng=0, backend=backend)
    assert result.qvalues[result.visit_counts > 0].tolist() == [1.0, 1.0]
    assert result.root_value[0] == pytest.approx(20 / 21)


# Acting ---------------------------------------------------------------------------------------------------------------


def test_temperature():
    """Frequencies follow visits ** (1 / temperature), and each row has its own temperature."""
    num_roots = 6000
    model = ConstantModel(num_roots, 3, prior_logits=np.log([0.6, 0.3, 0.1]))
    temperature = np.tile([0.0, 1.0, 0.5], num_roots // 3)
    result = mcts.muzero_policy(model.root(), model, 10, rng=11, dirichlet_fraction=0.0, temperature=temperature)
    visits = result.visit_counts[0]
    assert (result.visit_counts == visits).all()
    assert (result.action[0::3] == visits.argmax()).all()
    for offset, exponent in ((1, 1.0), (2, 2.0)):
        share = np.bincount(result.action[offset::3], minlength=3) / (num_roots // 3)
        np.testing.assert_allclose(share, visits**exponent / (visits**exponent).sum(), atol=0.03)


def test_dirichlet_noise_has_the_moments_of_the_distribution():
    """Mean 1/n, variance (1/n)(1 - 1/n)/(n alpha + 1), also for a small alpha, over the legal actions."""
    keys = _random.root_keys(3, 20_000)
    legal = np.zeros((20_000, 7), bool)
    legal[:, [0, 2, 3, 6]] = True
    for alpha in (0.03, 0.3, 1.0, 5.0):
        noise = _random.dirichlet(keys, alpha, legal)
        assert (noise[~legal] == 0).all()
        np.testing.assert_allclose(noise.sum(axis=1), 1)
        on_legal = noise[:, [0, 2, 3, 6]]
        np.testing.assert_allclose(on_legal.mean(axis=0), 0.25, atol=0.012)
        np.testing.assert_allclose(on_legal.var(axis=0), 0.25 * 0.75 / (4 * alpha + 1), rtol=0.05)
        ours, numpys = np.sort(on_legal[:, 0]), np.random.default_rng(0).dirichlet([alpha] * 4, 20_000)[:, 0]
        assert np.abs(np.searchsorted(ours, np.sort(numpys)) / 20_000 - np.arange(20_000) / 20_000).max() < 0.02


def test_gumbel_noise_has_the_moments_of_the_distribution():
    noise = _random.gumbel(_random.root_keys(4, 2000), _random.GUMBEL, 50)
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.015)
    assert noise.std() == pytest.approx(np.pi / 6**0.5, abs=0.015)
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.08


def test_memory_is_known_before_the_search():
    """The figure covers what a search allocates, and not much more."""
    model = ConstantModel(64, 18)
    model.root()
    _memory.release()
    tracemalloc.start()
    result = mcts.muzero_policy(model.root(), model, 50, rng=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    promised = mcts.memory_bytes(64, 18, 50)
    assert result.tree.nodes.nbytes + result.tree.prior_logits.nbytes <= promised
    assert 0.8 * peak <= promised <= 1.2 * peak


def test_the_model_may_return_what_numpy_can_read(backend):
    """Lists, integers, double precision and Fortran order give what float32 arrays give."""
    answers = RandomModel([5, 6], 4)
    plain = mcts.muzero_policy(answers.root(), answers, 12, rng=0, backend=backend)
    answers = RandomModel([5, 6], 4)

    def loose(parent_index, action, node_index):
        output = answers(parent_index, action, node_index)
        return mcts.RecurrentOutput(
            output.reward.tolist(),
            output.discount.astype(np.float64),
            np.asfortranarray(output.prior_logits),
            output.value.astype(np.float64)[::-1][::-1],
        )

    other = mcts.muzero_policy(answers.root(), loose, 12, rng=0, backend=backend)
    np.testing.assert_array_equal(plain.visit_counts, other.visit_counts)


def test_buffers_that_the_model_writes_again_are_read_again(backend):
    """The checks are skipped for an array seen before, never its numbers."""
    rewards, values = np.zeros(1, np.float32), np.zeros(1, np.float64)

    def model(parent_index, action, node_index):
        rewards[0], values[0] = node_index, 10 * node_index
        return mcts.RecurrentOutput(rewards, np.ones(1, np.float32), np.zeros((1, 3), np.float32), values)

    root = mcts.RootOutput(np.zeros((1, 3)), np.zeros(1))
    tree = mcts.muzero_policy(root, model, 4, rng=0, backend=backend).tree
    assert tree.rewards[0].tolist() == [0, 1, 2, 3, 4]
    assert tree.raw_values[0].tolist() == [0, 10, 20, 30, 40]


def test_as_float32_keeps_what_fits():
    array = np.ones(3, np.float32)
    assert as_float32("x", array, (3,)) is array
