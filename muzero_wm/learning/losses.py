"""The unrolled loss: the sum of its terms over K imagined steps.

Source: MuZero (arXiv:1911.08265) appendix G.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from muzero_wm.config import LearningConfig
from muzero_wm.learning.functions import scale_gradient
from muzero_wm.learning.standard import STANDARD
from muzero_wm.learning.terms import Term, Unroll
from muzero_wm.model.world_model import WorldModel
from muzero_wm.replay.batch import Batch


@dataclass
class LossResult:
    """One batch's loss.

    Attributes:
        total: [] scalar to minimise.
        parts: unweighted mean of each term, as scalars.
        td_error: [B] float32 root value minus target.
        logs: what terms say besides, as scalars by the names of the log.
        teacher_latent: [B, D] the teacher's latents of the first real next observations; None where no term reads them.
    """

    total: Tensor
    parts: dict[str, Tensor]
    td_error: Tensor
    logs: dict[str, Tensor]
    teacher_latent: Tensor | None

    def without_graph(self) -> LossResult:
        """Returns the numbers alone, for whoever keeps those of a whole round."""
        latent = self.teacher_latent
        # the first of K steps must not keep the memory of all
        return replace(self, total=self.total.detach(), teacher_latent=None if latent is None else latent.clone())

    @property
    def turn_accuracy(self) -> Tensor | None:
        """Share [] of the imagined moves after which the right player is to move; None where turns are not learnt."""
        return self.logs.get("turn/accuracy")


def unrolled_loss(
    model: WorldModel,
    teacher: WorldModel,
    batch: Batch[Tensor],
    config: LearningConfig,
    cells: Tensor | None = None,
    *,
    own: Mapping[str, tuple[Term, float]] | None = None,
    heads: nn.ModuleDict | None = None,
    generator: torch.Generator | None = None,
) -> LossResult:
    """Returns the loss of one batch.

    Step k's terms are weighted 1/K for k >= 1 and 1 at the root; the gradient into the dynamics' input is halved at
    every step. Past the end of an episode reward and value targets are 0, and policy, turn and self-prediction are
    masked.

    Args:
        model: being trained.
        teacher: slow weights; looks at the real next observations.
        batch: B samples of K steps; with K = 0 nothing but policies and values of the roots is learnt.
        config: weights of the standard terms; a weight of 0 leaves the term out of the graph.
        cells: [c] int64, the cells of a board that self-prediction compares; None for all.
        own: terms of one's own with their weights, by name (`terms_of`).
        heads: what they learn.
        generator: what they draw from.

    Returns:
        Loss, its parts, and errors for the priorities.
    """
    targets = batch.targets
    size, unroll_steps = targets.action.shape
    action = targets.action.long()
    latents = [model.represent(batch.observation)]
    for k in range(unroll_steps):
        latents.append(model.step(scale_gradient(latents[-1], 0.5), action[:, k]))
    prediction = model.predict(torch.cat(latents))
    heads = nn.ModuleDict() if heads is None else heads
    unroll = Unroll(model, teacher, batch, config, latents, prediction, cells, heads, generator)

    weighted = {term.name: (term, _weight(term, config)) for term in STANDARD if term.when(model, config)}
    weighted |= {name: pair for name, pair in (own or {}).items() if pair[0].when(model, config)}
    said = {name: term.loss(unroll) for name, (term, _) in weighted.items()}
    step_weight = torch.full((unroll_steps + 1, 1), 1.0 / max(unroll_steps, 1), device=batch.weight.device)
    step_weight[0] = 1.0

    parts: dict[str, Tensor] = {}
    logs: dict[str, Tensor] = {}
    total = torch.zeros((), device=batch.weight.device)
    for name, part in said.items():
        loss, weight = part.loss * part.mask, weighted[name][1]
        parts[name] = loss.detach().mean()
        logs |= part.logs
        if weight > 0.0:
            each = batch.weight if part.weight is None else part.weight
            total = total + weight * ((loss * step_weight[-len(loss) :]).sum(0) * each).mean()
    with torch.no_grad():
        td_error = model.value_support.decode(prediction.value_logits[:size]) - targets.value[:, 0]
    return LossResult(total, parts, td_error, logs, _first(unroll))


def _weight(term: Term, config: LearningConfig) -> float:
    assert term.weight is not None
    return term.weight(config)


def _first(unroll: Unroll) -> Tensor | None:
    """Returns the teacher's latents [B, D] of the first real next observations, where a term has read them."""
    real: Tensor | None = vars(unroll).get("real")
    return None if real is None else real[: unroll.size].float().flatten(1)
