"""Torsos: their names, how they lay out latents, and one of the user's own."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

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
    assert TORSOS.names[:2] == ("mlp", "conv")


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
    with pytest.raises(UserError, match=r"model\.torso: expected 'auto', 'mlp' or 'conv', got 'clocked'; a torso of "):
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
