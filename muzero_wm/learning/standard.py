"""The standard terms of the loss: policy, value, reward, turn, self-prediction and whether the episode goes on.

Sources: MuZero (arXiv:1911.08265) appendix G; SPR (arXiv:2007.05929) and EfficientZero (arXiv:2111.00210) for the
self-prediction. Its targets are standardised over the batch: raw ones point almost the same way for every position, so
the cosine is near 1 from the start and teaches nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from muzero_wm.learning.functions import cosine_with, cross_entropy, standardize_
from muzero_wm.learning.terms import Part, Term, Unroll, by_step


def _policy(unroll: Unroll) -> Part:
    targets = unroll.batch.targets
    loss = cross_entropy(unroll.prediction.policy_logits, by_step(targets.policy).flatten(0, 1))
    return Part(unroll.fold(loss), by_step(targets.policy_mask))


def _value(unroll: Unroll) -> Part:
    targets = unroll.batch.targets
    code = unroll.model.value_support.encode(by_step(targets.value).flatten())
    loss = unroll.fold(cross_entropy(unroll.prediction.value_logits, code))
    return Part(loss, by_step(targets.value_mask) * unroll.end_factor)


def _reward(unroll: Unroll) -> Part:
    targets = unroll.batch.targets
    code = unroll.model.reward_support.encode(by_step(targets.reward).flatten())
    loss = unroll.fold(cross_entropy(unroll.prediction.reward_logits[unroll.size :], code))
    return Part(loss, by_step(targets.reward_mask) * unroll.end_factor[1:], weight=unroll.batch.reward_weight)


def _turn(unroll: Unroll) -> Part:
    """Says whether the player who acted moves again."""
    assert unroll.prediction.turn_logits is not None
    targets = unroll.batch.targets
    again, known = by_step(targets.same_player), by_step(targets.same_player_mask)
    loss, accuracy = _yes_or_no(unroll.fold(unroll.prediction.turn_logits[unroll.size :]), again, known)
    return Part(loss, known, {"turn/accuracy": accuracy})


def _self_prediction(unroll: Unroll) -> Part:
    """Compares the K imagined latents with the teacher's of what really followed."""
    mask = by_step(unroll.batch.targets.next_mask)
    with torch.no_grad():
        goal = standardize_(unroll.teacher.project(unroll.real, unroll.cells).float(), mask.flatten())
        goal.mul_(goal.square().sum(-1, keepdim=True).clamp_min_(1e-24).rsqrt_())
    projected = unroll.model.predictor(unroll.model.project(unroll.imagined, unroll.cells))
    cosine = unroll.fold(cosine_with(projected, goal).mean(1))
    mean = ((cosine * mask).sum() / mask.sum().clamp_min(1.0)).detach()
    return Part(-cosine, mask, {"loss/cosine": mean})


def _continues(unroll: Unroll) -> Part:
    """Says whether the episode goes on behind a step: no after its last one, unless that was a limit's doing."""
    assert unroll.prediction.continues_logits is not None
    targets = unroll.batch.targets
    goes_on = 1.0 - by_step(targets.terminal[:, 1:].float())
    known = by_step(targets.next_mask)
    loss, accuracy = _yes_or_no(unroll.fold(unroll.prediction.continues_logits[unroll.size :]), goes_on, known)
    return Part(loss, known * unroll.end_factor[1:], {"continues/accuracy": accuracy})


def _yes_or_no(logits: Tensor, truth: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the cross-entropy [K, B] of one probability per step, and how often [] its larger side is right."""
    loss = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
    right = (((logits > 0) == (truth > 0)) * known).sum().detach() / known.sum().clamp_min(1.0)
    return loss, right


STANDARD: tuple[Term, ...] = (
    Term("policy", _policy, weight=lambda config: config.policy_weight),
    Term("value", _value, weight=lambda config: config.value_weight),
    Term("reward", _reward, weight=lambda config: config.reward_weight, when=lambda model, _: model.imagines),
    Term(
        "turn",
        _turn,
        weight=lambda config: config.turn_weight,
        when=lambda model, _: model.learns_turns and model.imagines,
    ),
    Term(
        "self_prediction",
        _self_prediction,
        weight=lambda config: config.self_prediction_weight,
        when=lambda model, config: model.imagines and config.self_prediction_weight > 0.0,
    ),
    Term(
        "continues",
        _continues,
        weight=lambda config: config.continues_weight,
        when=lambda model, _: model.learns_continues and model.imagines,
    ),
)
"""In the order in which they are added up."""
