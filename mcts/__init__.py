"""Batched Monte Carlo tree search over arrays, for any model that predicts reward, value and policy.

The search passes indices, never states: whoever owns the model keeps a pool of states by node number. See
`docs/planner.md` for a complete example.
"""

from __future__ import annotations

from mcts._isa import default_instruction_set, instruction_sets
from mcts.mlp import CategoricalSupport, MLPWeights, ResidualMLP
from mcts.native import NativeRecurrentFn
from mcts.policies import Search, gumbel_muzero_policy, muzero_policy
from mcts.qtransforms import (
    QTransform,
    qtransform_by_min_max,
    qtransform_by_parent_and_siblings,
    qtransform_by_tree_min_max,
    qtransform_completed_by_mix_value,
)
from mcts.search import memory_bytes
from mcts.tree import KeptTree, Tree, TreeSummary
from mcts.types import RecurrentFn, RecurrentOutput, RootOutput, SearchResult

__all__ = [
    "CategoricalSupport",
    "KeptTree",
    "MLPWeights",
    "NativeRecurrentFn",
    "QTransform",
    "RecurrentFn",
    "RecurrentOutput",
    "ResidualMLP",
    "RootOutput",
    "Search",
    "SearchResult",
    "Tree",
    "TreeSummary",
    "default_instruction_set",
    "gumbel_muzero_policy",
    "instruction_sets",
    "memory_bytes",
    "muzero_policy",
    "qtransform_by_min_max",
    "qtransform_by_parent_and_siblings",
    "qtransform_by_tree_min_max",
    "qtransform_completed_by_mix_value",
]
