"""PyTorch's optimisers, without the compiler that their methods bring in.

Each of their methods tells PyTorch's compiler to leave it alone, and imports that compiler for it: more than a second
of every start, and memory in every run, for what nothing here compiles. Behind those wrappers are the same methods.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from muzero_wm.config import LearningConfig


class AdamW(torch.optim.AdamW):
    """Makes the same steps as `torch.optim.AdamW`."""

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


class SGD(torch.optim.SGD):
    """Makes the same steps as `torch.optim.SGD`."""

    add_param_group = inspect.unwrap(torch.optim.SGD.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.SGD.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.SGD.state_dict)
    zero_grad = inspect.unwrap(torch.optim.SGD.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


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
