"""Textbook searches with node objects and pointers, written from the papers; they share no code with `mcts`."""

from __future__ import annotations

import math


class Node:
    """A state with its prediction and its children."""

    def __init__(self, logits, value):
        self.logits = [float(x) for x in logits]
        self.raw_value = float(value)
        self.values = [float(value)]  # everything that was backed up to this node
        self.children = {}

    @property
    def value(self):
        return math.fsum(self.values) / len(self.values)


class Edge:
    """An action taken: what it paid and where it led."""

    def __init__(self, reward, discount, child):
        self.reward, self.discount, self.child = float(reward), float(discount), child

    @property
    def visits(self):
        return len(self.child.values)

    @property
    def q(self):
        return self.reward + self.discount * self.child.value


def softmax(logits):
    top = max(logits)
    weights = [math.exp(x - top) for x in logits]
    total = math.fsum(weights)
    return [w / total for w in weights]


def normalise_by_siblings(node, num_actions):
    """mctx's default for PUCT: bounds over the node's value and its visited children, the rest at the minimum."""
    qs = {action: edge.q for action, edge in node.children.items()}
    low, high = min([node.value, *qs.values()]), max([node.value, *qs.values()])
    span = max(high - low, 1e-8)
    return [(qs.get(action, low) - low) / span for action in range(num_actions)]


def complete_by_mixed_value(node, num_actions, *, c_visit=50.0, c_scale=0.1):
    """Gumbel MuZero's sigma of the completed Q-values, rescaled to [0, 1] in the node."""
    probs = softmax(node.logits)
    qs = {action: edge.q for action, edge in node.children.items()}
    visits = {action: edge.visits for action, edge in node.children.items()}
    total = sum(visits.values())
    mixed = node.raw_value
    if total:
        mass = math.fsum(probs[a] for a in qs)
        mixed = (node.raw_value + total * math.fsum(probs[a] * q for a, q in qs.items()) / mass) / (1 + total)
    completed = [qs.get(action, mixed) for action in range(num_actions)]
    low, high = min(completed), max(completed)
    scale = (c_visit + max(visits.values(), default=0)) * c_scale
    return [scale * (q - low) / max(high - low, 1e-8) for q in completed]


def first_argmax(scores):
    return max(range(len(scores)), key=lambda i: (scores[i], -i))


def descend(root, choose, evaluate, max_depth):
    """Runs one simulation: goes down by `choose`, evaluates the new edge, and lets every node on the way learn."""
    path, node, history = [], root, ()
    while True:
        action = choose(node, len(path))
        path.append((node, action))
        history += (action,)
        if action not in node.children:
            break
        if len(path) == max_depth:
            break
        node = node.children[action].child
    reward, discount, logits, value = evaluate(history)
    node, action = path[-1]
    if action not in node.children:
        node.children[action] = Edge(reward, discount, Node(logits, value))
    else:
        node.children[action].child.values.append(float(value))
    gain = float(value)
    for node, action in reversed(path):
        edge = node.children[action]
        gain = edge.reward + edge.discount * gain
        node.values.append(gain)


def puct_search(logits, value, evaluate, num_simulations, *, allowed, max_depth=10**9, c1=1.25, c2=19652.0):
    """Returns the root of MuZero's search (appendix B) without noise."""
    num_actions = len(logits)
    root = Node([x if ok else -math.inf for x, ok in zip(logits, allowed, strict=True)], value)

    def choose(node, depth):
        probs, qs, n = softmax(node.logits), normalise_by_siblings(node, num_actions), len(node.values)
        pb_c = c1 + math.log((n + c2 + 1) / c2)
        scores = []
        for action in range(num_actions):
            taken = node.children[action].visits if action in node.children else 0
            score = qs[action] + pb_c * probs[action] * math.sqrt(n) / (1 + taken)
            scores.append(score if depth > 0 or allowed[action] else -math.inf)
        return first_argmax(scores)

    for _ in range(num_simulations):
        descend(root, choose, evaluate, max_depth)
    return root


def gumbel_search(logits, value, evaluate, num_simulations, *, allowed, num_considered, max_depth=10**9):
    """Returns the root of full Gumbel MuZero's search without noise.

    Sequential halving is played as the paper tells it: in phases and rounds over an explicit list of survivors.
    """
    num_actions = len(logits)
    root = Node([x if ok else -math.inf for x, ok in zip(logits, allowed, strict=True)], value)

    def root_score(action):
        return root.logits[action] + complete_by_mixed_value(root, num_actions)[action]

    def choose_inside(node, depth):
        sigma = complete_by_mixed_value(node, num_actions)
        improved = softmax([x + s for x, s in zip(node.logits, sigma, strict=True)])
        visits = [node.children[a].visits if a in node.children else 0 for a in range(num_actions)]
        return first_argmax([improved[a] - visits[a] / (1 + sum(visits)) for a in range(num_actions)])

    spent = 0

    def visit(action):
        nonlocal spent
        choose = lambda node, depth: action if depth == 0 else choose_inside(node, depth)  # noqa: E731
        descend(root, choose, evaluate, max_depth)
        spent += 1

    survivors = [action for action in range(num_actions) if allowed[action]]
    size = min(num_considered, len(survivors))
    phases = math.ceil(math.log2(size)) if size > 1 else num_simulations
    while spent < num_simulations:
        for _ in range(max(1, num_simulations // (phases * size))):
            waiting, visited = list(survivors), []
            while len(visited) < size and spent < num_simulations:
                best = max(waiting, key=lambda a: (root_score(a), -a))
                waiting.remove(best)
                visited.append(best)
                visit(best)
            survivors = visited  # the best of the last phase are the first of this one
        size = max(2, size // 2) if size > 1 else 1
    return root
