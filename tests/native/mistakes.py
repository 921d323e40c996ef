"""Ways to spoil a sound search: each must be refused with an error that names the argument."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np

import mcts
from mcts.checks import LARGEST
from mcts.tree import NODE_DTYPE
from tests.native.cases import PARAMETERS, RANGES, Case
from tests.native.native_network import AVAILABLE, native_network

Mistake = Callable[[random.Random, Case], None]


class NetworkFailedError(Exception):
    """Is what a failing network raises: it must come through as it is."""


def spoil(rnd: random.Random, case: Case) -> None:
    """Makes one mistake in a case and says which in `case.wrong`."""
    mistake = rnd.choice(MISTAKES)
    case.wrong = mistake.__name__
    mistake(rnd, case)


def not_finite_scalar(rnd: random.Random, case: Case) -> None:
    """Puts a NaN or an infinity into a reward or a value."""
    field = rnd.choice(("reward", "value"))
    _put(rnd, case, field, rnd.choice((np.nan, np.inf, -np.inf)))


def discount_out_of_range(rnd: random.Random, case: Case) -> None:
    """Puts a discount beyond 1 into an answer."""
    _put(rnd, case, "discount", rnd.choice((np.nan, np.inf, 1.001, -1.001, 1e30)))


def bad_logit(rnd: random.Random, case: Case) -> None:
    """Puts a NaN or +infinity among an answer's logits."""
    _put(rnd, case, "prior_logits", rnd.choice((np.nan, np.inf)))


def no_finite_logit(rnd: random.Random, case: Case) -> None:
    """Leaves one answer without any finite logit."""
    logits = case.prior_logits = np.array(case.prior_logits)
    logits[rnd.randrange(logits.shape[0]), rnd.randrange(logits.shape[1])] = -np.inf


def bad_root(rnd: random.Random, case: Case) -> None:
    """Spoils a number of the root."""
    logits, value = np.array(case.root.prior_logits), np.array(case.root.value)
    row = rnd.randrange(len(value))
    if rnd.random() < 0.3:
        value[row] = rnd.choice((np.nan, np.inf, -np.inf))
    elif rnd.random() < 0.5:
        logits[row] = -np.inf
    else:
        invalid = case.arguments.get("invalid_actions")
        allowed = range(logits.shape[1]) if invalid is None else np.flatnonzero(~invalid[row])
        logits[row, rnd.choice(allowed)] = rnd.choice((np.nan, np.inf))
    case.root = mcts.RootOutput(logits, value)


def root_shape(rnd: random.Random, case: Case) -> None:
    """Gives the root another shape or type."""
    logits, value = case.root
    case.root = rnd.choice(
        (
            mcts.RootOutput(logits[:0], value[:0]),
            mcts.RootOutput(logits[:, :0], value),
            mcts.RootOutput(logits[0], value[0]),
            mcts.RootOutput(logits, value[:, None]),
            mcts.RootOutput(logits, np.append(value, value)),
            mcts.RootOutput(logits.astype(complex), value),
            mcts.RootOutput(logits, value.astype(str)),
            mcts.RootOutput(logits.astype(object), value),
            mcts.RootOutput(None, value),
            (logits,),
            logits,
            None,
        )
    )


def answer_shape(rnd: random.Random, case: Case) -> None:
    """Gives one array of the answers another shape or type."""
    which, change = rnd.randrange(4), rnd.choice(RESHAPES)

    def network(*arguments: Any) -> Any:
        output = [np.array(array) for array in case.answer(*arguments)]
        output[which] = change(output[which])
        return mcts.RecurrentOutput(*output)

    case.network = network


def answer_container(rnd: random.Random, case: Case) -> None:
    """Answers with something that is no RecurrentOutput."""
    answer = rnd.choice((None, (), (1, 2, 3), [1, 2, 3, 4], 5, "abcd", np.zeros(4)))
    case.network = lambda *arguments: answer


def failing_network(rnd: random.Random, case: Case) -> None:
    """Raises in the middle of the search."""
    fails_at = rnd.randrange(case.num_simulations) if "leaves_per_step" not in case.arguments else 0

    def network(parent_index: Any, action: Any, node_index: int) -> Any:
        if node_index - case.first_node >= fails_at:
            raise NetworkFailedError
        return case.answer(parent_index, action, node_index)

    case.network = network


def failing_native_network(rnd: random.Random, case: Case) -> None:
    """Answers with an error code in the middle of the search."""
    case.network = native_network(case, fails_at=rnd.randrange(case.num_simulations))


def bad_mask(rnd: random.Random, case: Case) -> None:
    """Gives a mask of the wrong kind, or one that leaves a root without actions."""
    num_roots, num_actions = case.root.prior_logits.shape
    full = np.zeros((num_roots, num_actions), np.bool_)
    full[rnd.randrange(num_roots)] = True
    good = np.zeros((num_roots, num_actions), np.bool_)
    case.arguments["invalid_actions"] = rnd.choice(
        (full, good.astype(int), good[None], good[:, :-1], np.append(good, good, axis=0), "none", good[0])
    )


def bad_number(rnd: random.Random, case: Case) -> None:
    """Gives a number that is none, or out of its range."""
    count = (0, -1, 2.5, True, "3", None, float("nan"), np.zeros(2))
    real = (float("nan"), float("inf"), -1e-9, "1", None, 1j, [1.0], True)
    known = {
        "num_simulations": (*count, 2**40, 2**70),
        "max_depth": count[:5],
        "num_threads": count,
        "leaves_per_step": count,
        "virtual_loss": real,
        "dirichlet_fraction": (*real, 1.1),
        "dirichlet_alpha": (*real, 0.0),
        "pb_c_init": real,
        "pb_c_base": (*real, 0.0),
        "temperature": (float("nan"), float("inf"), -1.0, "1", None, 1j, np.ones(1000), np.ones((1, 1))),
        "gumbel_scale": (*real[:6], np.ones(1000), True),
        "max_num_considered_actions": count,
        "backend": ("cuda", 3, ""),
        "qtransform": (None, "siblings", 3, mcts.qtransform_by_min_max),
        "rng": (None, "0", -1, 2**64, 1.0, True, np.zeros(1000, np.uint64), np.zeros(1), [1]),
    }
    name = rnd.choice([name for name in known if name in PARAMETERS[case.policy]])
    wrong = rnd.choice(known[name])
    if name == "num_simulations":
        case.num_simulations = wrong
    else:
        case.arguments[name] = wrong


def beyond_the_range(rnd: random.Random, case: Case) -> None:
    """Gives a constant that lies outside its range, by one bit or by far."""
    factories: dict[str, Callable[[float], Any]] = {
        "min_value": lambda x: mcts.qtransform_by_min_max(min_value=x, max_value=LARGEST),
        "max_value": lambda x: mcts.qtransform_by_min_max(min_value=-LARGEST, max_value=x),
        "epsilon": rnd.choice(
            (
                lambda x: mcts.qtransform_by_parent_and_siblings(epsilon=x),
                lambda x: mcts.qtransform_by_tree_min_max(epsilon=x),
                lambda x: mcts.qtransform_completed_by_mix_value(epsilon=x),
            )
        ),
        "value_scale": lambda x: mcts.qtransform_completed_by_mix_value(value_scale=x),
        "maxvisit_init": lambda x: mcts.qtransform_completed_by_mix_value(maxvisit_init=x),
    }
    name = rnd.choice([name for name in RANGES if name in factories or name in PARAMETERS[case.policy]])
    lower, upper = RANGES[name]
    wrong = rnd.choice(
        (math.nextafter(upper, math.inf), math.nextafter(lower, -math.inf), 1e60, 1.7e308, -1e60, lower - 1e-30)
    )
    wrong = wrong if not lower <= wrong <= upper else math.inf  # where the range swallows it
    if name in factories:
        case.prepare = lambda: factories[name](wrong)
    else:
        case.arguments[name] = wrong


def tamper(rnd: random.Random, kept: mcts.KeptTree) -> None:
    """Writes any number into any field of a kept tree, which may be none the worse for it."""
    tree = kept.tree
    row, node = rnd.randrange(tree.num_roots), rnd.randrange(tree.num_nodes)
    name = rnd.choice((*(name for name in NODE_DTYPE.names or () if not name.startswith("_")), "prior_logits"))
    if name == "prior_logits":
        tree.prior_logits[row, node, rnd.randrange(tree.num_actions)] = rnd.choice((np.nan, np.inf, -np.inf, 3e38))
    elif NODE_DTYPE[name].kind == "i":
        tree.nodes[name][row, node] = rnd.choice((-(2**31), -2, -1, 0, 1, 2, node, node + 1, 2**24, 2**30, 2**31 - 1))
    else:
        tree.nodes[name][row, node] = rnd.choice((np.nan, np.inf, -np.inf, -0.0, 1e-320, 1.0, -3e38))


MISTAKES: tuple[Mistake, ...] = (
    not_finite_scalar,
    not_finite_scalar,
    discount_out_of_range,
    bad_logit,
    bad_logit,
    no_finite_logit,
    bad_root,
    root_shape,
    answer_shape,
    answer_container,
    failing_network,
    *((failing_native_network,) if AVAILABLE else ()),
    bad_mask,
    bad_number,
    bad_number,
    beyond_the_range,
    beyond_the_range,
)
RESHAPES: tuple[Callable[[Any], Any], ...] = (
    lambda array: array[:0],
    lambda array: array[..., :-1],
    lambda array: array[None],
    lambda array: array[..., None],
    lambda array: np.append(array, array, axis=0),
    lambda array: array.astype(bool),
    lambda array: array.astype(complex),
    lambda array: array.astype(str),
    lambda array: array.astype(object),
    lambda array: "text",
    lambda array: 0.0,
    lambda array: None,
)


def _put(rnd: random.Random, case: Case, name: str, number: float) -> None:
    array = np.array(getattr(case, name))
    array[tuple(rnd.randrange(length) for length in array.shape)] = number
    setattr(case, name, array)
