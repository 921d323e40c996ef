"""World model and teacher."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from muzero_wm import envs
from muzero_wm.config import ModelConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.model.ema import make_teacher, update_teacher
from muzero_wm.model.networks import normalize_latent
from muzero_wm.model.world_model import WorldModel


def build(spec: EnvSpec, **settings: object) -> WorldModel:
    torch.manual_seed(0)
    model = WorldModel(ModelConfig(width=16, head_width=32, projection_width=24, **settings), spec)  # type: ignore[arg-type]
    with torch.no_grad():  # away from the identity that blocks start as
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def boards(spec: EnvSpec, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, (count, *spec.observation_shape)).astype(spec.observation_dtype)


@pytest.mark.parametrize("torso", ["mlp", "conv"])
@pytest.mark.parametrize("norm", ["rms", "minmax"])
def test_shapes_and_latent_scale_through_a_deep_unroll(torso: str, norm: str) -> None:
    spec = envs.spec("connect4")
    model = build(spec, torso=torso, latent_norm=norm)
    latent = model.represent(torch.from_numpy(boards(spec, 5)))
    for action in range(30):
        assert latent.shape == (5, *model.latent_shape)
        assert torch.isfinite(latent).all()
        if norm == "rms":
            torch.testing.assert_close(latent.flatten(1).square().mean(1), torch.ones(5), rtol=1e-3, atol=1e-3)
        else:
            assert latent.min() >= 0 and latent.max() <= 1
        latent = model.step(latent, torch.full((5,), action % 7))
    prediction = model.predict(latent)
    assert prediction.policy_logits.shape == (5, 7)
    assert prediction.value_logits.shape == (5, 3) and prediction.reward_logits.shape == (5, 3)
    assert model.project(latent).shape == (5, 42 if torso == "conv" else 1, 24)


def test_minmax_guards_its_denominator() -> None:
    assert torch.equal(normalize_latent(torch.full((2, 4), 3.0), "minmax"), torch.zeros(2, 4))


def test_different_actions_lead_to_different_latents() -> None:
    spec = envs.spec("tictactoe")
    model = build(spec, torso="mlp")
    latent = model.represent(torch.from_numpy(boards(spec, 1))).expand(9, -1)
    following = model.step(latent, torch.arange(9))
    assert torch.pdist(following).min() > 1e-3


@pytest.mark.parametrize("torso", ["mlp", "conv"])
def test_a_move_changes_sides_between_two_players_only(torso: str) -> None:
    """Fresh blocks are the identity, so without an action's embedding only the halves of the channels have changed."""
    spec = envs.spec("connect4")
    for players, halves in ((2, (8, 0)), (1, (0, 8))):
        torch.manual_seed(0)
        config = ModelConfig(torso=torso, width=16)  # type: ignore[arg-type]
        model = WorldModel(config, dataclasses.replace(spec, num_players=players))
        torch.nn.init.zeros_(model.dynamics.embedding.weight)
        latent = model.represent(torch.from_numpy(boards(spec, 3)))
        following = model.step(latent, torch.zeros(3, dtype=torch.long))
        first, second = halves
        torch.testing.assert_close(following[:, first : first + 8], latent[:, :8])
        torch.testing.assert_close(following[:, second : second + 8], latent[:, 8:])


def test_a_conv_torso_on_a_vector_is_refused() -> None:
    spec = EnvSpec("vector", (4,), np.dtype(np.float32), 2, 1, None, None, ())
    with pytest.raises(ValueError, match=r"model\.torso: conv needs"):
        build(spec, torso="conv")


@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0])
def test_teacher_is_an_exponential_average(decay: float) -> None:
    model = build(envs.spec("tictactoe"))
    teacher = make_teacher(model)
    expected = [p.detach().clone() for p in model.parameters()]
    for _ in range(3):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        update_teacher(teacher, model, decay)
        expected = [decay * e + (1 - decay) * p.detach() for e, p in zip(expected, model.parameters(), strict=True)]
    for ours, theirs in zip(teacher.parameters(), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert not ours.requires_grad


def test_a_new_network_promises_the_initial_value_everywhere() -> None:
    spec = EnvSpec("vector", (4,), np.dtype(np.float32), 3, 1)
    support = {"low": -12.0, "high": 12.0, "num_bins": 49, "transform": True}
    config = ModelConfig(torso="mlp", width=16, value_support=support, initial_value=50.0)  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = WorldModel(config, spec)
    latent = model.represent(torch.randn(8, 4))
    for _ in range(3):
        value = model.value_support.decode(model.predict(latent).value_logits)
        torch.testing.assert_close(value, torch.full((8,), 50.0), rtol=0.05, atol=0.0)
        latent = model.step(latent, torch.zeros(8, dtype=torch.int64))
