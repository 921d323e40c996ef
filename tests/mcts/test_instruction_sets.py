"""Every instruction set that this machine has gives the same bits, node by node, hidden fields included."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

import mcts
from mcts import search
from mcts._core import NativeSearch
from mcts._isa import default_instruction_set

from .models import RandomModel, random_masks

SETS = mcts.instruction_sets()
POLICIES = {"puct": mcts.muzero_policy, "gumbel": mcts.gumbel_muzero_policy}
QTRANSFORMS = {
    "default": {},
    "min_max": {"qtransform": mcts.qtransform_by_min_max(min_value=-20, max_value=20)},
    "siblings": {"qtransform": mcts.qtransform_by_parent_and_siblings()},
    "tree": {"qtransform": mcts.qtransform_by_tree_min_max()},
    "completed": {"qtransform": mcts.qtransform_completed_by_mix_value(value_scale=1.0)},
}


@pytest.fixture(params=SETS[:-1])
def instruction_set(request):
    return request.param


class Forced:
    """Makes searches use an instruction set."""

    def __init__(self, monkeypatch):
        self._monkeypatch = monkeypatch

    def __call__(self, name, policy, model, num_simulations, **arguments):
        self._monkeypatch.setattr(search, "default_instruction_set", lambda: name)
        return POLICIES[policy](model.root(), model, num_simulations, **arguments)


@pytest.fixture
def forced(monkeypatch):
    return Forced(monkeypatch)


def assert_same_bits(result, expected):
    for name in expected.tree.nodes.dtype.names:
        np.testing.assert_array_equal(result.tree.nodes[name], expected.tree.nodes[name], err_msg=name)
    np.testing.assert_array_equal(result.tree.prior_logits, expected.tree.prior_logits)
    np.testing.assert_array_equal(result.action_weights, expected.action_weights)
    np.testing.assert_array_equal(result.action, expected.action)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("qtransform", QTRANSFORMS)
@pytest.mark.parametrize("num_actions", [1, 3, 8, 9, 16, 19, 33, 70])
@pytest.mark.parametrize("leaves_per_step", [1, 3])
def test_the_same_tree(policy, qtransform, num_actions, leaves_per_step, instruction_set, forced, seed):
    rng = np.random.default_rng((seed, num_actions))
    invalid = random_masks(rng, 2, num_actions)
    worlds, grid = rng.integers(2**31, size=2), [None, 2][num_actions % 2]
    options = {"rng": seed, "invalid_actions": invalid, "leaves_per_step": leaves_per_step, **QTRANSFORMS[qtransform]}
    found, expected = (
        forced(name, policy, RandomModel(worlds, num_actions, grid=grid), 45, **options)
        for name in (instruction_set, "baseline")
    )
    assert_same_bits(found, expected)


def test_the_same_kept_tree(instruction_set, forced, seed):
    results = []
    for name in (instruction_set, "baseline"):
        model = RandomModel([seed, seed + 1], 19)
        first = forced(name, "puct", model, 60, rng=seed)
        kept = first.tree.keep(first.action)
        model.go_on(kept.source, first.action[:, None])
        results.append(forced(name, "puct", model, 60, rng=seed, kept=kept))
    assert_same_bits(*results)


def test_rows_of_extreme_logits(instruction_set, forced):
    """Ties, zeros of both signs, -inf, denormals and the largest numbers at every place of a row."""
    numbers = np.array([0.0, -0.0, -np.inf, 1e-45, -1e-45, 3.4e38, -3.4e38, 1.0, 1.0], np.float32)
    for num_actions in (2, 5, 8, 18, 40):
        rng = np.random.default_rng(num_actions)
        rows = rng.choice(numbers, size=(60, 64, num_actions))
        rows[:, :, 1] = 1.0

        class Rows:
            def root(self):
                return mcts.RootOutput(rows[0], np.zeros(64))  # noqa: B023

            def __call__(self, parent_index, action, node_index):
                zero = np.zeros(64, np.float32)
                return mcts.RecurrentOutput(zero, zero + 1, rows[node_index % 60], zero + node_index % 3)  # noqa: B023

        for policy in POLICIES:
            found, expected = (forced(name, policy, Rows(), 50, rng=0) for name in (instruction_set, "baseline"))
            assert_same_bits(found, expected)


def test_an_unknown_set_is_refused():
    with pytest.raises(ValueError, match=r"instruction_set: expected one of .*baseline, got 'mmx'"):
        NativeSearch(None, "mmx")


def test_the_environment_variable_chooses():
    program = "import mcts._isa as sets; print(sets.default_instruction_set())"
    for name, expected in (("baseline", "baseline"), ("", SETS[0])):
        run = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "MCTS_INSTRUCTION_SET": name},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == expected


def test_the_environment_variable_is_checked(monkeypatch):
    monkeypatch.setenv("MCTS_INSTRUCTION_SET", "mmx")
    default_instruction_set.cache_clear()
    model = RandomModel([0], 3)
    with pytest.raises(ValueError, match=r"MCTS_INSTRUCTION_SET: expected one of .* on this machine, got 'mmx'"):
        mcts.muzero_policy(model.root(), model, 5, rng=0)
    monkeypatch.delenv("MCTS_INSTRUCTION_SET")
    default_instruction_set.cache_clear()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have one instruction set")
@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="asks Linux what the processor can do")
def test_what_the_processor_has_is_used():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        flags = next(line for line in file if line.startswith("flags")).split()
    assert ("avx2" in SETS) == {"avx2", "fma"}.issubset(flags)
    assert ("avx512" in SETS) == {"avx512f", "avx512vl", "avx512bw", "avx512dq", "fma"}.issubset(flags)


def test_the_native_mlp_finds_the_same():
    assert mcts.ResidualMLP.instruction_sets() == SETS
