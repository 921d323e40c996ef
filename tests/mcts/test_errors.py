"""Every wrong argument is named, with what was expected and what came."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import mcts

from .models import ConstantModel

POLICIES = {"puct": mcts.muzero_policy, "gumbel": mcts.gumbel_muzero_policy}
policies = pytest.mark.parametrize("policy", POLICIES)


def search(policy="puct", *, num_simulations=6, root=None, **kwargs):
    model = kwargs.pop("model", ConstantModel(3, 4))
    root = ConstantModel(3, 4).root() if root is None else root
    return POLICIES[policy](root, model, num_simulations, **{"rng": 0, **kwargs})


ONE_ROW_STUCK = np.array([[False] * 4, [True] * 4, [False] * 4])
LOGITS = np.zeros((3, 4))


@policies
@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"num_simulations": 0}, ValueError, "num_simulations: expected a number >= 1, got 0"),
        ({"num_simulations": 2.5}, TypeError, "num_simulations: expected an int, got float"),
        ({"num_simulations": True}, TypeError, "num_simulations: expected an int, got bool"),
        ({"num_simulations": 2**70}, ValueError, "num_simulations: a search of 3 roots, 4 actions and 1180591620717"),
        ({"max_depth": 0}, ValueError, "max_depth: expected a number >= 1, got 0"),
        ({"leaves_per_step": 0}, ValueError, "leaves_per_step: expected a number >= 1, got 0"),
        ({"leaves_per_step": 2.0}, TypeError, "leaves_per_step: expected an int, got float"),
        ({"num_threads": 0}, ValueError, "num_threads: expected a number >= 1, got 0"),
        ({"backend": "cuda"}, ValueError, "backend: expected one of native, python, got 'cuda'"),
        ({"qtransform": "siblings"}, TypeError, "qtransform: expected a value made by mcts.qtransform_"),
        ({"model": 3}, TypeError, "recurrent_fn: expected a callable, got int"),
        ({"root": LOGITS}, TypeError, "root: expected a mcts.RootOutput, got ndarray"),
        ({"root": mcts.RootOutput(np.zeros(4), 0.0)}, ValueError, r"root.prior_logits: expected shape \(B, A\)"),
        ({"root": mcts.RootOutput(np.zeros((0, 4)), np.zeros(0))}, ValueError, r"with B, A >= 1, got \(0, 4\)"),
        (
            {"root": mcts.RootOutput(LOGITS, np.zeros((3, 1)))},
            ValueError,
            r"root.value: expected shape \(3,\), got \(3, 1\)",
        ),
        (
            {"root": mcts.RootOutput(LOGITS + 1j, np.zeros(3))},
            TypeError,
            "root.prior_logits: expected an array of",
        ),
        ({"root": mcts.RootOutput(LOGITS, [0, np.nan, 0])}, ValueError, "root.value: .* got nan at root 1"),
        (
            {"root": mcts.RootOutput(LOGITS + np.array([[0], [0], [np.nan]]), np.zeros(3))},
            ValueError,
            "root.prior_logits: root 2: expected finite numbers or -inf, got nan for action 0",
        ),
        (
            {"root": mcts.RootOutput(LOGITS - np.array([[0], [np.inf], [0]]), np.zeros(3))},
            ValueError,
            "root.prior_logits: root 1: expected a finite number for at least one action, got only -inf",
        ),
        (
            {"invalid_actions": np.zeros((3, 4), int)},
            TypeError,
            r"invalid_actions: expected dtype bool \(True = forbidden\), got int64",
        ),
        (
            {"invalid_actions": np.zeros((3, 5), bool)},
            ValueError,
            r"invalid_actions: expected shape \(3, 4\) like root.prior_logits, got \(3, 5\)",
        ),
        ({"invalid_actions": ONE_ROW_STUCK}, ValueError, "invalid_actions: .* root 1 has none"),
        ({"rng": "42"}, TypeError, "rng: expected an int, a numpy.random.Generator or a uint64 array, got str"),
        ({"rng": -1}, ValueError, "rng: expected a seed in"),
        ({"rng": np.zeros(3)}, TypeError, "rng: expected keys of dtype uint64, got float64"),
        (
            {"rng": np.zeros(2, np.uint64)},
            ValueError,
            r"rng: expected one key per root, shape \(3,\), got .*\(2,\)",
        ),
    ],
)
def test_arguments(policy, kwargs, error, message):
    with pytest.raises(error, match=message):
        search(policy, **kwargs)


@pytest.mark.parametrize(
    ("policy", "kwargs", "error", "message"),
    [
        (
            "puct",
            {"dirichlet_fraction": 1.5},
            ValueError,
            r"dirichlet_fraction: .* in \[0, 1\], got 1.5",
        ),
        ("puct", {"dirichlet_alpha": 0.0}, ValueError, r"dirichlet_alpha: .* in \[1e-50, 1e\+50\], got 0.0"),
        ("puct", {"dirichlet_alpha": "a"}, TypeError, "dirichlet_alpha: expected a number, got str"),
        ("puct", {"pb_c_init": -1}, ValueError, r"pb_c_init: expected a number in \[0, 1e\+50\], got -1"),
        ("puct", {"pb_c_base": np.nan}, ValueError, "pb_c_base: .* got nan"),
        ("puct", {"virtual_loss": -1.0}, ValueError, r"virtual_loss: .* in \[0, 1e\+50\], got -1.0"),
        ("puct", {"virtual_loss": np.inf}, ValueError, r"virtual_loss: .* got inf"),
        ("puct", {"temperature": -0.5}, ValueError, r"temperature: expected numbers in \[0, 1e\+50\], got -0.5"),
        ("puct", {"temperature": np.ones(2)}, ValueError, r"temperature: expected a number or shape \(3,\), got"),
        ("puct", {"temperature": "hot"}, TypeError, "temperature: expected a number"),
        ("gumbel", {"gumbel_scale": np.ones(2)}, ValueError, r"gumbel_scale: expected a number or shape \(3,\), got"),
        ("gumbel", {"gumbel_scale": -1.0}, ValueError, r"gumbel_scale: expected numbers in \[0, 1e\+50\], got -1"),
        ("gumbel", {"max_num_considered_actions": 0}, ValueError, "max_num_considered_actions: .*>= 1, got 0"),
    ],
)
def test_arguments_of_one_policy(policy, kwargs, error, message):
    with pytest.raises(error, match=message):
        search(policy, **kwargs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mcts.qtransform_by_min_max(min_value=1, max_value=1), "max_value: expected more than min_value = 1"),
        (lambda: mcts.qtransform_by_min_max(min_value=np.nan, max_value=1), "min_value: expected a number in .* nan"),
        (lambda: mcts.qtransform_by_min_max(min_value=0, max_value=1e-51), "max_value: .* at least 1e-50, got 1e-51"),
        (lambda: mcts.qtransform_by_parent_and_siblings(epsilon=0), r"epsilon: .* in \[1e-50, 1e\+50\], got 0"),
        (lambda: mcts.qtransform_by_tree_min_max(epsilon=-1), "epsilon: expected a number in .*, got -1"),
        (lambda: mcts.qtransform_completed_by_mix_value(value_scale=-1), r"value_scale: .* in \[0, 1e\+50\], got -1"),
        (lambda: mcts.qtransform_completed_by_mix_value(maxvisit_init=np.inf), "maxvisit_init: .*, got inf"),
        (lambda: mcts.memory_bytes(0, 4, 4), "num_roots: expected a number >= 1, got 0"),
    ],
)
def test_other_functions(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def corrupted(field, value, at_node=4, root=1):
    """Makes a model that returns one wrong number in one simulation."""
    good = ConstantModel(3, 4).output

    def model(parent_index, action, node_index):
        output = {name: array.copy() for name, array in good._asdict().items()}
        if node_index == at_node:
            output[field][root] = value
        return mcts.RecurrentOutput(**output)

    return model


@policies
@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("reward", np.nan, "reward: expected a finite number, got nan"),
        ("reward", np.inf, "reward: expected a finite number, got inf"),
        ("value", np.nan, "value: expected a finite number, got nan"),
        ("discount", np.nan, r"discount: expected a number in \[-1, 1\], got nan"),
        ("discount", 1.5, r"discount: expected a number in \[-1, 1\], got 1.5"),
        ("discount", -1.01, r"discount: expected a number in \[-1, 1\], got -1.0"),
        ("prior_logits", np.nan, "prior_logits: expected finite numbers or -inf, got nan for action 0"),
        ("prior_logits", np.inf, "prior_logits: expected finite numbers or -inf, got inf for action 0"),
        ("prior_logits", -np.inf, "prior_logits: expected a finite number for at least one action, got only -inf"),
    ],
)
def test_numbers_of_the_network(policy, field, value, message, num_threads, backend):
    with pytest.raises(ValueError, match=rf"recurrent_fn, simulation 3, root 1: {message}"):
        search(policy, model=corrupted(field, value), num_threads=num_threads, backend=backend)


@policies
@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        (None, TypeError, "recurrent_fn: expected a mcts.RecurrentOutput, got NoneType in simulation 0"),
        ((1, 2), TypeError, "recurrent_fn: expected a mcts.RecurrentOutput, got tuple in simulation 0"),
        (
            (np.zeros(3), np.zeros(3), np.zeros((3, 5)), np.zeros(3)),
            ValueError,
            r"recurrent_fn, simulation 0: prior_logits: expected shape \(3, 4\), got \(3, 5\)",
        ),
        (
            (np.zeros((3, 1)), np.zeros(3), np.zeros((3, 4)), np.zeros(3)),
            ValueError,
            r"recurrent_fn, simulation 0: reward: expected shape \(3,\), got \(3, 1\)",
        ),
        (
            (np.zeros(3), np.zeros(3, bool), np.zeros((3, 4)), np.zeros(3)),
            TypeError,
            "recurrent_fn, simulation 0: discount: expected an array of floats, got dtype bool",
        ),
        (
            (np.zeros(3), np.zeros(3), np.zeros((3, 4)), ["a", "b", "c"]),
            TypeError,
            "recurrent_fn, simulation 0: value: expected an array of floats, got dtype <U1",
        ),
    ],
)
def test_shapes_and_types_of_the_network(policy, output, error, message, backend):
    with pytest.raises(error, match=message):
        search(policy, model=lambda *_: output, backend=backend)


def test_numbers_too_large_for_float32_are_refused(backend):
    with pytest.raises(ValueError, match=r"root.value: expected finite numbers, got inf at root 0"):
        search(root=mcts.RootOutput(LOGITS, np.full(3, 1e300)), backend=backend)


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"num_simulations: a search of 3 roots, 4 actions and .* simulations needs"):
        search(num_simulations=2**33)


def test_an_error_in_the_network_comes_through(backend):
    def model(parent_index, action, node_index):
        raise RuntimeError("the network failed")

    with pytest.raises(RuntimeError, match="the network failed"):
        search(model=model, backend=backend, num_threads=2)


def test_a_missing_core_says_how_to_build_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mcts._core", None)
    with pytest.raises(ImportError, match=r"mcts._core is not built; build it with `pip install -e .`"):
        search(backend="native")


def test_an_unknown_backend_in_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("MCTS_BACKEND", "gpu")
    with pytest.raises(ValueError, match="MCTS_BACKEND: expected one of native, python, got 'gpu'"):
        search()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"address": 0}, ValueError, r"address: expected an address in \[1, \d+\], got 0"),
        ({"address": -8}, ValueError, "address: expected an address in .*, got -8"),
        ({"address": 2**64}, ValueError, "address: expected an address in .*, got 18446744073709551616"),
        ({"address": True}, TypeError, "address: expected an int, got bool"),
        ({"address": 4096.0}, TypeError, "address: expected an int, got float"),
        ({"address": None}, TypeError, "address: expected an int, got NoneType"),
        ({"context": -1}, ValueError, r"context: expected an address in \[0, \d+\], got -1"),
        ({"context": 2**64}, ValueError, "context: expected an address in"),
        ({"context": False}, TypeError, "context: expected an int, got bool"),
        ({"context": None}, TypeError, "context: expected an int, got NoneType"),
        ({"abi": 2}, ValueError, "abi: expected 1, got 2; build the function for this mcts/_native.h"),
        ({"abi": 0}, ValueError, "abi: expected 1, got 0"),
        ({"abi": True}, TypeError, "abi: expected an int, got bool"),
        ({"abi": "1"}, TypeError, "abi: expected an int, got str"),
        ({"fallback": 3}, TypeError, "fallback: expected a callable, got int"),
    ],
)
def test_native_functions(changes, error, message):
    good = {"address": 4096, "context": 0, "owner": None}
    assert mcts.NativeRecurrentFn(**good).abi == 1
    assert mcts.NativeRecurrentFn(**good, abi=1, fallback=print) != mcts.NativeRecurrentFn(**good)
    with pytest.raises(error, match=message):
        mcts.NativeRecurrentFn(**good | changes)


def test_what_a_native_function_owns_is_not_shown():
    native = mcts.NativeRecurrentFn(4096, 0, np.zeros(10**6))
    assert repr(native) == "NativeRecurrentFn(address=4096, context=0, abi=1)"


class Halved(mcts.QTransform):
    """A formula of one's own."""

    def __call__(self, nodes):
        return np.where(nodes.visit_counts > 0, nodes.qvalues, nodes.raw_value[:, None]) / 2


class Narrow(type(mcts.qtransform_by_tree_min_max())):
    """One of the four, overridden: the native core would not notice."""


@policies
@pytest.mark.parametrize("transform", [Halved(), Narrow()])
def test_the_native_core_refuses_formulas_it_does_not_have(policy, transform, monkeypatch):
    message = r'qtransform: .*whose formulas the native core has, got \w+; backend="python" takes any mcts.QTransform'
    with pytest.raises(TypeError, match=message):
        search(policy, qtransform=transform)
    monkeypatch.setenv("MCTS_BACKEND", "python")
    assert (search(policy, qtransform=transform).visit_counts.sum(axis=1) == 6).all()


@policies
def test_rows_of_a_network_call_are_numbered_in_int32(policy):
    root = mcts.RootOutput(np.zeros((2**16, 1)), np.zeros(2**16))
    message = "leaves_per_step: expected at most 2,147,483,647 rows in a .*, got 32,768 leaves of 65,536 roots"
    with pytest.raises(ValueError, match=message):
        search(policy, root=root, num_simulations=2**15, leaves_per_step=2**20)
