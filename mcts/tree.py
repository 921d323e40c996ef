"""The search tree as it is handed out: its arrays, what can be kept of it, and ways to look at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mcts import export
from mcts._holder import ArrayHolder
from mcts.kept import keep
from mcts.nodes import NODE_DTYPE, TreeArrays, TreeSummary

__all__ = ["NODE_DTYPE", "KeptTree", "Tree", "TreeSummary"]


class Tree(TreeArrays):
    """Holds B search trees of up to N nodes each.

    A column that no simulation filled (it evaluated an existing node again, because it met `max_depth` or a leaf
    another one was waiting for) has 0 visits and the parent -1. The edge into a node is stored with the node.

    Attributes:
        nodes: [B, N] records of `NODE_DTYPE`; the properties name its public fields.
        prior_logits: [B, N, A] float32, as searched: the root's hold the noise if there was any, -inf if forbidden.
    """

    def keep(self, moves: npt.ArrayLike) -> KeptTree:
        """Keeps the part of every tree that some moves lead to, for the next search of `mcts.muzero_policy`.

        Args:
            moves: [B] or [B, D] int, the actions taken from each root, one or several; D = 0 keeps all. A -1 keeps
                nothing of its tree, for example because the game has begun anew.

        Returns:
            A copy of the kept nodes, and where each of them was.

        Raises:
            TypeError: moves are not integers.
            ValueError: moves have the wrong shape, or are not actions.
        """
        return KeptTree(*keep(self, moves))

    def to_dict(self, root: int = 0, *, max_depth: int | None = None, min_visits: int = 1) -> dict[str, Any]:
        """Exports one tree as nested dictionaries of plain Python values.

        Args:
            root: which of the B trees.
            max_depth: nodes deeper than this are left out; None keeps all.
            min_visits: nodes with fewer visits are left out; the root always stays.

        Returns:
            A dictionary with the keys node, depth, visits, value, raw_value and children; below the root also action,
            reward, discount, qvalue, prior_logit and prior_prob. Children are ordered by falling visits, then by
            action.

        Raises:
            ValueError: root is not one of the trees, or a limit is negative.
        """
        return export.to_dict(self, root, max_depth, min_visits)

    def to_json(
        self, root: int = 0, *, max_depth: int | None = None, min_visits: int = 1, indent: int | None = None
    ) -> str:
        """Exports one tree as JSON: what `to_dict` returns, with null for a prior logit of minus infinity.

        Trees up to 400 edges deep fit into nested JSON.

        Args:
            root: which of the B trees.
            max_depth: nodes deeper than this are left out; None keeps all.
            min_visits: nodes with fewer visits are left out; the root always stays.
            indent: spaces per level; None writes one line.

        Returns:
            The text.

        Raises:
            ValueError: root is not one of the trees, a limit is negative, or the tree is too deep for nested JSON.
        """
        return export.to_json(self, root, max_depth, min_visits, indent)

    def to_graphviz(
        self,
        root: int = 0,
        *,
        max_depth: int | None = None,
        min_visits: int = 1,
        action_names: Sequence[str] | None = None,
    ) -> str:
        """Exports one tree as a drawing in the DOT language, for `dot -Tsvg` or any viewer of such files.

        A box shows visits N, mean value v and the network's raw value; an edge its action, prior probability p, Q-value
        q and reward r. Its width grows with the visits.

        Args:
            root: which of the B trees.
            max_depth: nodes deeper than this are left out; None keeps all.
            min_visits: nodes with fewer visits are left out; the root always stays.
            action_names: [A], shown instead of the numbers.

        Returns:
            The text.

        Raises:
            ValueError: root is not one of the trees, a limit is negative, or there are not A names.
        """
        return export.to_graphviz(self, root, max_depth, min_visits, action_names)


@dataclass(frozen=True, eq=False, repr=False)
class KeptTree(ArrayHolder):
    """Holds what is left of B search trees after some moves, for the `kept` argument of `mcts.muzero_policy`.

    Attributes:
        tree: the kept nodes, renumbered from 0 without gaps and in their old order; node 0 is the node reached. Rows
            with fewer nodes than M end in unused slots.
        source: [B, M] int32, the old number of every node, -1 for an unused slot. Whoever owns the states moves them by
            `pool[m] = pool[source[m]]`. Where the moves were never searched, only slot 0 is left, and its source is -1.
    """

    tree: Tree
    source: npt.NDArray[np.int32]
