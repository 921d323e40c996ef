"""What the fuzzer found once."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import mcts

FIELDS = mcts.RecurrentOutput._fields
BEGIN = """
import numpy as np, mcts
good = mcts.RecurrentOutput(np.zeros(2), np.ones(2), np.zeros((2, 3)), np.zeros(2))
root = mcts.RootOutput(good.prior_logits, good.value)
"""


def run(program: str, *arguments: str) -> None:
    """Runs a program in a process of its own: it may crash."""
    command = [sys.executable, "-c", BEGIN + program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]


MISSING = """
import sys
try:
    mcts.muzero_policy(root, lambda *_: good._replace(**dict.fromkeys(sys.argv[1:])), 3, rng=0)
except TypeError as error:
    assert str(error).startswith(f"recurrent_fn, simulation 0: {sys.argv[1]}: expected an array of floats"), error
else:
    raise AssertionError("was not refused")
"""


@pytest.mark.parametrize("missing", [(field,) for field in FIELDS] + [FIELDS])
def test_none_is_no_array(missing):
    run(MISSING, *missing)


SCRIBBLE = """
def scribbling(parent_index, action, node_index):
    try:
        parent_index[:], action[:] = 10**6, 10**6
    except ValueError:  # read-only: just as well
        pass
    return good

for policy in (mcts.muzero_policy, mcts.gumbel_muzero_policy):
    result = policy(root, scribbling, 8, rng=0)
    assert (result.visit_counts.sum(axis=1) == 8).all()
"""


def test_a_network_cannot_change_where_the_search_is():
    run(SCRIBBLE)


def test_misaligned_arrays_are_copied():
    from mcts.search import as_float32

    array = np.zeros(17, np.uint8)[1:].view(np.float32)
    assert as_float32("x", array, (4,)).flags.aligned


@pytest.mark.parametrize("policy", [mcts.muzero_policy, mcts.gumbel_muzero_policy])
def test_rewards_at_the_end_of_float32(policy):
    largest = np.full(2, np.finfo(np.float32).max)
    answer = mcts.RecurrentOutput(largest, np.ones(2), np.zeros((2, 3)), largest)
    result = policy(mcts.RootOutput(answer.prior_logits, np.zeros(2)), lambda *_: answer, 8, rng=0)
    assert np.isfinite(result.qvalues).all()
    assert np.isfinite(result.root_value).all()
