"""What losses are made of: gradients that are scaled, cross-entropies, cosines, standardised rows."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from muzero_wm.model.device import full_precision


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Returns x itself, its gradient multiplied by `factor` on the way back."""
    return _ScaledGradient.apply(x, factor)


class _Cosine(torch.autograd.Function):
    """The cosine of rows with unit rows, in few passes over memory: boards have many cells."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, goal: Tensor) -> Tensor:
        rows = x.float()
        inverse = rows.square().sum(-1).clamp_min_(1e-12).rsqrt_()
        cosine = (rows * goal).sum(-1).mul_(inverse)
        ctx.save_for_backward(x, goal, inverse, cosine)
        return cosine

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, goal, inverse, cosine = ctx.saved_tensors
        # d cos / dx = (goal - cos x / |x|) / |x|
        out = x.float() * (cosine * inverse).neg_().unsqueeze(-1)
        out.add_(goal).mul_((inverse * gradients[0]).unsqueeze(-1))
        return out.to(x.dtype), None


def cosine_with(x: Tensor, goal: Tensor) -> Tensor:
    """Returns the cosine [...] between x [..., D], any floating dtype, and goal [..., D], float32 of length 1."""
    return _Cosine.apply(x, goal)


def cross_entropy(logits: Tensor, target_probs: Tensor) -> Tensor:
    """Returns the cross-entropy [...] between target_probs [..., C] and logits [..., C], in float32."""
    return -(target_probs * F.log_softmax(logits.float(), -1)).sum(-1)


def standardize_(x: Tensor, mask: Tensor) -> Tensor:
    """Moves x [n, ...] float32, in place, to mean 0 and deviation 1 per column over the rows where mask [n] is 1."""
    flat = x.view(len(x), -1)
    with full_precision(x.device):
        count = mask.sum().clamp_min(1.0)
        flat.sub_(mask @ flat / count)
        variance = mask @ flat.square() / count
        flat.mul_(torch.rsqrt(variance + 1e-5))
    return x
