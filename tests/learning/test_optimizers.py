"""Our optimisers are PyTorch's, bit for bit."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from muzero_wm.config import LearningConfig
from muzero_wm.learning.optimizers import make_optimizer


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_steps_are_those_of_pytorch(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    config = LearningConfig.model_validate(
        {
            "optimizer": name,
            "learning_rate": 0.1,
            "weight_decay": 0.02,
            "momentum": 0.8,
            "beta2": 0.9,
            "max_updates": 1,
        }
    )
    rest = {"lr": 0.1, "weight_decay": 0.02}
    ours = nn.ModuleList([nn.Linear(5, 3), nn.Linear(3, 1)])
    theirs = copy.deepcopy(ours)
    weights = list(theirs.parameters())
    optimizers = [
        make_optimizer(list(ours.parameters()), config, torch.device("cpu")),
        torch.optim.AdamW(weights, betas=(0.8, 0.9), fused=True, **rest)
        if name == "adamw"
        else torch.optim.SGD(weights, momentum=0.8, **rest),
    ]
    for step in range(6):
        batch = torch.randn(4, 5)
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad(set_to_none=True)
            first, second = model
            out = first(batch) if step < 2 else second(first(batch))  # some weights get no gradient at first
            out.square().sum().backward()
            optimizer.step()
        if step == 3:  # what is saved of one is read by the other
            saved = [copy.deepcopy(optimizer.state_dict()) for optimizer in optimizers]
            for optimizer, state in zip(optimizers, reversed(saved), strict=True):
                optimizer.load_state_dict(state)
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(one, other)
            assert one.grad_fn is None and one.requires_grad
