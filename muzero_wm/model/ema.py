"""The slow teacher: one exponential moving average of the weights for every slow role."""

from __future__ import annotations

import copy

import torch
from torch import nn


def make_teacher(model: nn.Module) -> nn.Module:
    """Returns a frozen copy of `model`, the start of its moving average."""
    return copy.deepcopy(model).requires_grad_(False)


@torch.no_grad()
def update_teacher(teacher: nn.Module, model: nn.Module, decay: float) -> None:
    """Moves the teacher's weights towards the model's: w_t <- decay w_t + (1 - decay) w.

    Source: BYOL (arXiv:2006.07733) section 3.

    Args:
        teacher: changed in place; buffers (batch norm statistics) are copied.
        model: same architecture.
        decay: in [0, 1]; 0 copies the model, 1 leaves the teacher as it is.
    """
    torch._foreach_lerp_(list(teacher.parameters()), list(model.parameters()), 1.0 - decay)
    for slow, fast in zip(teacher.buffers(), model.buffers(), strict=True):
        slow.copy_(fast)
