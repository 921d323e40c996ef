"""Random searches for the property tests: a world, the arguments, and what is played between two searches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import mcts

from .models import RandomModel, random_masks

POLICIES = {"puct": mcts.muzero_policy, "gumbel": mcts.gumbel_muzero_policy}
QTRANSFORMS = (
    mcts.qtransform_by_min_max(min_value=-9, max_value=9),
    mcts.qtransform_by_parent_and_siblings(),
    mcts.qtransform_by_tree_min_max(),
    mcts.qtransform_completed_by_mix_value(),
)


@dataclass(frozen=True)
class Played:
    """What one search was asked and what it found."""

    model: RandomModel
    invalid_actions: np.ndarray
    num_simulations: int
    kept: mcts.KeptTree | None
    result: mcts.SearchResult


@dataclass(frozen=True)
class Scenario:
    """One search after another in the same worlds, from where the moves between them lead."""

    worlds: np.ndarray
    num_actions: int
    world: dict[str, Any]
    keys: np.ndarray
    num_simulations: list[int]
    invalid_actions: list[np.ndarray]
    moves: list[np.ndarray]
    arguments: dict[str, Any]

    @property
    def leaves_per_step(self):
        return self.arguments["leaves_per_step"]

    def play(self, policy, backend, rows=slice(None), **changes):
        """Searches with some of the roots and returns the last search."""
        model, kept = RandomModel(self.worlds[rows], self.num_actions, **self.world), None
        for turn, num_simulations in enumerate(self.num_simulations):
            if turn:
                moves = self.moves[turn - 1][rows]
                kept = result.tree.keep(moves)  # noqa: F821 - made in the turn before
                model.go_on(kept.source, moves)
            result = POLICIES[policy](
                model.root(),
                model,
                num_simulations,
                rng=self.keys[rows],
                invalid_actions=self.invalid_actions[turn][rows],
                backend=backend,
                **self.arguments,
                **({} if kept is None else {"kept": kept}),
                **changes,
            )
        return Played(model, self.invalid_actions[turn][rows], num_simulations, kept, result)


@st.composite
def scenarios(draw, kind):
    """Draws a scenario: `plain`, with several `leaves`, several leaves and virtual `loss`, or with `kept` trees."""
    num_roots = draw(st.integers(1, 4))
    num_actions = draw(st.sampled_from([1, 2, 3, 8, 19, 60]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    turns = draw(st.integers(2, 3)) if kind == "kept" else 1
    arguments = {
        "max_depth": draw(st.sampled_from([None, 1, 3])),
        "qtransform": draw(st.sampled_from(QTRANSFORMS)),
        "leaves_per_step": 1 if kind == "plain" else draw(st.sampled_from([2, 3, 8, 50])),
    }
    if kind in ("loss", "kept"):
        arguments["virtual_loss"] = draw(st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    if kind == "kept":
        arguments["leaves_per_step"] = draw(st.sampled_from([1, 3]))
    depth = draw(st.integers(1, 2))
    return Scenario(
        worlds=rng.integers(2**31, size=num_roots),
        num_actions=num_actions,
        world={"discount": draw(st.sampled_from([1.0, 0.9, -1.0])), "grid": draw(st.sampled_from([None, 1]))},
        keys=rng.integers(2**64, size=num_roots, dtype=np.uint64),
        num_simulations=[draw(st.integers(1, 30)) for _ in range(turns)],
        invalid_actions=[random_masks(rng, num_roots, num_actions) for _ in range(turns)],
        # -1: a game that begins anew.
        moves=[rng.integers(-1 if draw(st.booleans()) else 0, num_actions, (num_roots, depth)) for _ in range(turns)],
        arguments=arguments,
    )


def without_numbers(entry):
    """Returns an exported tree without the numbers of its nodes."""
    children = [without_numbers(child) for child in entry["children"]]
    return {name: value for name, value in entry.items() if name != "node"} | {"children": children}
