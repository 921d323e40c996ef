"""Terms of the loss: each reads one unroll and says what every imagined step of it costs.

A loss of one's own is one `Term`, registered in one line: see docs/own-losses.md. What it wants stored of every step
follows it through the rows of unfinished episodes, the replay, its packs and checkpoints; what it learns besides the
model is its head, which the learner trains and saves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from muzero_wm.config import LearningConfig
from muzero_wm.model.world_model import Prediction, WorldModel
from muzero_wm.replay.batch import Batch
from muzero_wm.replay.stored import Stored, TermError


@dataclass
class Unroll:
    """K imagined steps from each of B roots, beside what really happened: what terms read.

    Attributes:
        model: being trained.
        teacher: slow weights.
        batch: B samples of K steps, on the model's device; what is stored for a term lies in `batch.stored`.
        config: of learning.
        latents: [B, *latent_shape] of each of the K + 1 positions, the root first.
        prediction: logits of all positions, position-major: row k B + b is position k of sample b.
        cells: [c] int64, the cells of a board that self-prediction compares; None for all.
        heads: what own terms learn, by the term's name.
        generator: for random numbers on the device; a resumed run goes on with it.
    """

    model: WorldModel
    teacher: WorldModel
    batch: Batch[Tensor]
    config: LearningConfig
    latents: list[Tensor]
    prediction: Prediction
    cells: Tensor | None = None
    heads: nn.ModuleDict = field(default_factory=nn.ModuleDict)
    generator: torch.Generator | None = None

    @property
    def size(self) -> int:
        """Samples, B."""
        return len(self.batch.weight)

    def fold(self, flat: Tensor) -> Tensor:
        """Returns one number of each row, [n B] position-major, as [n, B]."""
        return flat.view(-1, self.size)

    @cached_property
    def imagined(self) -> Tensor:
        """Latents of the K imagined positions, [K B, *latent_shape], position-major.

        Raises:
            TermError: the search goes by the rules, so that there are none.
        """
        if not self.model.imagines:
            raise TermError("learning.terms: a term reads imagined steps, and with search.model rules there are none")
        return torch.cat(self.latents[1:])

    @cached_property
    def real(self) -> Tensor:
        """The teacher's latents of the K observations that really followed, [K B, *latent_shape], position-major."""
        with torch.no_grad():
            return self.teacher.represent(by_step(self.batch.next_observation).flatten(0, 1))

    @cached_property
    def end_factor(self) -> Tensor:
        """By how much more the ends of episodes count, [K + 1, B]."""
        return 1.0 + (self.config.terminal_weight - 1.0) * by_step(self.batch.targets.terminal.float())


@dataclass
class Part:
    """What a term says of an unroll.

    Attributes:
        loss: [K + 1, B] of all positions, or [K, B] of the imagined ones.
        mask: of the same shape, how much each of them counts, 0 where nothing is known.
        logs: scalars for the log, by their full names.
        weight: [B], how much each sample counts; None: as it was drawn (`Batch.weight`).
    """

    loss: Tensor
    mask: Tensor
    logs: dict[str, Tensor] = field(default_factory=dict)
    weight: Tensor | None = None


def _always(model: WorldModel, config: LearningConfig) -> bool:
    return True


@dataclass(frozen=True)
class Term:
    """One term of the loss.

    Attributes:
        name: lower case letters, digits and _; it is logged as loss/<name>.
        loss: what it costs; torch tensors in, torch tensors out, nothing of them read on the way.
        stores: what it has stored of every step.
        head: makes what it learns besides the model, for a model; None: nothing.
        weight: its weight; None: that in the setting `learning.terms`.
        when: whether it is computed at all; an own term whose weight is 0 never is.
    """

    name: str
    loss: Callable[[Unroll], Part]
    stores: tuple[Stored, ...] = ()
    head: Callable[[WorldModel], nn.Module] | None = None
    weight: Callable[[LearningConfig], float] | None = None
    when: Callable[[WorldModel, LearningConfig], bool] = _always


def by_step(samples: Tensor) -> Tensor:
    """Returns [B, K, ...] as [K, B, ...]."""
    return samples.transpose(0, 1).contiguous()
