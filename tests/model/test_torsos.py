"""Torsos: their names, how they lay out latents, and one of the user's own."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import muzero_wm
from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.basis.registry import TORSOS
from muzero_wm.config import ModelConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.model.torsos import Layout, Slice, make_torso, register_torso
from muzero_wm.model.world_model import WorldModel
from tests.model.own_torso import Clocked

BOARD = envs.spec("connect4")
VECTOR = EnvSpec("vector", (4,), np.dtype(np.float32), 2, 1)
SMALL = ["model.width=12", "model.head_width=8", "model.projection_width=8", "search.num_simulations=4"]
SMALL += ["acting.num_envs=8", "acting.steps_per_round=4", "replay.min_steps=60", "learning.batch_size=16"]
SMALL += ["learning.updates_per_round=4", "run.tensorboard=false", "model.torso=clocked"]


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    register_torso("clocked", Clocked)
    yield
    TORSOS._own.clear()


def build(spec: EnvSpec = BOARD, **settings: object) -> WorldModel:
    torch.manual_seed(0)
    return WorldModel(ModelConfig(width=12, head_width=8, projection_width=8, **settings), spec)  # type: ignore[arg-type]


def test_built_in_torsos_say_what_they_are() -> None:
    conv, mlp = build(torso="conv").torso, build(torso="mlp").torso
    assert (conv.name, conv.spatial, conv.layout.shape) == ("conv", True, (12, 6, 7))
    assert (mlp.name, mlp.spatial, mlp.layout.shape) == ("mlp", False, (12,))
    assert build(torso="auto").torso.name == "conv" and build(VECTOR, torso="auto").torso.name == "mlp"
    assert TORSOS.names[:3] == ("mlp", "conv", "pixels")


def image(*shape: int, players: int = 1) -> EnvSpec:
    return EnvSpec("image", shape, np.dtype(np.uint8), 5, players, observation_bounds=(0.0, 255.0))


@pytest.mark.parametrize(
    ("shape", "cells", "blocks"),
    [
        ((4, 96, 96), (6, 6), 1),
        ((9, 96, 96), (6, 6), 0),
        ((1, 64, 64), (8, 8), 1),
        ((4, 48, 48), (6, 6), 2),
        ((3, 210, 160), (7, 5), 0),
        ((1, 21, 21), (6, 6), 1),
        ((2, 256, 21), (8, 6), 0),
        ((2, 17, 255), (5, 8), 0),
        ((3, 84, 80), (6, 5), 1),
        ((1, 9, 8), (5, 8), 1),
        ((1, 3, 3), (3, 3), 1),
    ],
)
def test_images_become_a_few_cells(shape: tuple[int, ...], cells: tuple[int, ...], blocks: int) -> None:
    model = build(image(*shape), torso="pixels", representation_blocks=blocks)
    latent = model.represent(torch.zeros(2, *shape, dtype=torch.uint8))
    assert latent.shape == (2, 12, *cells) and model.latent_shape == (12, *cells)
    assert model.step(latent, torch.zeros(2, dtype=torch.int64)).shape == latent.shape
    assert [len(logits) for logits in model.predict(latent)[:3]] == [2, 2, 2]
    assert model.project(latent).shape == (2, cells[0] * cells[1], 8)


@pytest.mark.parametrize(
    ("shape", "players", "torso"),
    [
        ((3, 20, 20), 1, "conv"),
        ((3, 20, 21), 1, "pixels"),
        ((1, 256, 256), 1, "pixels"),
        ((3, 19, 19), 2, "conv"),
        ((3, 32, 32), 2, "conv"),
        ((3, 33, 32), 2, "pixels"),
        ((2, 4, 30), 1, "conv"),
        ((1, 1, 300), 1, "mlp"),
        ((300,), 1, "mlp"),
    ],
)
def test_what_an_observation_looks_like_decides(shape: tuple[int, ...], players: int, torso: str) -> None:
    assert make_torso(ModelConfig(), image(*shape, players=players)).name == torso


@pytest.mark.parametrize("torso", ["auto", "pixels"])
def test_an_image_that_is_too_large_is_refused_with_a_remedy(torso: str) -> None:
    remedy = r"sides of at most 256 \(resize=96 in the name of the environment makes it smaller\)"
    with pytest.raises(UserError, match=rf"^model\.torso: pixels needs {remedy}, image has \[3, 257, 90\]$"):
        build(image(3, 257, 90), torso=torso)
    with pytest.raises(UserError, match=r"^model\.torso: pixels needs an observation of .*; auto takes what fits$"):
        build(VECTOR, torso="pixels")


def test_the_work_on_images_is_what_two_cores_can_do() -> None:
    """In floating point operations of one forward pass; EfficientZero's network has 0.29e9 at 96x96 and 64 channels."""
    for shape, width, low, high in (((4, 48, 48), 32, 10e6, 25e6), ((4, 96, 96), 64, 0.2e9, 0.3e9)):
        model = WorldModel(ModelConfig(torso="pixels", width=width), image(*shape))
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.represent(torch.zeros(1, *shape, dtype=torch.uint8))
        assert low < counter.get_total_flops() < high


@pytest.mark.parametrize("batch_norm", [False, True])
def test_many_images_are_the_same_as_few(batch_norm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gradients a large batch goes through in parts, unless its statistics are asked for."""
    model = build(image(3, 40, 40), torso="pixels", batch_norm=batch_norm)
    observation = torch.randint(0, 255, (7, 3, 40, 40), dtype=torch.uint8)
    with torch.no_grad():
        whole = model.represent(observation)
        monkeypatch.setattr("muzero_wm.model.networks._PIXELS_AT_ONCE", 3 * 40 * 40)
        looked: list[int] = []
        model.representation.stem.register_forward_hook(lambda module, inputs, _: looked.append(len(inputs[0])))
        torch.testing.assert_close(model.represent(observation), whole, rtol=1e-4, atol=1e-4)
        assert looked == ([7] if batch_norm else [3, 3, 1])
        model.eval().represent(observation)
        assert looked[-3:] == [3, 3, 1]


def test_two_players_see_a_picture_change_sides() -> None:
    model = build(image(3, 40, 40, players=2), torso="pixels")
    torch.nn.init.zeros_(model.dynamics.embedding.weight)
    latent = model.represent(torch.randint(0, 255, (3, 3, 40, 40), dtype=torch.uint8))
    following = model.step(latent, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(following[:, 6:], latent[:, :6], rtol=1e-4, atol=1e-4)


def test_slices_lie_behind_each_other() -> None:
    layout = Layout((Slice("board", 5), Slice("memory", 3, foreseen=False), Slice("depth", 1, scaled=False)), (2, 4))
    assert layout.shape == (9, 2, 4)
    assert [layout.of(name) for name in ("board", "memory", "depth")] == [slice(0, 5), slice(5, 8), slice(8, 9)]
    assert layout.channels("scaled") == tuple(range(8))
    assert layout.channels("foreseen") == (0, 1, 2, 3, 4, 8)


@pytest.mark.parametrize(
    "slices",
    [
        (Slice("a", 1), Slice("a", 2)),
        (Slice("a", 0),),
        (Slice("a", 3, scaled=False),),
        (Slice("a", 3, foreseen=False),),
    ],
)
def test_a_layout_that_makes_no_sense_is_refused(slices: tuple[Slice, ...]) -> None:
    with pytest.raises(ValueError, match="slices: expected"):
        Layout(slices)


@pytest.mark.parametrize("norm", ["rms", "minmax"])
def test_normalisation_and_self_prediction_touch_their_slices_only(norm: str) -> None:
    model = build(torso="clocked", latent_norm=norm)
    observation = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (5, *BOARD.observation_shape)))
    latent = model.represent(observation)
    for step in range(20):
        features = latent[:, :-1]
        assert torch.equal(latent[:, -1], torch.full((5,), float(step)))
        if norm == "rms":
            torch.testing.assert_close(features.square().mean(1), torch.ones(5), rtol=1e-3, atol=1e-3)
        else:
            torch.testing.assert_close(features.amax(1), torch.ones(5))
        projected = model.project(latent)
        assert projected.shape == (5, 1, 8)
        later = latent.clone()
        later[:, -1] += 100.0
        assert torch.equal(model.project(later), projected)
        latent = model.step(latent, torch.full((5,), step % 7))
    model.step(model.represent(observation), torch.zeros(5, dtype=torch.int64)).square().sum().backward()
    assert model.representation.stem.weight.grad.abs().sum() > 0


def test_a_snapshot_takes_the_recipe_along() -> None:
    model = build(torso="conv")
    assert copy.deepcopy(model).torso is model.torso


def test_an_own_torso_trains_plays_in_another_process_and_is_loaded(tmp_path: Path) -> None:
    overrides = [*SMALL, "inference.backend=eager"]
    agent = muzero_wm.train("tictactoe", run_dir=tmp_path / "run", max_updates=8, overrides=overrides)
    assert "clocked with" in repr(agent)
    resumed = muzero_wm.train(run_dir=tmp_path / "run", resume=True, max_updates=12)
    assert (agent.updates, resumed.updates) == (8, 12)
    again = muzero_wm.load(tmp_path / "run")
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    step = envs.make("tictactoe", 1).reset()
    assert again.act(step.observation[0], step.legal_actions[0]) in range(9)
    TORSOS._own.clear()
    with pytest.raises(
        UserError, match=r"model\.torso: expected 'auto', 'mlp', 'conv' or 'pixels', got 'clocked'; a torso of "
    ):
        muzero_wm.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "torso", "problem"),
    [
        ("conv", Clocked, "register_torso: the torso 'conv' is built in; take another name"),
        ("Wide One", Clocked, "register_torso: expected a name of lower case letters, digits, - and _, got 'Wide One'"),
        ("wide", dict, "register_torso: expected a subclass of Torso for 'wide', got \"<class 'dict'>\""),
        ("wide", lambda: None, "register_torso: expected a subclass of Torso for 'wide', got '<function <lambda>"),
    ],
)
def test_what_cannot_be_registered_is_told(name: str, torso: type, problem: str) -> None:
    with pytest.raises(UserError) as error:
        register_torso(name, torso)
    assert str(error.value).startswith(problem)


def test_a_name_stays_with_its_definition() -> None:
    class Other(Clocked):
        """Of another place."""

    register_torso("clocked", Clocked)  # as a notebook does
    with pytest.raises(
        UserError, match=r"the torso 'clocked' is tests\.model\.own_torso:Clocked already; take another"
    ):
        register_torso("clocked", Other)
    register_torso("other", Other)
    assert make_torso(ModelConfig(torso="other"), VECTOR).name == "other"


def test_a_torso_says_what_it_needs() -> None:
    class Square(Clocked):
        """For boards as high as wide."""

        @classmethod
        def refuses(cls, spec: EnvSpec) -> str | None:
            return None if spec.observation_shape[-1] == spec.observation_shape[-2] else "a square board"

    register_torso("square", Square)
    with pytest.raises(UserError, match=r"^model\.torso: square needs a square board, connect4 has \[3, 6, 7\]$"):
        build(torso="square")
    square = dataclasses.replace(BOARD, observation_shape=(3, 5, 5), symmetries=())
    assert build(square, torso="square").latent_shape == (13,)
