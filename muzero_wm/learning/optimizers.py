"""PyTorch's optimisers, without the compiler that their methods bring in.

Each of their methods tells PyTorch's compiler to leave it alone, and imports that compiler for it: more than a second
of every start, and memory in every run, for what nothing here compiles. Behind those wrappers are the same methods.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import torch
from torch import nn

from muzero_wm.config import LearningConfig

_METHODS = ("add_param_group", "load_state_dict", "state_dict", "zero_grad", "step")
_Kind = TypeVar("_Kind", bound=type[torch.optim.Optimizer])


def _without_compiler(kind: _Kind) -> _Kind:
    """Takes the methods of an optimiser as they are behind the wrappers; its step needs no gradients."""
    for name in _METHODS:
        setattr(kind, name, inspect.unwrap(getattr(kind, name)))
    kind.step = torch.no_grad()(kind.step)  # type: ignore[method-assign]
    return kind


@_without_compiler
class AdamW(torch.optim.AdamW):
    """Makes the same steps as `torch.optim.AdamW`."""


@_without_compiler
class SGD(torch.optim.SGD):
    """Makes the same steps as `torch.optim.SGD`."""


def make_optimizer(weights: list[nn.Parameter], config: LearningConfig, device: torch.device) -> torch.optim.Optimizer:
    """Returns the optimiser of a run.

    Args:
        weights: what it moves.
        config: which one, and its settings.
        device: where the weights are.
    """
    settings: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        return AdamW(weights, betas=(config.momentum, config.beta2), fused=True, **settings)
    return SGD(weights, momentum=config.momentum, fused=None if device.type == "cpu" else True, **settings)
