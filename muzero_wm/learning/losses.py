"""The unrolled loss: policy, value, reward, turn and self-prediction over K imagined steps.

Sources: MuZero (arXiv:1911.08265) appendix G; SPR (arXiv:2007.05929) and EfficientZero (arXiv:2111.00210) for the
self-prediction term. Targets of the self-prediction are standardised over the batch: raw ones point almost the same
way for every position, so the cosine is near 1 from the start and teaches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from muzero_wm.config import LearningConfig
from muzero_wm.model.device import full_precision
from muzero_wm.model.world_model import WorldModel
from muzero_wm.replay.batch import Batch


@dataclass
class LossResult:
    """One batch's loss.

    Attributes:
        total: [] scalar to minimise.
        parts: unweighted mean of each term, and the cosine of the self-prediction, as scalars.
        td_error: [B] float32 root value minus target.
        teacher_latent: [B, D] the teacher's latents of the first real next observations; None without that term.
        turn_accuracy: [] share of the imagined moves after which the right player is to move; None where turns are not
            learnt.
    """

    total: Tensor
    parts: dict[str, Tensor]
    td_error: Tensor
    teacher_latent: Tensor | None
    turn_accuracy: Tensor | None = None


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


def unrolled_loss(
    model: WorldModel,
    teacher: WorldModel,
    batch: Batch[Tensor],
    config: LearningConfig,
    cells: Tensor | None = None,
) -> LossResult:
    """Returns the loss of one batch.

    Step k's terms are weighted 1/K for k >= 1 and 1 at the root; the gradient into the dynamics' input is halved at
    every step. Past the end of an episode reward and value targets are 0, and policy, turn and self-prediction are
    masked.

    Args:
        model: being trained.
        teacher: slow weights; looks at the real next observations.
        batch: B samples of K steps.
        config: weights of the terms; a weight of 0 leaves the term out of the graph.
        cells: [c] int64, the cells of a board that self-prediction compares; None for all.

    Returns:
        Loss, its parts, and errors for the priorities.
    """
    targets = batch.targets
    size, unroll = targets.action.shape
    action = targets.action.long()
    latents = [model.represent(batch.observation)]
    for k in range(unroll):
        latents.append(model.step(scale_gradient(latents[-1], 0.5), action[:, k]))
    # position-major: row k * B + b
    prediction = model.predict(torch.cat(latents))

    importance = batch.weight
    step_weight = torch.full((unroll + 1, 1), 1.0 / unroll, device=importance.device)
    step_weight[0] = 1.0
    end_factor = 1.0 + (config.terminal_weight - 1.0) * _by_step(targets.terminal.float())

    policy = _fold(cross_entropy(prediction.policy_logits, _by_step(targets.policy).flatten(0, 1)), size)
    value_target = _by_step(targets.value)
    value = _fold(cross_entropy(prediction.value_logits, model.value_support.encode(value_target.flatten())), size)
    reward_target = model.reward_support.encode(_by_step(targets.reward).flatten())
    reward = _fold(cross_entropy(prediction.reward_logits[size:], reward_target), size)

    terms = {
        "policy": (config.policy_weight, policy * _by_step(targets.policy_mask), step_weight),
        "value": (config.value_weight, value * _by_step(targets.value_mask) * end_factor, step_weight),
        "reward": (config.reward_weight, reward * _by_step(targets.reward_mask) * end_factor[1:], step_weight[1:]),
    }
    parts: dict[str, Tensor] = {}
    turn_accuracy = None
    if prediction.turn_logits is not None:
        logits, same = _fold(prediction.turn_logits[size:], size), _by_step(targets.same_player)
        known = _by_step(targets.same_player_mask)
        turn = F.binary_cross_entropy_with_logits(logits.float(), same, reduction="none")
        terms["turn"] = (config.turn_weight, turn * known, step_weight[1:])
        turn_accuracy = (((logits > 0) == (same > 0)) * known).sum().detach() / known.sum().clamp_min(1.0)
    teacher_latent = None
    if config.self_prediction_weight > 0.0:
        cosine, teacher_latent = _self_prediction(model, teacher, batch, torch.cat(latents[1:]), cells)
        mask = _by_step(targets.next_mask)
        terms["self_prediction"] = (config.self_prediction_weight, -cosine * mask, step_weight[1:])
        parts["cosine"] = ((cosine * mask).sum() / mask.sum().clamp_min(1.0)).detach()

    total = torch.zeros((), device=importance.device)
    for name, (weight, loss, per_step) in terms.items():
        parts[name] = loss.detach().mean()
        if weight > 0.0:
            total = total + weight * ((loss * per_step).sum(0) * importance).mean()
    with torch.no_grad():
        td_error = model.value_support.decode(prediction.value_logits[:size]) - value_target[0]
    return LossResult(total, parts, td_error, teacher_latent, turn_accuracy)


def _self_prediction(
    model: WorldModel, teacher: WorldModel, batch: Batch[Tensor], imagined: Tensor, cells: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Returns the [K, B] cosine between predicted and real next latents, and the teacher's latents [B, D] at k = 1."""
    size = len(batch.slot)
    with torch.no_grad():
        real = _by_step(batch.next_observation).flatten(0, 1)
        latent = teacher.represent(real)
        mask = _by_step(batch.targets.next_mask).flatten()
        goal = standardize_(teacher.project(latent, cells).float(), mask)
        goal.mul_(goal.square().sum(-1, keepdim=True).clamp_min_(1e-24).rsqrt_())
    cosine = cosine_with(model.predictor(model.project(imagined, cells)), goal).mean(1)
    return _fold(cosine, size), latent[:size].float().flatten(1)


def _by_step(samples: Tensor) -> Tensor:
    """Returns [B, K, ...] as [K, B, ...]."""
    return samples.transpose(0, 1).contiguous()


def _fold(flat: Tensor, size: int) -> Tensor:
    return flat.view(-1, size)
