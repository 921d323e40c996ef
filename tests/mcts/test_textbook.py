"""Every node of a search equals that of a textbook search that shares no code with it."""

from __future__ import annotations

import numpy as np
import pytest

import mcts

from . import oracles
from .models import RandomModel, random_masks

POLICIES = {"puct": mcts.muzero_policy, "gumbel": mcts.gumbel_muzero_policy}
QUIET = {"puct": {"dirichlet_fraction": 0.0}, "gumbel": {"gumbel_scale": 0.0, "max_num_considered_actions": 8}}


class PathModel(RandomModel):
    """A random world that the oracles can ask for a path of actions from the present root."""

    def evaluate(self, history):
        reward, discount, logits, value = self._node((*self._paths[0][0], *history))
        return (
            float(np.float32(reward)),
            float(np.float32(discount)),
            logits.astype(np.float32).tolist(),
            float(np.float32(value)),
        )


def compare_with_oracle(node, entry):
    assert len(node.values) == entry["visits"]
    assert node.waiting == 0
    assert node.value == pytest.approx(entry["value"], rel=1e-9, abs=1e-12)
    assert sorted(node.children) == sorted(child["action"] for child in entry["children"])
    for child in entry["children"]:
        edge = node.children[child["action"]]
        assert edge.q == pytest.approx(child["qvalue"], rel=1e-9, abs=1e-12)
        compare_with_oracle(edge.child, child)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("num_actions", [2, 5, 20])
@pytest.mark.parametrize("discount", [-1.0, 0.9])
@pytest.mark.parametrize("max_depth", [None, 2])
@pytest.mark.parametrize("leaves_per_step", [1, 2, 7, 100])
def test_search_equals_the_textbook(policy, num_actions, discount, max_depth, leaves_per_step, seed, backend):
    rng = np.random.default_rng((seed, num_actions))
    model = PathModel([seed], num_actions, discount=discount)
    invalid = random_masks(rng, 1, num_actions, share=0.3)
    prediction = model.root()
    loss = {"virtual_loss": [0.0, 1.0, 3.5][seed % 3]} if policy == "puct" else {}
    result = POLICIES[policy](
        prediction,
        model,
        60,
        rng=0,
        invalid_actions=invalid,
        max_depth=max_depth,
        leaves_per_step=leaves_per_step,
        backend=backend,
        **QUIET[policy],
        **loss,
    )
    allowed = (~invalid[0]).tolist()
    root = oracles.plant(prediction.prior_logits[0], prediction.value[0], allowed)
    limits = {"allowed": allowed, "max_depth": max_depth or 10**9, "leaves_per_step": leaves_per_step}
    if policy == "puct":
        oracles.puct_search(root, model.evaluate, 60, **limits, **loss)
    else:
        oracles.gumbel_search(root, model.evaluate, 60, **limits, num_considered=8)
    compare_with_oracle(root, result.tree.to_dict())


@pytest.mark.parametrize("num_actions", [2, 5, 20])
@pytest.mark.parametrize("discount", [-1.0, 0.9])
@pytest.mark.parametrize("max_depth", [None, 4])
@pytest.mark.parametrize(("leaves_per_step", "virtual_loss"), [(1, 0.0), (5, 0.5)])
def test_kept_trees_equal_the_textbook(num_actions, discount, max_depth, leaves_per_step, virtual_loss, seed, backend):
    """Three searches with two moves between each, and other actions forbidden every time."""
    rng = np.random.default_rng((seed, num_actions))
    model = PathModel([seed], num_actions, discount=discount)
    settings = {"max_depth": max_depth, "leaves_per_step": leaves_per_step, "virtual_loss": virtual_loss}
    kept, oracle, below = None, None, {}
    for num_simulations in (60, 25, 40):
        prediction, invalid = model.root(), random_masks(rng, 1, num_actions, share=0.3)
        allowed = (~invalid[0]).tolist()
        result = mcts.muzero_policy(
            prediction,
            model,
            num_simulations,
            rng=0,
            invalid_actions=invalid,
            dirichlet_fraction=0.0,
            kept=kept,
            backend=backend,
            **settings,
        )
        arguments = (prediction.prior_logits[0], prediction.value[0], allowed)
        oracle = oracles.plant(*arguments) if oracle is None else oracles.replant(oracle, *arguments)
        limits = {**settings, "max_depth": max_depth or 10**9, "allowed": allowed}
        oracles.puct_search(oracle, model.evaluate, num_simulations, **limits)
        compare_with_oracle(oracle, result.tree.to_dict())
        # On along the most visited edge, and below it again.
        first = max(oracle.children, key=lambda action: oracle.children[action].visits)
        below = oracle.children[first].child
        second = max(below.children, key=lambda action: below.children[action].visits)
        oracle = below.children[second].child
        moves = np.array([[first, second]])
        kept = result.tree.keep(moves)
        model.go_on(kept.source, moves)
