"""What the native MLP refuses, and that it says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mcts
from tests.mcts.mlps import Architecture

pytest.importorskip("mcts._mlp")

ARCHITECTURE = Architecture()
WEIGHTS = ARCHITECTURE.weights(0)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"stem": (np.zeros(3), np.zeros(3))}, ValueError, r"stem\.weight: expected shape \(outputs, inputs\)"),
        ({"stem": np.zeros((20, 5))}, TypeError, r"stem: expected a pair \(weight, bias\), got ndarray"),
        ({"dynamics": []}, ValueError, "dynamics: expected at least one block, got none"),
        ({"dynamics": [WEIGHTS.stem[:1]]}, TypeError, r"dynamics\[0\]: expected a pair \(first, second\), got tuple"),
        ({"hidden": (np.zeros((17, 19)), np.zeros(17))}, ValueError, r"hidden\.weight: .*\(17, 20\), got \(17, 19\)"),
        ({"output": (np.zeros((15, 17)), np.zeros(15))}, ValueError, r"output\.weight: .*\(16, 17\), got \(15, 17\)"),
        ({"embedding": np.zeros((4, 20))}, ValueError, r"embedding: expected shape \(4, 24\), got \(4, 20\)"),
        ({"hidden": (np.full((17, 20), "x"), np.zeros(17))}, TypeError, r"hidden\.weight: expected an array of floats"),
    ],
)
def test_weights_that_do_not_fit_are_named(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ARCHITECTURE.build(WEIGHTS._replace(**changes))


def test_options_that_do_not_exist_are_named() -> None:
    with pytest.raises(ValueError, match="latent_norm: expected one of rms, minmax, got 'l2'"):
        dataclasses.replace(ARCHITECTURE, norm="l2").build(WEIGHTS)
    with pytest.raises(ValueError, match=r"instruction_set: expected one of .*baseline, got 'mmx'"):
        ARCHITECTURE.build(WEIGHTS, "mmx")
    with pytest.raises(ValueError, match="low < high, got 1 and 1"):
        mcts.CategoricalSupport(1, 1, 3)
    with pytest.raises(ValueError, match="num_bins: expected at least 2, got 1"):
        mcts.CategoricalSupport(0, 1, 1)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda m: m.initial(np.zeros(5)), ValueError, r"observations: expected shape \(B, 5\).*got \(5,\)"),
        (lambda m: m.initial(np.zeros((2, 4))), ValueError, r"observations: expected shape \(B, 5\).*got \(2, 4\)"),
        (lambda m: m.initial(np.zeros((2, 5), complex)), TypeError, "observations: expected an array of floats"),
        (lambda m: m.recurrent(np.zeros((2, 19)), [0, 0]), ValueError, r"latents: expected shape \(2, 20\)"),
        (lambda m: m.recurrent(np.zeros((2, 20)), [0, 4]), ValueError, r"actions: .*in \[0, 4\), got 0\.\.4"),
        (lambda m: m.recurrent(np.zeros((2, 20)), [0.0, 1.0]), TypeError, "actions: expected an array of integers"),
        (lambda m: m.recurrent(np.zeros((2, 20)), 1), ValueError, r"actions: expected shape \(B,\), got \(\)"),
        (lambda m: m.recurrent_fn(np.zeros(20), 9, 1.0), ValueError, r"root_latent: .*\(B, 20\).*got \(20,\)"),
        (lambda m: m.recurrent_fn(np.zeros((2, 9)), 9, 1.0), ValueError, r"root_latent: expected shape \(2, 20\)"),
        (lambda m: m.recurrent_fn(np.zeros((2, 20)), 1, 1.0), ValueError, "num_nodes: expected a number >= 2, got 1"),
        (lambda m: m.recurrent_fn(np.zeros((2, 20)), 2**30, 1.0), ValueError, "num_nodes: expected at most 2,147,48"),
        (lambda m: m.recurrent_fn(np.zeros((2, 20)), 9, 1.5), ValueError, r"discount: .*\[-1, 1\], got 1\.5"),
        (lambda m: m.recurrent_fn(np.zeros((2, 20)), 9, np.nan), ValueError, r"discount: .*\[-1, 1\], got nan"),
        (lambda m: m.recurrent_fn(np.zeros((2, 20)), 9, 1.0, 0), ValueError, "leaves_per_step: .*>= 1, got 0"),
    ],
)
def test_arguments_that_do_not_fit_are_named(
    ask: Callable[[mcts.ResidualMLP], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ask(ARCHITECTURE.build(WEIGHTS))
