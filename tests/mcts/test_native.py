"""Models that are called without Python, the memory of a search, and the bits of the native core."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tracemalloc

import numba
import numpy as np
import pytest

import mcts
from mcts import _memory, _random
from mcts._core import NativeSearch
from mcts.native import empty_answers, through_ctypes
from mcts.tree import NODE_DTYPE

from .models import ConstantModel, RandomModel

POLICIES = {"puct": mcts.muzero_policy, "gumbel": mcts.gumbel_muzero_policy}
NUM_ACTIONS = 5
PUBLIC_FIELDS = [name for name in NODE_DTYPE.names if not name.startswith("_")]

policies = pytest.mark.parametrize("policy", POLICIES)


@numba.njit
def hashed(parent, action, root, lane):
    """A number in [-1, 1) that depends on everything."""
    x = np.uint64(parent * 7919 + action * 104729 + root * 1299709 + lane * 15485863 + 1) * np.uint64(
        0x9E3779B97F4A7C15
    )
    x ^= x >> np.uint64(29)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    return np.float32((x >> np.uint64(40)) / 2**23 - 1.0)


@numba.njit
def answer_rows(parent_index, action, num_roots, begin, end, reward, discount, prior_logits, value):
    for row in range(begin, end):
        numbers = parent_index[row], action[row], row % num_roots
        reward[row] = hashed(*numbers, 0)
        discount[row] = np.float32(-0.9) if hashed(*numbers, 1) < 0.5 else np.float32(0.8)
        value[row] = hashed(*numbers, 2)
        for a in range(NUM_ACTIONS):
            prior_logits[row, a] = 3 * hashed(*numbers, 3 + a)


POINTER = numba.types.voidptr


@numba.cfunc(numba.int32(*[POINTER] * 3, *[numba.int32] * 4, *[POINTER] * 4))
def evaluate(context, parent_index, action, node_index, num_rows, begin, end, reward, discount, prior_logits, value):
    settings = numba.carray(context, (2,), np.int32)  # number of roots, node at which to fail
    if node_index == settings[1]:
        return 7
    answer_rows(
        numba.carray(parent_index, (num_rows,), np.int32),
        numba.carray(action, (num_rows,), np.int32),
        settings[0],
        begin,
        end,
        numba.carray(reward, (num_rows,), np.float32),
        numba.carray(discount, (num_rows,), np.float32),
        numba.carray(prior_logits, (num_rows, NUM_ACTIONS), np.float32),
        numba.carray(value, (num_rows,), np.float32),
    )
    return 0


def native_model(num_roots, fails_at=-1):
    settings = np.array([num_roots, fails_at], np.int32)
    return mcts.NativeRecurrentFn(evaluate.address, settings.ctypes.data, settings)


def python_model(num_roots):
    def recurrent_fn(parent_index, action, node_index):
        answers = empty_answers(len(action), NUM_ACTIONS)
        answer_rows(parent_index, action, num_roots, 0, len(action), *answers)
        return answers

    return recurrent_fn


def prediction(num_roots, seed):
    rng = np.random.default_rng(seed)
    return mcts.RootOutput(
        rng.normal(size=(num_roots, NUM_ACTIONS)).astype(np.float32), rng.uniform(-1, 1, num_roots).astype(np.float32)
    )


def assert_equal(one, other):
    for name in PUBLIC_FIELDS:
        np.testing.assert_array_equal(one.tree.nodes[name], other.tree.nodes[name], err_msg=name)
    np.testing.assert_array_equal(one.tree.prior_logits, other.tree.prior_logits)
    np.testing.assert_array_equal(one.action_weights, other.action_weights)
    np.testing.assert_array_equal(one.action, other.action)


@policies
@pytest.mark.parametrize("num_threads", [1, 2, 3])
@pytest.mark.parametrize("leaves_per_step", [1, 4])
def test_a_native_model_gives_what_the_same_model_gives_in_python(policy, num_threads, leaves_per_step, seed):
    options = {"rng": seed, "leaves_per_step": leaves_per_step, "backend": "native"}
    for num_roots in (1, 7):
        root = prediction(num_roots, seed)
        expected = POLICIES[policy](root, python_model(num_roots), 30, **options)
        found = POLICIES[policy](root, native_model(num_roots), 30, **options, num_threads=num_threads)
        assert_equal(found, expected)


@policies
def test_the_reference_calls_the_same_function(policy, seed):
    root = prediction(3, seed)
    expected = POLICIES[policy](root, python_model(3), 20, rng=seed, backend="python", leaves_per_step=3)
    found = POLICIES[policy](root, native_model(3), 20, rng=seed, backend="python", leaves_per_step=3)
    assert_equal(found, expected)


def test_a_native_model_goes_on_with_a_kept_tree(seed):
    first = mcts.muzero_policy(prediction(2, seed), native_model(2), 25, rng=seed)
    kept = first.tree.keep(first.action)
    again = prediction(2, seed + 1)
    expected = mcts.muzero_policy(again, python_model(2), 20, rng=seed, kept=kept)
    assert_equal(mcts.muzero_policy(again, native_model(2), 20, rng=seed, kept=kept, num_threads=2), expected)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_native_model_that_fails_stops_the_search(backend, num_threads):
    with pytest.raises(RuntimeError, match="expected 0 from the native function, got 7 at node 4"):
        mcts.muzero_policy(
            prediction(5, 0), native_model(5, fails_at=4), 9, rng=0, backend=backend, num_threads=num_threads
        )


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_row_that_a_native_model_leaves_out_is_reported(backend, num_threads):
    @numba.cfunc(numba.int32(*[POINTER] * 3, *[numba.int32] * 4, *[POINTER] * 4))
    def nothing(context, parent_index, action, node_index, num_rows, begin, end, reward, discount, logits, value):
        return 0

    with pytest.raises(ValueError, match="simulation 0, root 0: reward: expected a finite number, got nan"):
        mcts.muzero_policy(
            prediction(4, 0),
            mcts.NativeRecurrentFn(nothing.address, 0, nothing),
            9,
            rng=0,
            backend=backend,
            num_threads=num_threads,
        )


def test_a_native_model_is_a_function_where_it_has_a_fallback():
    model = native_model(2)
    arguments = np.zeros(2, np.int32), np.array([0, 3], np.int32), 1
    with pytest.raises(TypeError, match="native one without a fallback"):
        model(*arguments)
    with_fallback = mcts.NativeRecurrentFn(model.address, model.context, model.owner, python_model(2))
    for called, computed in zip(with_fallback(*arguments), through_ctypes(model, NUM_ACTIONS)(*arguments), strict=True):
        np.testing.assert_array_equal(called, computed)


# Memory ---------------------------------------------------------------------------------------------------------------


@policies
@pytest.mark.parametrize("shape", [(1, 3, 5), (64, 18, 50), (7, 300, 40), (3, 2, 500)])
@pytest.mark.parametrize("leaves_per_step", [1, 6])
def test_memory_bytes_is_what_the_core_allocates(policy, shape, leaves_per_step, monkeypatch):
    num_roots, num_actions, num_simulations = shape
    problems = []
    monkeypatch.setattr("mcts.settings.run_search", lambda problem, *_, **__: problems.append(problem) or 1 / 0)
    model = ConstantModel(num_roots, num_actions)
    with pytest.raises(ZeroDivisionError):
        POLICIES[policy](model.root(), model, num_simulations, rng=0, leaves_per_step=leaves_per_step)
    (problem,) = problems
    _memory.release()
    tracemalloc.start()
    search = NativeSearch(problem, "baseline")
    allocated = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    arguments = [problem.exploration, problem.prior_logits, problem.value, problem.invalid_actions]
    if policy == "gumbel":
        allocated += problem.root_scores.nbytes + problem.considered_visits.nbytes
    promised = mcts.memory_bytes(*shape, leaves_per_step=leaves_per_step)
    objects = 6000  # the Python objects around the memory
    assert allocated - objects <= promised <= 1.15 * allocated + sum(array.nbytes for array in arguments)
    assert search.action.size == num_roots * min(leaves_per_step, num_simulations)


def test_the_memory_of_a_finished_search_is_used_again_but_never_that_of_a_result():
    model = RandomModel([1], 4)
    _memory.release()
    first = mcts.muzero_policy(model.root(), model, 20, rng=0)
    nodes = first.tree.nodes.copy()
    address = first.tree.nodes.ctypes.data
    view = first.tree.node_visits[:, 3:]
    del first
    model = RandomModel([2], 4)
    second = mcts.muzero_policy(model.root(), model, 20, rng=0)
    assert second.tree.nodes.ctypes.data != address  # a view of the first result is still in use
    np.testing.assert_array_equal(view, nodes["visits"][:, 3:])
    del view
    model = RandomModel([2], 4)
    third = mcts.muzero_policy(model.root(), model, 20, rng=0)
    assert third.tree.nodes.ctypes.data == address
    assert_equal(third, second)


def test_what_is_kept_for_the_next_search_is_bounded():
    _memory.release()
    blocks = [_memory.take(size * 2**20) for size in (10, 30, 40, 70)]
    assert _memory.kept() == 0
    del blocks
    assert 0 < _memory.kept() <= _memory.MAX_KEPT_BYTES
    blocks = [_memory.take(1000) for _ in range(500)]
    del blocks
    assert 0 < _memory.kept() <= _memory.MAX_KEPT_BYTES
    _memory.release()
    assert _memory.kept() == 0


def test_many_results_that_are_kept_cost_the_next_search_nothing(seed):
    """What is in use is not looked at when memory is taken."""
    model = RandomModel([seed], 4)
    _memory.release()
    first = mcts.muzero_policy(model.root(), model, 3, rng=0)
    results = [first, *(mcts.muzero_policy(model.root(), RandomModel([seed], 4), 3, rng=0) for _ in range(300))]
    assert len({result.tree.nodes.ctypes.data for result in results}) == len(results)
    assert _memory.kept() < 2**16  # nothing of what they hold is on the shelf
    for result in results:
        assert_equal(result, first)


def test_native_noise_is_that_of_numpy(seed, monkeypatch):
    keys = _random.root_keys(seed, 9)
    legal = np.random.default_rng(seed).random((9, 40)) < 0.6
    legal[:, 3] = True

    def draw():
        noise = [_random.dirichlet(keys, alpha, legal) for alpha in (0.01, 0.3, 4.0)]
        return _random.stream(keys, 2, 6), [_random.gumbel(keys, _random.GUMBEL, 50), *noise]

    bits, noise = draw()
    monkeypatch.setattr(_random, "_noise", None)
    expected_bits, expected = draw()
    np.testing.assert_array_equal(bits, expected_bits)
    for found, wanted in zip(noise, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-290)


COUNTER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
static long calls;
long allocations(void) { return calls; }
void *malloc(size_t n) {
    static void *(*real)(size_t);
    if (!real) real = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    calls++;
    return real(n);
}
void *realloc(void *p, size_t n) {
    static void *(*real)(void *, size_t);
    if (!real) real = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    calls++;
    return real(p, n);
}
int evaluate(void *context, const int32_t *parent, const int32_t *action, int32_t node, int32_t rows, int32_t begin,
             int32_t end, float *reward, float *discount, float *logits, float *value) {
    for (int32_t r = begin; r < end; r++) {
        reward[r] = 0; discount[r] = 1; value[r] = (node * 37 + parent[r] * 11 + action[r]) % 19 / 19.0f;
        for (int a = 0; a < 6; a++) logits[r * 6 + a] = (node + a) % 5;
    }
    return 0;
}
"""

COUNTING_SEARCH = """
import ctypes, sys
import numpy as np
import mcts
from mcts._core import NativeSearch

counter = ctypes.CDLL(sys.argv[1])
address = ctypes.cast(counter.evaluate, ctypes.c_void_p).value

def count(self, *arguments):
    before = counter.allocations()
    stop = run_native(self.search, *arguments)
    counts.append(counter.allocations() - before)
    return stop

class Counted:
    def __init__(self, *arguments):
        self.search = NativeSearch(*arguments)
    def __getattr__(self, name):
        return getattr(self.search, name)
    run_native = count

run_native = NativeSearch.run_native
sys.modules["mcts._core"].NativeSearch = Counted
for policy in (mcts.muzero_policy, mcts.gumbel_muzero_policy):
    for leaves_per_step in (1, 4):
        counts = []
        for num_simulations in (10, 10, 3000):
            root = mcts.RootOutput(np.zeros((3, 6)), np.zeros(3))
            policy(root, mcts.NativeRecurrentFn(address, 0, counter), num_simulations, rng=0,
                   leaves_per_step=leaves_per_step)
        assert counts[1] == counts[2] < 10, counts
print("counted", counter.allocations() > 0)
"""


@pytest.mark.skipif(shutil.which("cc") is None or not sys.platform.startswith("linux"), reason="needs cc and Linux")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer has an allocator of its own")
def test_nothing_is_allocated_while_a_search_runs(tmp_path):
    """3000 simulations call the C library's allocator as often as 10 do: a few times, around the loop."""
    source, library = tmp_path / "counter.c", tmp_path / "counter.so"
    source.write_text(COUNTER)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    run = subprocess.run(
        [sys.executable, "-c", COUNTING_SEARCH, str(library)],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "counted True\n", run.stderr
