"""A network of cells that look at each other, a loss and an opponent, all of one's own, as a muzero-wm command."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

import muzero_wm
from muzero_wm.cli.main import main


class Look(nn.Module):
    """Attention of the cells of boards [B, C, H, W] to each other, added to what they are."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, 4, batch_first=True)

    def forward(self, board: Tensor) -> Tensor:
        """Returns boards of the same shape."""
        cells = board.flatten(2).transpose(1, 2)
        seen, _ = self.attention(cells, cells, cells, need_weights=False)
        return board + seen.transpose(1, 2).reshape(board.shape)


class Move(nn.Module):
    """Adds what an action means to the cells, and lets them look."""

    def __init__(self, shape: tuple[int, ...], num_actions: int) -> None:
        super().__init__()
        self.means, self.look = nn.Embedding(num_actions, math.prod(shape)), Look(shape[0])

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        """Returns the next latents."""
        mine_is_yours = latent.roll(latent.shape[1] // 2, 1)
        return self.look(mine_is_yours + self.means(action).to(latent.dtype).view_as(latent))


class Looking(muzero_wm.Torso):
    """Two such stages; the heads are those of every board."""

    spatial = True

    def lay_out(self) -> muzero_wm.Layout:
        """Says that every cell has `model.width` numbers."""
        return muzero_wm.Layout((muzero_wm.Slice("board", self.config.width),), self.spec.observation_shape[1:])

    def representation(self) -> nn.Module:
        """Makes the way from observations to latents."""
        width = self.config.width
        return nn.Sequential(nn.Conv2d(self.spec.observation_shape[0], width, 1), nn.ReLU(), Look(width))

    def dynamics(self) -> nn.Module:
        """Makes the way from latents to the next ones."""
        return Move(self.layout.shape, self.spec.num_actions)


def certainty(unroll: muzero_wm.Unroll) -> muzero_wm.Part:
    """Costs what a policy is surer than none: it keeps an eye on all moves for longer."""
    policy = torch.log_softmax(unroll.prediction.policy_logits.float(), 1)
    loss = unroll.fold((policy.exp() * policy).sum(1))
    return muzero_wm.Part(loss, unroll.batch.targets.policy_mask.t())


class First:
    """Plays the first legal move."""

    def __init__(self, argument: str, spec: Any, seed: int) -> None: ...

    def actions(self, env: Any, step: Any, rows: Any) -> Any:
        """Returns a move for each of the games `rows`."""
        return step.legal_actions[rows].argmax(axis=1)


muzero_wm.register_torso("looking", Looking)
muzero_wm.register_term(muzero_wm.Term("certainty", certainty))
muzero_wm.register_opponent("first", First)

if __name__ == "__main__":
    raise SystemExit(main())
