"""The layers of a network, said once: they compute what the module computes, and backends judge by them alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from muzero_wm import envs
from muzero_wm.basis.registry import TORSOS
from muzero_wm.config import ModelConfig
from muzero_wm.inference.backends import BackendError, make_backend
from muzero_wm.inference.description import UndescribedError, describe, undescribed
from muzero_wm.inference.inference import BackendWarning, InferenceModel
from muzero_wm.inference.native import supported
from muzero_wm.model.layers import (
    Affine,
    Block,
    CellsAndPeaks,
    Convolution,
    Exchange,
    Layer,
    Normalize,
    Relu,
    Shift,
    plain,
)
from muzero_wm.model.networks import Dynamics, Residual, normalize_latent
from muzero_wm.model.torsos import Conv, Layout, Slice, Torso, register_torso
from muzero_wm.model.world_model import WorldModel
from tests.inference.test_backends import assert_agree
from tests.model.models import CASES, make_model, needs, observations
from tests.model.own_torso import Clocked

ROOT = Path(__file__).parents[2]


class Flattening(nn.Module):
    """Looks at a board by a convolution, and makes a vector of it."""

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(shape[0], 6, 5, padding=2)
        self.flat = nn.Linear(6 * shape[1] * shape[2], width)
        self.block = Residual(width, False, True)

    def forward(self, observation: Tensor) -> Tensor:
        return self.block(torch.relu(self.flat(torch.relu(self.stem(observation)).flatten(1))))

    def layers(self) -> tuple[Layer, ...]:
        return (plain(self.stem), Relu(), plain(self.flat), Relu(), self.block.layer())


class Looking(Torso):
    """A board in front, a vector behind: of the layers that are known, in an order that no built-in torso has."""

    spatial = True

    def lay_out(self) -> Layout:
        return Layout((Slice("features", self.config.width),))

    def representation(self) -> nn.Module:
        return Flattening(self.spec.observation_shape, self.config.width)

    def dynamics(self) -> nn.Module:
        return Dynamics(self.config, self.layout.shape, self.spec.num_actions, False, self.changes_sides)


class Opaque(Conv):
    """The built-in one without a word about its layers."""

    def dynamics(self) -> nn.Module:
        made = super().dynamics()

        class Hidden(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = made

            def forward(self, latent: Tensor, action: Tensor) -> Tensor:
                return self.inner(latent, action)

        return Hidden()


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    for name, torso in {"looking": Looking, "opaque": Opaque, "clocked": Clocked}.items():
        register_torso(name, torso)
    yield
    TORSOS._own.clear()


def build(torso: str) -> WorldModel:
    torch.manual_seed(0)
    config = ModelConfig(torso=torso, width=10, head_width=12, projection_width=8)
    model = WorldModel(config, envs.spec("connect4")).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def computed(layers: tuple[Layer, ...], x: Tensor, action: Tensor | None = None) -> Tensor:
    """Computes layers one after the other, each as its description says."""
    for layer in layers:
        match layer:
            case Affine(weight, bias):
                x = F.linear(x.flatten(1), weight, bias)
            case Convolution(weight, bias):
                x = F.conv2d(x, weight, bias, layer.stride, weight.shape[2] // 2)
            case Shift(amount):
                x = x + amount
            case Relu():
                x = x.clamp_min(0)
            case Exchange(by):
                x = torch.cat([x[:, -by:], x[:, :-by]], 1)
            case Block(first, second, by_action):
                inner = computed((first,), x)
                if by_action is not None:
                    assert action is not None
                    inner = inner + by_action[action]
                x = (x + computed((second,), inner.clamp_min(0))).clamp_min(0)
            case CellsAndPeaks(squeeze):
                x = torch.cat([computed((squeeze,), x).clamp_min(0).flatten(1), x.flatten(2).max(2).values], 1)
            case Normalize(kind):
                x = normalize_latent(x, kind)
    return x


@torch.no_grad()
def assert_described(model: WorldModel) -> None:
    net = describe(model)
    observation = torch.from_numpy(observations(model, 5)).float()
    action = torch.arange(5) % model.num_actions
    latent = model.represent(observation)
    ours = computed(net.representation, observation.reshape(5, *net.observation_shape))
    torch.testing.assert_close(ours, latent, rtol=1e-4, atol=1e-5)
    following = computed(net.dynamics, latent, action)
    torch.testing.assert_close(following, model.step(latent, action), rtol=1e-4, atol=1e-5)
    logits = computed(net.prediction, latent).split([readout.size for readout in net.readouts.values()], 1)
    prediction = model.predict(latent)
    theirs = [prediction.policy_logits, prediction.value_logits, prediction.reward_logits]
    if prediction.turn_logits is not None:
        theirs.append(prediction.turn_logits[:, None])
    for found, expected in zip(logits, theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert set(net.readouts) == {"prior_logits", "value", "reward", *(["edge_sign"] if model.learns_turns else [])}


@pytest.mark.parametrize("case", CASES)
def test_the_layers_compute_the_network(case: str) -> None:
    assert_described(make_model(case))


def test_a_description_shares_no_memory_with_the_model() -> None:
    model = make_model("conv")
    net = describe(model)
    before = [tensor.clone() for layer in net.layers if isinstance(layer, Affine | Convolution) for tensor in layer[:2]]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    after = [tensor for layer in net.layers if isinstance(layer, Affine | Convolution) for tensor in layer[:2]]
    assert before and all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    "name",
    [
        "eager-fp32",
        "torch-fp32",
        "fused-fp32",
        pytest.param("onnxruntime-fp32", marks=needs("onnx", "onnxruntime")),
        pytest.param("openvino-fp32", marks=needs("onnx", "openvino")),
    ],
)
def test_backends_evaluate_an_own_torso_of_known_layers(name: str) -> None:
    model = build("looking")
    assert_described(model)
    assert_agree(make_backend(name, model, batch_size=7), model, 7, 2e-5)


def test_a_backend_says_by_the_layers_what_it_does_not_know() -> None:
    assert supported(build("looking")) == "the torso is convolutional"
    assert supported(build("mlp")) is None
    assert supported(build("opaque")) == "the dynamics of the torso 'opaque' does not say what layers it has"
    model = build("mlp")
    hidden = model.heads.hidden
    model.heads.layers = lambda: (plain(hidden), plain(model.heads.output))  # type: ignore[method-assign]
    assert supported(model) == "its layers are not those of a residual MLP"
    with pytest.raises(BackendError, match=r"^native: its layers are not those of a residual MLP"):
        make_backend("native-fp32", model)


@pytest.mark.parametrize(
    ("torso", "why"),
    [
        ("opaque", "the dynamics of the torso 'opaque' does not say what layers it has"),
        ("clocked", "the representation of the torso 'clocked' does not say what layers it has"),
    ],
)
def test_a_network_that_nobody_knows_runs_on_the_eager_backend(torso: str, why: str) -> None:
    model = build(torso)
    assert undescribed(model) == why
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = InferenceModel(model, batch_size=5)
    assert network.backend == "eager-fp32"
    assert network.describe().endswith(f"; {why}, so the others cannot evaluate it")
    assert {found.name: found.passed for found in network.candidates}["fused-fp32"] is False
    with torch.no_grad():
        expected = model.predict(model.represent(torch.from_numpy(observations(model, 3)))).policy_logits
    np.testing.assert_allclose(network.initial(observations(model, 3)).prior_logits, expected, atol=1e-6)
    for name in ("fused", "torch", "native"):
        with pytest.raises(BackendError, match=f"^{name}: {why}; take auto or eager as inference.backend$"):
            InferenceModel(model, backend=name)
    with pytest.warns(BackendWarning, match="eager-fp32 takes its place"):
        assert InferenceModel(model, backend="fused-fp32", batch_size=5, stored=True).backend == "eager-fp32"


def test_a_network_that_says_its_layers_is_told_without_a_reason() -> None:
    assert "others" not in InferenceModel(build("looking"), batch_size=6).describe()


def test_latents_that_are_scaled_in_part_are_not_described() -> None:
    class Half(Looking):
        def lay_out(self) -> Layout:
            width = self.config.width
            return Layout((Slice("features", width - 2), Slice("clock", 2, scaled=False)))

    register_torso("half", Half)
    assert undescribed(build("half")) == "the torso 'half' normalises only some slices of its latents"
    with pytest.raises(UndescribedError, match="only some slices"):
        describe(build("half"))


def test_blocks_of_two_kinds_are_refused_where_they_are_not_known() -> None:
    model = build("mlp")
    first, second = plain(nn.Linear(10, 10)), plain(nn.Conv2d(10, 10, 3, padding=1))
    model.heads.layers = lambda: (Block(first, second), plain(model.heads.output))  # type: ignore[method-assign]
    with pytest.raises(BackendError, match="fused: a block of a linear layer and a convolution is beyond it"):
        make_backend("fused-fp32", model)


def test_what_does_not_begin_with_weights_is_not_described() -> None:
    model = build("mlp")
    model.representation.layers = lambda: (Relu(),)  # type: ignore[method-assign]
    with pytest.raises(UndescribedError, match="'mlp' begins with Relu, no affine layer"):
        describe(model)


def test_batch_norm_is_merged_in_one_place() -> None:
    """It was in three, each with digits of its own."""
    places = [
        path.name for path in (ROOT / "muzero_wm").rglob("*.py") if "running_var" in path.read_text(encoding="utf-8")
    ]
    assert sorted(places) == ["auto.py", "layers.py"]  # the former makes a noisy copy of the statistics
