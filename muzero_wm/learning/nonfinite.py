"""What happens when training meets a NaN or an infinity: it is named, kept for inspection, and dealt with by option."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from muzero_wm.basis.errors import UserError
from muzero_wm.learning.outcomes import Outcome
from muzero_wm.replay.batch import Batch

Policy = Literal["stop", "skip", "rollback"]
Keep = Callable[[str, Mapping[str, NDArray[Any]]], object]
"""Keeps arrays under a name for inspection; returns where, or None where it did not."""

MOST_IN_A_ROW = 10
CALM_UPDATES = 100  # good updates after which a row is over


class NonFiniteLossError(UserError):
    """Loss, gradient, weights or targets are NaN or infinite; training cannot go on from here."""


class NonFiniteGuard:
    """Counts what was not finite and decides by the option whether training goes on.

    Args:
        policy: "stop", "skip" or "rollback".
        keep: takes batches for inspection; None keeps none.

    Attributes:
        total: how often something was not finite.
    """

    def __init__(self, policy: Policy, keep: Keep | None = None) -> None:
        """Has met nothing yet."""
        self.policy, self._keep = policy, keep
        self.total = 0
        self._in_a_row = self._calm = 0

    def good(self) -> None:
        """Takes note of an update that went well."""
        self._calm += 1
        if self._calm >= CALM_UPDATES:
            self._in_a_row = 0

    def bad(self, update: int, problem: str, arrays: dict[str, NDArray[Any]], policy: Policy | None = None) -> Policy:
        """Takes note of one that did not.

        Args:
            update: its number.
            problem: what was not finite.
            arrays: kept for inspection.
            policy: what to do in place of the option.

        Returns:
            "skip" or "rollback": go on that way.

        Raises:
            NonFiniteLossError: the policy is "stop", or it was the last of too many in a row.
        """
        policy = policy or self.policy
        self.total += 1
        self._in_a_row, self._calm = self._in_a_row + 1, 0
        path = self._keep(f"update_{update:09d}", arrays) if self._keep is not None else None
        kept = f"; the batch is in {path}" if path is not None else ""
        advice = "lower learning.learning_rate or check the environment's rewards"
        if policy == "stop":
            raise NonFiniteLossError(f"update {update}: {problem}{kept}; {advice}")
        if self._in_a_row > MOST_IN_A_ROW:
            raise NonFiniteLossError(
                f"update {update}: {problem}{kept}; the last of {self._in_a_row} without {CALM_UPDATES} good updates "
                f"between them (learning.on_nonfinite: {policy}); {advice}"
            )
        return policy

    def state_dict(self) -> dict[str, int]:
        """Returns the counters."""
        return {"total": self.total, "in_a_row": self._in_a_row, "calm": self._calm}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restores `state_dict`."""
        self.total, self._in_a_row, self._calm = int(state["total"]), int(state["in_a_row"]), int(state["calm"])


def batch_arrays(batch: Batch[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Returns every array of a batch by name."""
    targets = {field.name: getattr(batch.targets, field.name) for field in fields(batch.targets)}
    names = ("observation", "next_observation", "weight", "reward_weight")
    own = {name: getattr(batch, name) for name in names}
    return {**own, **{f"target_{name}": array for name, array in targets.items()}}


def name_problem(batch: Batch[NDArray[Any]], outcome: Outcome | None) -> str:
    """Returns which of batch, loss and gradients is not finite, in this order: the first is the likely cause.

    Args:
        batch: what the update was made from.
        outcome: what it came to; None where it did not come to that.
    """
    wrong = [f"the batch's {name}" for name, array in batch_arrays(batch).items() if not np.isfinite(array).all()]
    if outcome is None:
        return f"not finite: {', '.join(wrong)}"
    wrong += [f"loss/{name}" for name, part in outcome.parts.items() if not math.isfinite(part)]
    if outcome.bad_gradients:
        more = f" and {len(outcome.bad_gradients) - 1} more" if len(outcome.bad_gradients) > 1 else ""
        wrong.append(f"the gradient of {outcome.bad_gradients[0]}{more}")
    return f"not finite: {', '.join(wrong) or 'the norm of all gradients'} (loss {outcome.total:g})"


def bad_weights(model: nn.Module) -> str | None:
    """Returns the name of the first weight or statistic that is not finite, None where all are.

    One pass over the weights: a sum that is finite shows that no part of it was not.
    """
    tensors = [tensor.detach() for tensor in model.state_dict().values() if tensor.is_floating_point()]
    if _finite(torch.stack(torch._foreach_norm(tensors))):
        return None
    return next((name for name, tensor in model.state_dict().items() if not _finite(tensor)), "the norm of a weight")


def _finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
