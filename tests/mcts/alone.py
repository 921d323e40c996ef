"""Searches with the installed planner where Python and NumPy is all there is; run as a program, without pytest.

    python tests/mcts/alone.py

It needs no other file of the tests, so it says of any wheel whether it works.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import mcts

ROOTS, ACTIONS, SIMULATIONS = 4, 5, 30


def world() -> tuple[mcts.RootOutput, mcts.RecurrentFn]:
    """Returns a game of hidden numbers: what an edge is worth depends on where it starts and on the action."""
    table = np.random.default_rng(0).normal(size=(SIMULATIONS + 1, ACTIONS)).astype(np.float32)

    def recurrent_fn(parent_index: Any, action: Any, node_index: int) -> mcts.RecurrentOutput:
        reward = table[parent_index, action]
        logits = np.repeat(table[node_index][None], len(action), axis=0)
        return mcts.RecurrentOutput(reward, np.full_like(reward, 0.9), logits, -reward)

    return mcts.RootOutput(np.repeat(table[:1], ROOTS, axis=0), np.zeros(ROOTS, np.float32)), recurrent_fn


def model() -> mcts.ResidualMLP:
    """Returns a world model of random weights that native code evaluates."""
    rng = np.random.default_rng(1)

    def layer(outputs: int, inputs: int) -> tuple[Any, Any]:
        return rng.normal(size=(outputs, inputs)) / np.sqrt(inputs), np.zeros(outputs)

    block = (layer(8, 6), layer(6, 8))
    support = mcts.CategoricalSupport(-1.0, 1.0, 3)
    weights = mcts.MLPWeights(
        layer(6, 3), [block], rng.normal(size=(ACTIONS, 8)), [block], [block], layer(7, 6), layer(ACTIONS + 6, 7)
    )
    return mcts.ResidualMLP(weights, value_support=support, reward_support=support)


def main() -> None:
    """Makes searches of every kind; an assertion fails where one is wrong."""
    root, recurrent_fn = world()
    for policy in (mcts.muzero_policy, mcts.gumbel_muzero_policy):
        results = [policy(root, recurrent_fn, SIMULATIONS, rng=0, backend=backend) for backend in ("native", "python")]
        for result in results:
            assert (result.visit_counts.sum(axis=1) == SIMULATIONS).all(), result.visit_counts
            assert (result.visit_counts == results[0].visit_counts).all(), "the two backends differ"
    network = model()
    latent, prior_logits, value = network.initial(np.ones((ROOTS, 3), np.float32))
    imagine = network.recurrent_fn(latent, SIMULATIONS + 1, discount=0.9)
    searched = mcts.muzero_policy(mcts.RootOutput(prior_logits, value), imagine, SIMULATIONS, rng=0)
    assert (searched.visit_counts.sum(axis=1) == SIMULATIONS).all(), searched.visit_counts
    others = sys.modules.keys() & {"gymnasium", "muzero_wm", "numba", "pydantic", "scipy", "torch"}
    assert not others, f"mcts imported {others}"
    print(f"mcts in {mcts.__path__[0]} searches: {', '.join(mcts.instruction_sets())}")


if __name__ == "__main__":
    main()
