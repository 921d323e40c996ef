"""Deterministic models of the world, cheap enough to search thousands of times."""

from __future__ import annotations

import numpy as np

import mcts


class RandomModel:
    """A world whose numbers are drawn from a generator seeded by the path: the same path gives the same numbers.

    Every root has a world of its own, named by an integer. `calls` counts the network calls, `asked` keeps their
    arguments.
    """

    def __init__(
        self, worlds, num_actions, *, discount=0.97, terminal=0.1, reward_scale=1.0, grid=None, permutation=None
    ):
        self.worlds = [int(world) for world in worlds]
        self.num_actions = num_actions
        self.discount = discount
        self.terminal = terminal
        self.reward_scale = reward_scale
        self.grid = grid  # values and rewards rounded to multiples of 1 / grid: provokes ties
        self.permutation = np.arange(num_actions) if permutation is None else np.asarray(permutation)
        self.calls = 0
        self.asked = []
        self._paths = [{0: (world,)} for world in self.worlds]

    def root(self):
        numbers = [self._node(paths[0]) for paths in self._paths]
        return mcts.RootOutput(
            prior_logits=np.array([n[2] for n in numbers], np.float32)[:, self.permutation],
            value=np.array([n[3] for n in numbers], np.float32),
        )

    def __call__(self, parent_index, action, node_index):
        self.calls += 1
        self.asked.append((parent_index.copy(), action.copy(), node_index))
        numbers = []
        for row, (parent, chosen) in enumerate(zip(parent_index.tolist(), action.tolist(), strict=True)):
            leaf, root = divmod(row, len(self.worlds))
            path = (*self._paths[root][parent], int(self.permutation[chosen]))
            self._paths[root][node_index + leaf] = path
            numbers.append(self._node(path))
        reward, discount, prior_logits, value = (np.array(field, np.float32) for field in zip(*numbers, strict=True))
        return mcts.RecurrentOutput(reward, discount, prior_logits[:, self.permutation], value)

    def go_on(self, source, moves):
        """Plays the moves [B, D] and moves the states as `KeptTree.source` says; -1 begins the world anew."""
        self.calls, self.asked = 0, []
        for root, (paths, row) in enumerate(zip(self._paths, source.tolist(), strict=True)):
            taken = moves[root].tolist()
            begun = paths[0][:1] if -1 in taken else (*paths[0], *(int(self.permutation[move]) for move in taken))
            self._paths[root] = {new: paths[old] for new, old in enumerate(row) if old >= 0} | {0: begun}

    def _node(self, path):
        rng = np.random.default_rng(path)
        reward, value = self.reward_scale * rng.normal(), rng.uniform(-1, 1)
        if self.grid:
            reward, value = np.round(reward * self.grid) / self.grid, np.round(value * self.grid) / self.grid
        discount = 0.0 if rng.random() < self.terminal else self.discount
        return reward, discount, 2.0 * rng.normal(size=self.num_actions), value


class ConstantModel:
    """A world where every node has the same numbers."""

    def __init__(self, num_roots, num_actions, *, reward=0.0, discount=1.0, prior_logits=None, value=0.0):
        logits = np.zeros(num_actions) if prior_logits is None else np.asarray(prior_logits)
        self.output = mcts.RecurrentOutput(
            np.full(num_roots, reward, np.float32),
            np.full(num_roots, discount, np.float32),
            np.tile(logits, (num_roots, 1)).astype(np.float32),
            np.full(num_roots, value, np.float32),
        )
        self.calls = 0

    def root(self):
        return mcts.RootOutput(self.output.prior_logits, self.output.value)

    def __call__(self, parent_index, action, node_index):
        self.calls += 1
        return self.output


class Bandit:
    """A world of one step: each root action ends the episode with its reward."""

    def __init__(self, prior_logits, value, rewards):
        self.prior_logits = np.asarray(prior_logits, np.float32)[None]
        self.value = np.array([value], np.float32)
        self.rewards = np.asarray(rewards, np.float32)

    def root(self):
        return mcts.RootOutput(self.prior_logits, self.value)

    def __call__(self, parent_index, action, node_index):
        zero = np.zeros(len(action), np.float32)
        return mcts.RecurrentOutput(self.rewards[action], zero, np.zeros((len(action), len(self.rewards))), zero)


class TicTacToe:
    """True rules of tic-tac-toe as a model: uniform prior over the empty cells, value 0, discount -1.

    A move wins +1 for the player who makes it and ends the game. Cells hold 1 for the player to move at the root, -1
    for the other.
    """

    LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))

    def __init__(self, board):
        self.nodes = {0: (np.array(board), 1, False)}

    @property
    def invalid_actions(self):
        return (self.nodes[0][0] != 0)[None]

    def root(self):
        return mcts.RootOutput(np.zeros((1, 9), np.float32), np.zeros(1, np.float32))

    def __call__(self, parent_index, action, node_index):
        board, player, over = self.nodes[int(parent_index[0])]
        reward, discount = 0.0, -1.0
        if over:
            discount = 0.0
        else:
            board = board.copy()
            board[action[0]] = player
            won = any(all(board[cell] == player for cell in line) for line in self.LINES)
            over = won or not (board == 0).any()
            reward, discount = float(won), 0.0 if over else -1.0
        self.nodes[node_index] = (board, -player, over)
        logits = np.zeros((1, 9)) if over else np.where(board == 0, 0.0, -np.inf)[None]
        return mcts.RecurrentOutput(
            np.array([reward], np.float32),
            np.array([discount], np.float32),
            logits.astype(np.float32),
            np.zeros(1, np.float32),
        )


def random_masks(rng, num_roots, num_actions, share=0.4):
    """Forbids a random share of the actions, never all of a row."""
    masks = rng.random((num_roots, num_actions)) < share
    masks[np.arange(num_roots), rng.integers(num_actions, size=num_roots)] = False
    return masks
