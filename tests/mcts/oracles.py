"""Textbook searches with node objects and pointers, written from the papers; they share no code with `mcts`."""

from __future__ import annotations

import math


class Node:
    """A state with its prediction and its children; without a prediction as long as nobody has evaluated it."""

    def __init__(self, logits=(), value=None):
        self.logits = [float(x) for x in logits]
        self.raw_value = value
        self.values = [] if value is None else [float(value)]  # everything that was backed up to this node
        self.children = {}
        self.waiting = 0  # walks that went through it, or to it, and have no answer yet

    @property
    def value(self):
        return math.fsum(self.values) / len(self.values)

    def tried(self):
        """Returns the edges that have been answered for at least once."""
        return {action: edge for action, edge in self.children.items() if edge.visits}

    def seen(self, action):
        """Counts the walks through an action, answered or not."""
        edge = self.children.get(action)
        return edge.visits + edge.child.waiting if edge else 0


class Edge:
    """An action taken: what it paid and where it led."""

    def __init__(self):
        self.reward, self.discount, self.child = 0.0, 0.0, Node()

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
    qs = {action: edge.q for action, edge in node.tried().items()}
    low, high = min([node.value, *qs.values()]), max([node.value, *qs.values()])
    span = max(high - low, 1e-8)
    return [(qs.get(action, low) - low) / span for action in range(num_actions)]


def complete_by_mixed_value(node, num_actions, *, c_visit=50.0, c_scale=0.1):
    """Gumbel MuZero's sigma of the completed Q-values, rescaled to [0, 1] in the node."""
    probs = softmax(node.logits)
    qs = {action: edge.q for action, edge in node.tried().items()}
    visits = {action: edge.visits for action, edge in node.tried().items()}
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


def walk_down(root, choose, max_depth):
    """Goes down by `choose` to an edge without an answer, or as deep as allowed, and waits on every node of the way."""
    path, node = [], root
    while True:
        action = choose(node, len(path))
        path.append((node, action))
        edge = node.children.setdefault(action, Edge())
        node = edge.child
        if not edge.visits or len(path) == max_depth:
            break
    for passed in [root, *(above.children[action].child for above, action in path)]:
        passed.waiting += 1
    return path


def learn(path, evaluate):
    """Evaluates the last edge of a path and lets every node on the way learn."""
    reward, discount, logits, value = evaluate(tuple(action for _, action in path))
    node, action = path[-1]
    edge = node.children[action]
    if not edge.visits:
        edge.reward, edge.discount = float(reward), float(discount)
        edge.child.logits, edge.child.raw_value = [float(x) for x in logits], float(value)
    gain = float(value)
    edge.child.values.append(gain)
    edge.child.waiting -= 1
    for node, action in reversed(path):
        edge = node.children[action]
        gain = edge.reward + edge.discount * gain
        node.values.append(gain)
        node.waiting -= 1


def grow(root, choose, evaluate, num_simulations, leaves_per_step, max_depth):
    """Runs simulations in steps: first all walks of a step, then all answers."""
    while num_simulations > 0:
        step = min(leaves_per_step, num_simulations)
        for path in [walk_down(root, choose, max_depth) for _ in range(step)]:
            learn(path, evaluate)
        num_simulations -= step


def plant(logits, value, allowed):
    return Node([x if ok else -math.inf for x, ok in zip(logits, allowed, strict=True)], float(value))


def replant(node, logits, value, allowed):
    """Makes a node that was searched the root of a new search: a new prediction over what is known below."""
    root = plant(logits, value, allowed)
    for action, edge in node.children.items():
        if allowed[action]:
            root.children[action] = edge
            root.values += [edge.reward + edge.discount * gain for gain in edge.child.values]
    return root


def puct_search(
    root,
    evaluate,
    num_simulations,
    *,
    allowed,
    max_depth=10**9,
    c1=1.25,
    c2=19652.0,
    leaves_per_step=1,
    virtual_loss=0.0,
):
    """Grows the tree of MuZero's search (appendix B) without noise."""
    num_actions = len(allowed)

    def choose(node, depth):
        probs, qs, n = softmax(node.logits), normalise_by_siblings(node, num_actions), len(node.values) + node.waiting
        pb_c = c1 + math.log((n + c2 + 1) / c2)
        scores = []
        for action in range(num_actions):
            q = qs[action]
            if action in node.tried():
                edge = node.children[action]
                q = q * edge.visits / (edge.visits + virtual_loss * edge.child.waiting)
            score = q + pb_c * probs[action] * math.sqrt(n) / (1 + node.seen(action))
            scores.append(score if depth > 0 or allowed[action] else -math.inf)
        return first_argmax(scores)

    grow(root, choose, evaluate, num_simulations, leaves_per_step, max_depth)


def gumbel_search(root, evaluate, num_simulations, *, allowed, num_considered, max_depth=10**9, leaves_per_step=1):
    """Grows the tree of full Gumbel MuZero's search without noise.

    Sequential halving is played as the paper tells it: in phases and rounds over an explicit list of survivors.
    """
    num_actions = len(allowed)

    def root_score(action):
        return root.logits[action] + complete_by_mixed_value(root, num_actions)[action]

    def halving():
        survivors = [action for action in range(num_actions) if allowed[action]]
        size = min(num_considered, len(survivors))
        phases = math.ceil(math.log2(size)) if size > 1 else num_simulations
        while True:
            for _ in range(max(1, num_simulations // (phases * size))):
                waiting, visited = list(survivors), []
                while len(visited) < size:
                    best = max(waiting, key=lambda a: (root_score(a), -a))
                    waiting.remove(best)
                    visited.append(best)
                    yield best
                survivors = visited  # the best of the last phase are the first of this one
            size = max(2, size // 2) if size > 1 else 1

    turns = halving()

    def choose(node, depth):
        if depth == 0:
            return next(turns)
        sigma = complete_by_mixed_value(node, num_actions)
        improved = softmax([x + s for x, s in zip(node.logits, sigma, strict=True)])
        seen = [node.seen(action) for action in range(num_actions)]
        return first_argmax([improved[a] - seen[a] / (1 + sum(seen)) for a in range(num_actions)])

    grow(root, choose, evaluate, num_simulations, leaves_per_step, max_depth)


def recompute(visits, raw_values, parents, rewards, discounts):
    """Computes from one tree's links and visits what its value sums and Q-values must be, bottom-up.

    A node's own evaluations are its visits less those of its children; each was worth its raw value.
    """
    children = {node: [] for node in range(len(visits))}
    for node, parent in enumerate(parents):
        if parent >= 0:
            children[parent].append(node)
    sums, qvalues, own = [0.0] * len(visits), [0.0] * len(visits), [0] * len(visits)
    for node in reversed(range(len(visits))):
        own[node] = visits[node] - sum(visits[child] for child in children[node])
        sums[node] = own[node] * raw_values[node] + math.fsum(visits[c] * qvalues[c] for c in children[node])
        if parents[node] >= 0:
            qvalues[node] = rewards[node] + discounts[node] * sums[node] / visits[node]
    return sums, qvalues, own


def improved_value(logits, raw_value, visits, qvalues, allowed, fill, sigma):
    """What Gumbel's improved policy is worth: every action's probability times its Q-value, or `fill` without one.

    Args:
        logits: of the root, one for each action.
        raw_value: the network's value of the root.
        visits: of each action.
        qvalues: of each action, looked at where visited.
        allowed: which actions may be taken.
        fill: "mixed", or "raw" for the raw value.
        sigma: maps the completed Q-values to what is added to the logits.
    """
    filler = raw_value
    if fill == "mixed" and sum(visits):
        probs = softmax([x if ok else -math.inf for x, ok in zip(logits, allowed, strict=True)])
        tried = [a for a, n in enumerate(visits) if n]
        mass = [max(probs[a], 1.1754943508222875e-38) for a in tried]
        mean = math.fsum(m * qvalues[a] for m, a in zip(mass, tried, strict=True)) / math.fsum(mass)
        filler = (raw_value + sum(visits) * mean) / (1 + sum(visits))
    completed = [qvalues[a] if n else filler for a, n in enumerate(visits)]
    scores = [x + s if ok else -math.inf for x, s, ok in zip(logits, sigma(completed), allowed, strict=True)]
    return math.fsum(p * q for p, q in zip(softmax(scores), completed, strict=True))
