"""How an array lies in memory makes no difference: every argument, every layout, both backends, the same bits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import mcts
from mcts.tree import NODE_DTYPE

pytestmark = pytest.mark.filterwarnings("error")  # NumPy has nothing to tell either

B, A, S = 3, 4, 12
PUBLIC_FIELDS = [name for name in NODE_DTYPE.names if not name.startswith("_")]
RESULT_FIELDS = [field.name for field in dataclasses.fields(mcts.SearchResult) if field.name != "tree"]
POLICIES = {"puct": mcts.muzero_policy, "gumbel": mcts.gumbel_muzero_policy}


def _misaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)
    raw[1:] = np.frombuffer(array.tobytes(), np.uint8)
    return raw[1:].view(array.dtype).reshape(array.shape)


def _every_other(array):
    wide = np.zeros((*array.shape, 2), array.dtype)
    wide[..., 0] = array
    return wide[..., 0]


def _read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


class Lazy:
    """An array of another library: only `__array__`."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


class Subclass(np.ndarray):
    """An array that is not exactly an ndarray."""


LAYOUTS = {
    "fortran": np.asfortranarray,
    "transposed": lambda array: np.ascontiguousarray(array.T).T,
    "every other": _every_other,
    "reversed": lambda array: array[..., ::-1].copy()[..., ::-1],
    "reversed rows": lambda array: array[::-1].copy()[::-1],
    "read-only": _read_only,
    "broadcast": lambda array: np.broadcast_to(array[None], (1, *array.shape))[0],
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "misaligned": _misaligned,
    "subclass": lambda array: array.view(Subclass),
}
CONVERTED = {
    "lists": np.ndarray.tolist,
    "lazy": Lazy,
    "float16": lambda array: array.astype(np.float16),
    "float64": lambda array: array.astype(np.float64),
    "long double": lambda array: array.astype(np.longdouble),
    "ints": lambda array: array.astype(np.int8),
    "big ints": lambda array: array.astype(">i8"),
}


def arguments(policy, seed):
    """Whole numbers, so that every type of number can hold them."""
    rng = np.random.default_rng(seed)
    mask = rng.random((B, A)) < 0.4
    mask[:, 1] = False
    return {
        "logits": rng.integers(-2, 3, (B, A)).astype(np.float32),
        "value": rng.integers(-2, 3, B).astype(np.float32),
        "invalid_actions": mask,
        "rng": rng.integers(2**64, size=B, dtype=np.uint64),
        {"puct": "temperature", "gumbel": "gumbel_scale"}[policy]: np.array([1.0, 0.0, 2.0]),
    }


def answers(layout, seed):
    rng = np.random.default_rng(seed)
    numbers = rng.integers(-2, 3, (S, B, A)), rng.integers(-1, 2, (3, S, B))

    def network(parent_index, action, node_index):
        reward, discount, value = (field[node_index - 1].astype(np.float32) for field in numbers[1])
        logits = numbers[0][node_index - 1].astype(np.float32)
        return mcts.RecurrentOutput(*map(layout, (reward, discount, logits, value)))

    return network


def search(policy, backend, given, layout=lambda array: array, seed=0):
    given = dict(given)
    root = mcts.RootOutput(given.pop("logits"), given.pop("value"))
    return POLICIES[policy](root, answers(layout, seed), S, backend=backend, **given)


def assert_same(found, expected):
    for name in RESULT_FIELDS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    for name in PUBLIC_FIELDS:
        np.testing.assert_array_equal(found.tree.nodes[name], expected.tree.nodes[name], err_msg=name)
    np.testing.assert_array_equal(found.tree.prior_logits, expected.tree.prior_logits)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_of_any_argument(policy, layout, backend, seed):
    given = arguments(policy, seed)
    expected = search(policy, backend, given, seed=seed)
    for name, array in given.items():
        changed = LAYOUTS[layout](array)
        np.testing.assert_array_equal(changed, array)
        assert_same(search(policy, backend, given | {name: changed}, seed=seed), expected)
    assert_same(search(policy, backend, given, LAYOUTS[layout], seed=seed), expected)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("convert", CONVERTED)
def test_any_kind_of_number(policy, convert, backend, seed):
    given = arguments(policy, seed)
    expected = search(policy, backend, given, seed=seed)
    for name in given.keys() - {"invalid_actions", "rng"}:
        assert_same(search(policy, backend, given | {name: CONVERTED[convert](given[name])}, seed=seed), expected)
    assert_same(search(policy, backend, given, CONVERTED[convert], seed=seed), expected)
    if convert in ("lists", "lazy"):
        mask = CONVERTED[convert](given["invalid_actions"])
        assert_same(search(policy, backend, given | {"invalid_actions": mask}, seed=seed), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_of_moves_and_kept_trees(layout, backend, seed):
    given = arguments("puct", seed)
    tree = search("puct", backend, given, seed=seed).tree
    moves = np.random.default_rng(seed).integers(-1, A, (B, 2))
    kept = tree.keep(moves)
    changed = tree.keep(LAYOUTS[layout](moves))
    np.testing.assert_array_equal(changed.source, kept.source)
    if layout == "big-endian":  # a tree's own arrays have one type
        return
    arrays = LAYOUTS[layout](kept.tree.nodes), LAYOUTS[layout](kept.tree.prior_logits)
    changed = mcts.KeptTree(mcts.Tree(*arrays), kept.source)

    def go_on(tree):
        def network(parent_index, action, node_index):
            return answers(lambda array: array, seed)(parent_index, action, node_index % S + 1)

        root = mcts.RootOutput(given["logits"], given["value"])
        return mcts.muzero_policy(root, network, 6, rng=given["rng"], kept=tree, backend=backend)

    assert_same(go_on(changed), go_on(kept))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64])
def test_counts_of_any_integer_type(policy, kind, backend):
    root = mcts.RootOutput(np.zeros((2, A)), np.zeros(2))
    output = mcts.RecurrentOutput(np.zeros(2), np.ones(2), np.zeros((2, A)), np.ones(2))
    options = {"max_depth": kind(3), "leaves_per_step": kind(1), "num_threads": kind(2)}
    result = POLICIES[policy](root, lambda *_: output, kind(127), rng=kind(3), backend=backend, **options)
    assert (result.visit_counts.sum(axis=1) == 127).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_what_the_caller_overwrites_meanwhile_does_not_matter(policy, backend, seed):
    """A network may answer in the buffers that its first prediction came in."""
    given = arguments(policy, seed)
    expected = search(policy, backend, given, seed=seed)
    given = {name: array.copy() for name, array in given.items()}
    network = answers(lambda array: array, seed)

    def overwriting(*asked):
        for array in given.values():
            array[...] = 1
        return network(*asked)

    root = mcts.RootOutput(given["logits"], given["value"])
    options = {name: array for name, array in given.items() if name not in ("logits", "value")}
    assert_same(POLICIES[policy](root, overwriting, S, backend=backend, **options), expected)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("logits", [[0, 1, 2, 3], [0]], "root.prior_logits: expected an array, got what is none: .*inhomogeneous"),
        ("value", [0, [1, 2], 3], "root.value: expected an array, got what is none: .*inhomogeneous"),
        ("value", np.float32(0), r"root.value: expected shape \(3,\), got \(\)"),
        ("logits", np.float32(0), r"root.prior_logits: expected shape \(B, A\) with B, A >= 1, got \(\)"),
        ("logits", np.zeros((B, 0)), r"root.prior_logits: expected shape \(B, A\) with B, A >= 1, got \(3, 0\)"),
        ("invalid_actions", np.False_, r"invalid_actions: expected shape \(3, 4\) like root.prior_logits, got \(\)"),
        ("invalid_actions", [[True], []], "invalid_actions: expected an array, got what is none: .*inhomogeneous"),
        ("temperature", [[1], []], "temperature: expected an array, got what is none: .*inhomogeneous"),
        ("rng", np.zeros((), np.uint64), r"rng: expected one key per root, shape \(3,\), got shape \(\)"),
    ],
)
def test_what_is_no_array_is_refused_by_name(name, array, message, backend, seed):
    with pytest.raises(ValueError, match=message):
        search("puct", backend, arguments("puct", seed) | {name: array})


def test_rows_of_different_lengths_in_an_answer_are_refused_by_name(backend):
    answer = mcts.RecurrentOutput([0, 0, 0], [1, 1, 1], [[0] * A, [0], [0] * A], [0, 0, 0])
    root = mcts.RootOutput(np.zeros((B, A)), np.zeros(B))
    message = r"recurrent_fn, simulation 0: prior_logits: expected an array, got what is none: .*inhomogeneous"
    with pytest.raises(ValueError, match=message):
        mcts.muzero_policy(root, lambda *_: answer, 3, rng=0, backend=backend)


def test_moves_of_different_lengths_are_refused_by_name(backend, seed):
    tree = search("puct", backend, arguments("puct", seed)).tree
    with pytest.raises(ValueError, match=r"moves: expected an array, got what is none: .*inhomogeneous"):
        tree.keep([[0, 1], [0], [1, 1]])
