"""The native MLP against the textbook in float64, and what it promises about rows, ranges and threads."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mcts
from tests.mcts.mlps import Architecture, Textbook, architectures, unsquash

pytest.importorskip("mcts._mlp")

PAGE = Path(__file__).parents[2] / "docs" / "mlp.md"
SETS = mcts.ResidualMLP.instruction_sets()
EVALUATE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, *[ctypes.c_void_p] * 2, *[ctypes.c_int32] * 4, *[ctypes.c_void_p] * 4
)


def farthest(support: mcts.CategoricalSupport) -> float:
    """Returns the size of the outermost bin."""
    end = max(abs(support.low), abs(support.high))
    if support.transform == "symlog":
        return float(np.expm1(end))
    return float(unsquash(np.array([end]))[0]) if support.transform else end


@settings(max_examples=60, deadline=None)
@given(
    architecture=architectures,
    rows=st.integers(1, 13),
    seed=st.integers(0, 2**31),
    instruction_set=st.sampled_from(SETS),
)
def test_numbers_are_those_of_the_textbook(
    architecture: Architecture, rows: int, seed: int, instruction_set: str
) -> None:
    weights = architecture.weights(seed)
    model, textbook = architecture.build(weights, instruction_set), Textbook(architecture, weights)
    observation = architecture.observations(rows, seed)
    action = np.random.default_rng(seed).integers(0, architecture.actions, rows)
    latent, logits, value = model.initial(observation)
    expected_latent, expected_logits, expected_value, _ = textbook.initial(observation)
    following, reward, next_logits, next_value = model.recurrent(latent, action)
    expected = textbook.recurrent(latent, action)
    near = {"rtol": 1e-3, "atol": 1e-3}
    np.testing.assert_allclose(latent, expected_latent, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(logits, expected_logits, **near)
    # shares are float32: between bins that reach far their last digits are worth much
    coded = {"rtol": 1e-3, "atol": 1e-3 + 1e-6 * max(farthest(architecture.value), farthest(architecture.reward))}
    np.testing.assert_allclose(value, expected_value, **coded)
    np.testing.assert_allclose(following, expected[0], rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(next_logits, expected[1], **near)
    np.testing.assert_allclose(next_value, expected[2], **coded)
    np.testing.assert_allclose(reward, expected[3], **coded)


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("transform", [False, True])
def test_a_confident_head_means_its_bin(instruction_set: str, transform: bool) -> None:
    """A latent that chooses one bin of 601 by a wide margin; both ends of the support are among them."""
    support = mcts.CategoricalSupport(-300.0, 300.0, 601, transform)
    architecture = Architecture(
        width=601, features=601, hidden=601, inner=4, actions=1, blocks=(0, 1, 0), value=support
    )
    weights = architecture.weights(0)
    nothing = np.zeros(1 + 601 + 9, np.float32)
    choose = np.zeros((len(nothing), 601), np.float32)
    choose[1:602] = 1000 * np.eye(601)
    same = np.eye(601, dtype=np.float32), np.zeros(601, np.float32)
    model = architecture.build(weights._replace(stem=same, hidden=same, output=(choose, nothing)), instruction_set)
    value = model.initial(np.eye(601))[2]
    bins = np.arange(-300.0, 301.0)
    np.testing.assert_allclose(value, unsquash(bins) if transform else bins, rtol=1e-5, atol=1e-6)


def call(
    fn: mcts.NativeRecurrentFn,
    parents: npt.NDArray[np.int32],
    actions: npt.NDArray[np.int32],
    node_index: int,
    num_actions: int,
    ranges: list[tuple[int, int]],
    run: Callable[..., Any] = map,
) -> tuple[int, list[npt.NDArray[np.float32]]]:
    """Calls the C function as the search does, once for each range; returns the largest status and the outputs."""
    rows = len(parents)
    outputs = [np.full(shape, np.nan, np.float32) for shape in (rows, rows, (rows, num_actions), rows)]
    pointers = [array.ctypes.data for array in outputs]
    evaluate = EVALUATE(fn.address)

    def answer(part: tuple[int, int]) -> int:
        return evaluate(fn.context, parents.ctypes.data, actions.ctypes.data, node_index, rows, *part, *pointers)

    return max(run(answer, ranges)), outputs


@settings(max_examples=25, deadline=None)
@given(
    width=st.sampled_from([7, 64, 130]),
    rows=st.integers(1, 120),
    cuts=st.lists(st.integers(0, 120), max_size=5),
    instruction_set=st.sampled_from(SETS),
    seed=st.integers(0, 2**31),
)
def test_a_row_does_not_depend_on_its_batch_its_range_or_its_thread(
    width: int, rows: int, cuts: list[int], instruction_set: str, seed: int
) -> None:
    architecture = Architecture(width=width, inner=width, change_sides=True)
    model = architecture.build(architecture.weights(seed), instruction_set)
    rng = np.random.default_rng(seed)
    observation = architecture.observations(rows, seed)
    latent, logits, value = model.initial(observation)
    actions = rng.integers(0, architecture.actions, rows).astype(np.int32)
    parents = np.zeros(rows, np.int32)

    whole = model.recurrent_fn(latent, 2, -0.5)
    status, expected = call(whole, parents, actions, 1, architecture.actions, [(0, rows)])
    assert status == 0
    edges = sorted({0, rows, *(cut for cut in cuts if cut < rows)})
    parts = model.recurrent_fn(latent, 2, -0.5)
    with ThreadPoolExecutor(3) as pool:
        status, outputs = call(parts, parents, actions, 1, architecture.actions, list(pairwise(edges)), pool.map)
    assert status == 0
    np.testing.assert_array_equal(expected[1], np.full(rows, -0.5, np.float32))
    for output, other in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(output, other)
    np.testing.assert_array_equal(parts.owner.latents, whole.owner.latents)

    row = int(rng.integers(rows))
    alone = model.initial(observation[row : row + 1])
    for one, many in zip(alone, (latent, logits, value), strict=True):
        np.testing.assert_array_equal(one[0], many[row])
    following = model.recurrent(latent[row : row + 1], actions[row : row + 1])
    np.testing.assert_array_equal(following[0][0], whole.owner.latents[1, row])
    for one, many in zip(following[1:], (expected[0], expected[2], expected[3]), strict=True):
        np.testing.assert_array_equal(one[0], many[row])


def test_several_leaves_of_a_root_take_nodes_one_after_another() -> None:
    architecture = Architecture()
    model = architecture.build(architecture.weights(1))
    latent = model.initial(architecture.observations(2))[0]
    fn = model.recurrent_fn(latent, 7, 1.0, leaves_per_step=3)
    parents, actions = np.zeros(6, np.int32), np.array([0, 1, 2, 3, 0, 1], np.int32)
    assert call(fn, parents, actions, 1, 4, [(0, 6)])[0] == 0
    for k in range(3):
        expected = model.recurrent(latent, actions[2 * k : 2 * k + 2])[0]
        np.testing.assert_array_equal(fn.owner.latents[1 + k], expected)
    status, _ = call(fn, np.array([1, 1, 3, 2], np.int32), np.zeros(4, np.int32), 4, 4, [(0, 4)])  # a shorter last step
    assert status == 0
    for k, parent in enumerate(((1, 1), (3, 2))):
        states = np.stack([fn.owner.latents[parent[b], b] for b in range(2)])
        np.testing.assert_array_equal(fn.owner.latents[4 + k], model.recurrent(states, np.zeros(2, int))[0])


@pytest.mark.parametrize(
    ("parents", "actions", "node_index", "part"),
    [
        ([0, 0], [0, 4], 1, (0, 2)),  # no such action
        ([0, 0], [-1, 0], 1, (0, 2)),
        ([0, 1], [0, 0], 1, (0, 2)),  # a parent that is not there yet
        ([-1, 0], [0, 0], 1, (0, 2)),
        ([0, 0], [0, 0], 3, (0, 2)),  # a node beyond the pool
        ([0, 0], [0, 0], 0, (0, 2)),  # the root
        ([0, 0], [0, 0], 1, (-1, 2)),
        ([0, 0], [0, 0], 1, (0, 3)),
        ([0, 0, 0], [0, 0, 0], 1, (0, 3)),  # not a multiple of the roots
        ([0, 0, 0, 0], [0, 0, 0, 0], 1, (0, 4)),  # more leaves than were announced
    ],
)
def test_the_c_function_refuses_what_it_has_no_memory_for(
    parents: list[int], actions: list[int], node_index: int, part: tuple[int, int]
) -> None:
    architecture = Architecture()
    model = architecture.build(architecture.weights(1))
    fn = model.recurrent_fn(model.initial(architecture.observations(2))[0], 3, 1.0)
    asked = np.array(parents, np.int32), np.array(actions, np.int32)
    assert call(fn, *asked, node_index, 4, [part])[0] != 0
    if part == (0, len(parents)):
        assert fn.fallback is not None
        with pytest.raises(
            ValueError, match=r"pool of 3 x 2, at most 2 rows, parents made earlier and actions below 4"
        ):
            fn.fallback(*asked, node_index)


@pytest.mark.parametrize("policy", [mcts.muzero_policy, mcts.gumbel_muzero_policy])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_native_search_is_the_search_that_asks_through_python(
    policy: Callable[..., mcts.SearchResult], num_threads: int, backend: str, seed: int
) -> None:
    architecture = Architecture(width=33, change_sides=True)
    model = architecture.build(architecture.weights(seed, scale=2.0))
    latent, logits, value = model.initial(architecture.observations(9, seed))
    root = mcts.RootOutput(logits, value)
    native = model.recurrent_fn(latent, 41, -0.9)
    asked = model.recurrent_fn(latent, 41, -0.9)
    result = policy(root, native, 40, rng=seed, num_threads=num_threads, backend=backend)
    expected = policy(root, asked.owner.evaluate, 40, rng=seed, backend=backend)
    np.testing.assert_array_equal(result.visit_counts, expected.visit_counts)
    np.testing.assert_array_equal(result.qvalues, expected.qvalues)
    np.testing.assert_array_equal(result.root_value, expected.root_value)
    np.testing.assert_array_equal(native.owner.latents, asked.owner.latents)
    assert expected.tree.parents.max() > 3  # the search went below the root's children


def test_what_a_search_needs_lives_as_long_as_its_function() -> None:
    architecture = Architecture()
    fn = (model := architecture.build(architecture.weights(2))).recurrent_fn(np.ones((1, 20)), 9, 1.0)
    del model
    root = mcts.RootOutput(np.zeros((1, 4)), np.zeros(1))
    assert mcts.muzero_policy(root, fn, 8, rng=0).visit_counts.sum() == 8


@pytest.mark.parametrize("norm", mcts.mlp.LATENT_NORMS)
@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize(
    ("part", "number"),
    [("stem", np.nan), ("hidden", np.nan), ("output", np.nan), ("stem", np.inf), ("output", np.inf), ("stem", 1e30)],
)
def test_numbers_that_are_not_finite_are_never_hidden(
    norm: str, instruction_set: str, part: str, number: float
) -> None:
    """One bad weight makes the prediction bad; 1e30 overflows when it is squared, or is scaled to at most 1."""
    architecture = Architecture(norm=norm, blocks=(0, 1, 0))
    weights = architecture.weights(3)
    weight, bias = (np.array(array) for array in getattr(weights, part))
    weight[5, 0] = number
    model = architecture.build(weights._replace(**{part: (weight, bias)}), instruction_set)
    latent, _, value = model.initial(np.ones((2, architecture.features)))
    if number == 1e30 and norm == "minmax":
        assert np.isfinite(value).all() and latent.max() == 1.0
    else:
        assert not np.isfinite(value).any()


def test_a_search_stops_at_a_prediction_that_is_not_finite(backend: str) -> None:
    architecture = Architecture()
    weights = architecture.weights(3)
    embedding = np.array(weights.embedding)
    embedding[:, 3] = np.nan
    model = architecture.build(weights._replace(embedding=embedding))
    latent, logits, value = model.initial(architecture.observations(2))
    with pytest.raises(ValueError, match="expected a finite number, got nan"):
        mcts.muzero_policy(
            mcts.RootOutput(logits, value), model.recurrent_fn(latent, 9, 1.0), 8, rng=0, backend=backend
        )


def test_new_weights_are_loaded_in_place() -> None:
    architecture = Architecture()
    old, new = architecture.weights(4), architecture.weights(5)
    model, fresh = architecture.build(old), architecture.build(new)
    observation = architecture.observations(3)
    latent = np.array(model.initial(observation)[0])
    fn = model.recurrent_fn(latent, 2, 1.0)
    before = model.initial(observation)[2]
    model.load(new)
    after = fresh.initial(observation)
    assert (before != after[2]).all()
    for one, other in zip(model.initial(observation), after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert fn.fallback is not None
    output = fn.fallback(np.zeros(3, np.int32), np.zeros(3, np.int32), 1)
    np.testing.assert_array_equal(output.value, fresh.recurrent(latent, np.zeros(3, int))[3])


def test_weights_that_are_refused_change_nothing() -> None:
    architecture = Architecture()
    model = architecture.build(architecture.weights(4))
    before = model.initial(architecture.observations(3))
    new = architecture.weights(5)
    with pytest.raises(ValueError, match=r"output\.bias: expected shape \(16,\), got \(15,\)"):
        model.load(new._replace(output=(new.output[0], new.output[1][:-1])))
    with pytest.raises(ValueError, match=r"expected the layers stem, .*prediction\[0\].*, got stem, .*second, hidden"):
        model.load(new._replace(prediction=[]))
    for one, other in zip(model.initial(architecture.observations(3)), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float16, np.float64])
def test_observations_may_have_any_real_dtype_and_axes(dtype: npt.DTypeLike) -> None:
    architecture = Architecture(features=12)
    model = architecture.build(architecture.weights(6))
    planes = np.random.default_rng(0).integers(0, 2, (5, 3, 2, 2)).astype(dtype)
    expected = model.initial(planes.reshape(5, 12).astype(np.float32))
    for one, other in zip(model.initial(planes), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    turned = np.ascontiguousarray(planes.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
    np.testing.assert_array_equal(model.initial(turned)[0], expected[0])


def test_the_example_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, PAGE.name, "exec"), names)
    assert (names["result"].visit_counts.sum(axis=1) == 100).all()
    assert capsys.readouterr().out


def test_no_rows_give_no_rows() -> None:
    architecture = Architecture()
    model = architecture.build(architecture.weights(6))
    latent, logits, value = model.initial(np.zeros((0, 5)))
    assert latent.shape == (0, 20) and logits.shape == (0, 4) and value.shape == (0,)
    following, reward, logits, value = model.recurrent(latent, np.zeros(0, int))
    assert following.shape == (0, 20) and logits.shape == (0, 4) and reward.shape == value.shape == (0,)
