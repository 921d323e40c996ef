"""A search tree to look at: nested dictionaries, JSON, and a drawing for Graphviz."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from mcts import checks
from mcts.nodes import TreeArrays

_WIDEST_PEN = 5.0

DEEPEST_JSON = 400
"""Edges. Python's own json gives up between 490 (3.11) and a few thousand (3.13), earlier below many other calls; what
one writes the others should be able to read."""


def to_dict(tree: TreeArrays, root: int, max_depth: int | None, min_visits: int) -> dict[str, Any]:
    """Returns one tree as nested dictionaries; see `mcts.Tree.to_dict`."""
    checks.export_limits(root, tree.num_roots, max_depth, min_visits)
    root_entry = _describe(tree, root, 0, depth=0)
    entries = {0: root_entry}
    for node in range(1, tree.num_nodes):  # parents come before their children
        parent = entries.get(int(tree.parents[root, node]))
        if parent is None or tree.node_visits[root, node] < max(min_visits, 1):
            continue
        if max_depth is not None and parent["depth"] >= max_depth:
            continue
        entries[node] = _describe(tree, root, node, depth=parent["depth"] + 1)
        parent["children"].append(entries[node])
    for entry in entries.values():
        entry["children"].sort(key=lambda child: (-child["visits"], child["action"]))
    return root_entry


def to_json(tree: TreeArrays, root: int, max_depth: int | None, min_visits: int, indent: int | None) -> str:
    """Returns one tree as JSON; see `mcts.Tree.to_json`."""
    top = to_dict(tree, root, max_depth, min_visits)
    for entry in _walk(top):
        if entry.get("prior_logit") == -math.inf:  # JSON knows no infinity
            entry["prior_logit"] = None
    deepest = max(entry["depth"] for entry in _walk(top))
    checks.json_depth(deepest, DEEPEST_JSON, max_depth)
    return json.dumps(top, indent=indent, allow_nan=False)


def to_graphviz(
    tree: TreeArrays, root: int, max_depth: int | None, min_visits: int, action_names: Sequence[str] | None
) -> str:
    """Returns one tree as a drawing in the DOT language; see `mcts.Tree.to_graphviz`."""
    checks.action_names(action_names, tree.num_actions)
    top = to_dict(tree, root, max_depth, min_visits)
    lines = [
        "digraph search {",
        '  node [shape=box, style=rounded, fontname="Helvetica", fontsize=10];',
        '  edge [fontname="Helvetica", fontsize=9];',
    ]
    for entry in _walk(top):
        node = f"N {entry['visits']}\nv {entry['value']:.3f}\nraw {entry['raw_value']:.3f}"
        lines.append(f"  n{entry['node']} [label={_quote(node)}, tooltip={_quote('node ' + str(entry['node']))}];")
        for child in entry["children"]:
            name = str(child["action"]) if action_names is None else str(action_names[child["action"]])
            edge = f"{name}\np {child['prior_prob']:.3f}\nq {child['qvalue']:.3f}\nr {child['reward']:.3g}"
            width = 1.0 + (_WIDEST_PEN - 1.0) * child["visits"] / top["visits"]
            lines.append(f"  n{entry['node']} -> n{child['node']} [label={_quote(edge)}, penwidth={width:.2f}];")
    return "\n".join([*lines, "}", ""])


def _walk(top: dict[str, Any]) -> list[dict[str, Any]]:
    """Lists an entry and all below it, parents first; trees may be too deep for recursion."""
    entries = [top]
    for entry in entries:
        entries.extend(entry["children"])
    return entries


def _quote(text: str) -> str:
    """Writes a string of the DOT language, its lines below one another."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "\\n")
    return f'"{escaped}"'


def _describe(tree: TreeArrays, root: int, node: int, depth: int) -> dict[str, Any]:
    visits = int(tree.node_visits[root, node])
    entry: dict[str, Any] = {
        "node": node,
        "depth": depth,
        "visits": visits,
        "value": float(tree.value_sums[root, node] / max(visits, 1)),
        "raw_value": float(tree.raw_values[root, node]),
    }
    if node:
        entry |= {
            "action": int(tree.actions_from_parent[root, node]),
            "reward": float(tree.rewards[root, node]),
            "discount": float(tree.discounts[root, node]),
            "qvalue": float(tree.qvalues_from_parent[root, node]),
            "prior_logit": float(tree.nodes["prior_logit"][root, node]),
            "prior_prob": float(tree.nodes["prior_prob"][root, node]),
        }
    return entry | {"children": []}
