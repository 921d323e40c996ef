"""The slow teacher: one exponential moving average of the weights for every slow role."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def make_teacher(model: nn.Module) -> nn.Module:
    """Returns a frozen copy of `model`, the start of its moving average."""
    return copy.deepcopy(model).requires_grad_(False)


@torch.no_grad()
def update_teacher(teacher: nn.Module, model: nn.Module, decay: float, good: Tensor | None = None) -> None:
    """Moves the teacher's weights towards the model's: w_t <- decay w_t + (1 - decay) w.

    Source: BYOL (arXiv:2006.07733) section 3.

    Args:
        teacher: changed in place; buffers (batch norm statistics) are copied.
        model: same architecture.
        decay: in [0, 1]; 0 copies the model, 1 leaves the teacher as it is.
        good: [] bool on the models' device; where it is False the teacher stays as it is, and nobody waits to know it.
            None is True.
    """
    slow: list[Tensor] = list(teacher.parameters())
    fast: list[Tensor] = list(model.parameters())
    buffers = list(zip(teacher.buffers(), model.buffers(), strict=True))
    if good is None:
        torch._foreach_lerp_(slow, fast, 1.0 - decay)
        for old, new in buffers:
            old.copy_(new)
        return
    moved = torch._foreach_lerp(slow, fast, 1.0 - decay)
    for old, new in [*zip(slow, moved, strict=True), *buffers]:
        torch.where(good, new, old, out=old)
