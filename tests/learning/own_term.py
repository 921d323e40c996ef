"""A term as a user writes one: how the search shared out its visits, learnt by a head of its own, with dropout."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from muzero_wm import Moment, Part, Stored, Term, Unroll, register_term


def visit_shares(moment: Moment) -> np.ndarray:
    counts = moment.result.visit_counts
    return counts / counts.sum(1, keepdims=True)


def visits_loss(unroll: Unroll) -> Part:
    positions = torch.cat(unroll.latents).flatten(1)
    kept = torch.rand(positions.shape, generator=unroll.generator, device=positions.device) < 0.9
    logits = unroll.heads["visits"](positions * kept)
    target = unroll.batch.stored["visit_shares"].transpose(0, 1).flatten(0, 1)
    loss = unroll.fold(-(target * F.log_softmax(logits.float(), -1)).sum(-1))
    return Part(loss, unroll.batch.targets.policy_mask.t(), {"visits/largest": target.max()})


VISITS = register_term(
    Term(
        "visits",
        visits_loss,
        stores=(Stored("visit_shares", visit_shares, shape=lambda spec: (spec.num_actions,)),),
        head=lambda model: nn.Linear(int(np.prod(model.latent_shape)), model.num_actions),
    )
)
