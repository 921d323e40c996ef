"""The unrolled loss: weights, masks, gradients, and what keeps the latent from collapsing."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from muzero_wm import envs
from muzero_wm.config import LearningConfig, ModelConfig, ReplayConfig
from muzero_wm.learning.batches import MOST_CELLS, draw_cells, move
from muzero_wm.learning.functions import cosine_with, scale_gradient, standardize_
from muzero_wm.learning.health import effective_rank
from muzero_wm.learning.losses import unrolled_loss
from muzero_wm.model.device import CPU
from muzero_wm.model.ema import make_teacher
from muzero_wm.model.world_model import WorldModel
from muzero_wm.replay.buffer import Batch, ReplayBuffer
from tests.replay.helpers import make_episode, make_spec


def setup(alternating: bool = True, **episode: object) -> tuple[WorldModel, WorldModel, Batch[torch.Tensor]]:
    """Returns a model, its teacher and a batch of two unrolls near the end of a 4-step game."""
    torch.manual_seed(0)
    spec = dataclasses.replace(make_spec(2), alternating=alternating)
    model = WorldModel(ModelConfig(torso="mlp", width=12, head_width=12, projection_width=8), spec)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    buffer = ReplayBuffer(spec, ReplayConfig(max_steps=50, unroll_steps=3), 1.0)
    buffer.extend(make_episode([0.0, 0.0, 0.0, 1.0], players=2, **episode))  # type: ignore[arg-type]
    (batch,) = move([buffer.batch(np.array([1, 3]), 0.0, np.random.default_rng(0))], CPU)
    return model, make_teacher(model), batch  # type: ignore[return-value]


def config(**weights: float) -> LearningConfig:
    chosen = {f"{name}_weight": 0.0 for name in ("policy", "value", "reward", "turn", "self_prediction")}
    return LearningConfig(max_updates=1, **(chosen | weights))  # type: ignore[arg-type]


def by_hand(model: WorldModel, batch: Batch[torch.Tensor], weights: LearningConfig) -> float:
    """Sums every term of section by section, one scalar at a time."""
    targets = batch.targets.map(torch.Tensor.numpy)
    total, unroll = 0.0, targets.action.shape[1]
    for b in range(len(batch.slot)):
        latent = model.represent(batch.observation[b : b + 1])
        for k in range(unroll + 1):
            share = 1.0 if k == 0 else 1.0 / unroll
            if k > 0:
                latent = model.step(latent, torch.tensor([int(targets.action[b, k - 1])]))
            policy_logits, value_logits, reward_logits, turn_logit, _ = model.predict(latent)
            log_policy = torch.log_softmax(policy_logits[0], 0)
            for a in range(3):
                total -= (
                    share
                    * weights.policy_weight
                    * targets.policy_mask[b, k]
                    * targets.policy[b, k, a]
                    * log_policy[a].item()
                )
            factor = weights.terminal_weight if targets.terminal[b, k] else 1.0
            value_bin = int(targets.value[b, k]) + 1  # targets here are -1, 0 or 1: exactly one bin each
            log_value = torch.log_softmax(value_logits[0], 0)[value_bin].item()
            total -= share * weights.value_weight * targets.value_mask[b, k] * factor * log_value
            if k > 0:
                reward_bin = int(targets.reward[b, k - 1]) + 1
                log_reward = torch.log_softmax(reward_logits[0], 0)[reward_bin].item()
                total -= share * weights.reward_weight * targets.reward_mask[b, k - 1] * factor * log_reward
            if k > 0 and turn_logit is not None and targets.same_player_mask[b, k - 1]:
                again = torch.sigmoid(turn_logit[0]).item()
                happened = again if targets.same_player[b, k - 1] else 1.0 - again
                total -= share * weights.turn_weight * math.log(happened)
    return total / len(batch.slot)


@pytest.mark.parametrize(
    "weights",
    [
        {"policy_weight": 1.0},
        {"value_weight": 0.25},
        {"reward_weight": 2.0},
        {"value_weight": 1.0, "terminal_weight": 4.0},
        {"policy_weight": 1.0, "value_weight": 1.0, "reward_weight": 1.0},
    ],
)
def test_loss_equals_the_sum_by_hand(weights: dict[str, float]) -> None:
    model, teacher, batch = setup()
    settings = config(**weights)
    result = unrolled_loss(model, teacher, batch, settings)
    assert result.total.item() == pytest.approx(by_hand(model, batch, settings), rel=1e-5)


@pytest.mark.parametrize("terminated", [True, False])
def test_the_loss_of_turns_equals_the_sum_by_hand(terminated: bool) -> None:
    model, teacher, batch = setup(False, terminated=terminated, to_play=[0, 1, 1, 0, 0])
    settings = config(turn_weight=3.0, value_weight=1.0)
    result = unrolled_loss(model, teacher, batch, settings)
    assert result.total.item() == pytest.approx(by_hand(model, batch, settings), rel=1e-5)
    right = []
    for b, first in enumerate((1, 3)):  # where the unrolls begin
        latent = model.represent(batch.observation[b : b + 1])
        for k in range(3):
            latent = model.step(latent, torch.tensor([int(batch.targets.action[b, k])]))
            same = {1: True, 2: False, 3: True}.get(first + k)  # the last one is known where the episode was cut
            if same is not None and (first + k < 3 or not terminated):
                right.append((model.predict(latent).turn_logits.item() > 0) == same)
    assert len(right) == (2 if terminated else 4)
    assert result.turn_accuracy.item() == pytest.approx(np.mean(right))


def test_importance_weights_are_applied() -> None:
    model, teacher, batch = setup()
    settings = config(policy_weight=1.0, value_weight=1.0)
    alone = []
    for b in range(2):
        batch.weight = torch.eye(2)[b]
        alone.append(unrolled_loss(model, teacher, batch, settings).total.item())
    batch.weight = torch.tensor([0.25, 1.0])
    total = unrolled_loss(model, teacher, batch, settings).total.item()
    assert total == pytest.approx(0.25 * alone[0] + alone[1], rel=1e-5)


def test_rewards_alone_have_the_weights_of_rewards() -> None:
    model, teacher, batch = setup()
    settings = config(policy_weight=1.0, value_weight=1.0, reward_weight=1.0, self_prediction_weight=1.0)
    batch.weight = torch.zeros(2)
    rewards = unrolled_loss(model, teacher, batch, config(reward_weight=1.0)).total.item()
    assert unrolled_loss(model, teacher, batch, settings).total.item() == pytest.approx(rewards) and rewards > 0.0
    batch.reward_weight = torch.tensor([0.5, 0.5])
    assert unrolled_loss(model, teacher, batch, settings).total.item() == pytest.approx(rewards / 2)


def gradient_of(weights: dict[str, float]) -> dict[str, float]:
    model, teacher, batch = setup()
    unrolled_loss(model, teacher, batch, config(**weights)).total.backward()
    return {name: 0.0 if p.grad is None else p.grad.abs().sum().item() for name, p in model.named_parameters()}


def test_a_weight_of_zero_switches_its_target_off() -> None:
    """Each target alone moves exactly its own part of the output layer; the projector moves with self-prediction."""
    model, teacher, batch = setup(alternating=False)
    rows = {"policy": slice(0, 3), "value": slice(3, 6), "reward": slice(6, 9), "turn": slice(9, 10)}
    for name, own in rows.items():
        model.zero_grad()
        unrolled_loss(model, teacher, batch, config(**{f"{name}_weight": 1.0})).total.backward()
        gradient = model.heads.output.weight.grad.abs().sum(1)
        assert gradient[own].min() > 0
        gradient[own] = 0
        assert gradient.max() == 0
        assert model.projector.weight.grad is None and model.predictor[0].weight.grad is None
    only_self = gradient_of({"self_prediction_weight": 1.0})
    assert only_self["projector.weight"] > 0 and only_self["dynamics.embedding.weight"] > 0
    assert only_self["heads.output.weight"] == 0


def test_no_gradient_reaches_the_teacher() -> None:
    model, teacher, batch = setup()
    unrolled_loss(model, teacher, batch, config(self_prediction_weight=1.0)).total.backward()
    assert all(p.grad is None for p in teacher.parameters())


def test_observations_past_the_end_do_not_matter() -> None:
    """Self-prediction and policy are masked there: garbage in those slots changes nothing."""
    model, teacher, batch = setup()
    settings = config(policy_weight=1.0, self_prediction_weight=1.0)
    clean = unrolled_loss(model, teacher, batch, settings).total.item()
    outside = batch.targets.next_mask == 0
    assert outside.any()
    batch.next_observation[outside] = 1e3
    batch.targets.policy[batch.targets.policy_mask == 0] = 0.7
    assert unrolled_loss(model, teacher, batch, settings).total.item() == pytest.approx(clean, rel=1e-5)


def test_nothing_is_learnt_past_a_truncation() -> None:
    model, teacher, batch = setup(terminated=False, values=[0, 0, 0, 0, 1])
    settings = config(value_weight=1.0, reward_weight=1.0)
    clean = unrolled_loss(model, teacher, batch, settings).total.item()
    batch.targets.value[batch.targets.value_mask == 0] = -1
    batch.targets.reward[batch.targets.reward_mask == 0] = 1
    assert (batch.targets.value_mask == 0).any() and (batch.targets.reward_mask == 0).any()
    assert unrolled_loss(model, teacher, batch, settings).total.item() == pytest.approx(clean, rel=1e-6)


def test_scale_gradient_keeps_the_value() -> None:
    x = torch.tensor([3.0, -2.0], requires_grad=True)
    y = scale_gradient(x, 0.5)
    y.sum().backward()
    assert y.tolist() == [3.0, -2.0] and x.grad.tolist() == [0.5, 0.5]


def test_standardize_uses_the_masked_rows_only() -> None:
    x = torch.randn(50, 4) * 3 + 5
    x[40:] = 1e6
    mask = (torch.arange(50) < 40).float()
    out = standardize_(x, mask)[:40]
    torch.testing.assert_close(out.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std(0, correction=0), torch.ones(4), atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_cosine_and_its_gradient_are_those_of_torch(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    x = torch.randn(3, 5, 7).to(dtype).requires_grad_()
    goal = F.normalize(torch.randn(3, 5, 7), dim=-1)
    weight = torch.randn(3, 5)
    other = x.detach().float().requires_grad_()
    expected = F.cosine_similarity(other, goal, dim=-1)
    (expected * weight).sum().backward()
    ours = cosine_with(x, goal)
    (ours * weight).sum().backward()
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    assert x.grad is not None and x.grad.dtype == dtype
    tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(x.grad.float(), other.grad, atol=tolerance, rtol=tolerance)


def test_large_boards_are_compared_in_some_cells() -> None:
    spec = envs.spec("connect4")
    large = dataclasses.replace(spec, observation_shape=(3, 10, 10))
    rng = np.random.default_rng(0)
    model = WorldModel(ModelConfig(width=8, head_width=8, projection_width=4), large)
    assert draw_cells(WorldModel(ModelConfig(width=8, head_width=8), spec), rng) is None
    assert draw_cells(WorldModel(ModelConfig(torso="mlp", width=8, head_width=8), spec), rng) is None
    drawn = [draw_cells(model, rng) for _ in range(40)]
    assert all(cells is not None and len(set(cells.tolist())) == MOST_CELLS for cells in drawn)
    assert set(torch.cat(drawn).tolist()) == set(range(100))
    latent = torch.randn(2, 8, 10, 10)
    assert torch.equal(model.project(latent, drawn[0]), model.project(latent)[:, drawn[0]])


def test_effective_rank_of_known_clouds() -> None:
    torch.manual_seed(0)
    line = torch.randn(200, 1) @ torch.randn(1, 16)
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-2)
    assert effective_rank(torch.ones(20, 8)) == 1.0
    orthogonal = torch.cat([torch.eye(8), -torch.eye(8)])
    assert effective_rank(orthogonal) == pytest.approx(8.0, rel=1e-4)
