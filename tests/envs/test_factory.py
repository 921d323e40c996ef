"""Environments named by a module and a factory, and names that mean nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from muzero_wm import envs
from tests.envs import toys
from tests.envs.helpers import random_games

TOYS = "tests.envs.toys"


def test_a_factory_may_make_a_gymnasium_environment() -> None:
    name = f"{TOYS}:counting(length=2)"
    toys.MADE.clear()
    env = envs.make(name, 2)
    assert env.spec == envs.spec(name)
    assert (env.spec.name, env.spec.num_actions) == (name, 3)
    env.reset()
    step = [env.step(np.array([0, 1])) for _ in range(2)][-1]
    assert (step.reward.tolist(), step.terminated.tolist()) == ([1.0, 1.0], [True, True])
    assert len(toys.MADE) == 3  # one for each slot and one for the spec


def test_a_class_is_a_factory_too() -> None:
    for name in (f"{TOYS}:Nim(pile=5)", f"{TOYS}:Nim(pile=5, frame_stack=3)", f"{TOYS}:Nim(pile=5)"):
        spec = envs.spec(name)
        assert (spec.num_players, spec.alternating) == (2, True)
        assert spec.observation_shape == ((6,) if "stack" in name else (2,))


def test_a_factory_may_make_an_environment_of_ours() -> None:
    name = f"{TOYS}:walk(players=2)"
    toys.MADE.clear()
    spec = envs.spec(name)
    assert (spec.name, spec.num_players, spec.observation_shape) == (name, 2, (2,))
    assert toys.MADE[0].closed
    env = envs.make(name, 3)
    assert env.reset().observation.shape == (3, 2)


def test_a_spec_is_asked_for_once() -> None:
    toys.MADE.clear()
    specs = [envs.spec(f"{TOYS}:walk(again=True)") for _ in range(3)]
    assert len(toys.MADE) == 1
    assert specs[0] is specs[2]


def test_a_factory_may_make_a_board_game(seed: int) -> None:
    name = f"{TOYS}:board"
    assert envs.spec(name).name == envs.board_game(name).name == name
    ours, theirs = random_games("tictactoe", 20, seed), random_games(name, 20, seed)
    assert np.array_equal(ours.moves, theirs.moves)
    assert np.array_equal(ours.result, theirs.result)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{TOYS}:countin", "countin in tests.envs.toys does not exist, did you mean 'counting'?"),
        (f"{TOYS}:NUMBER", "NUMBER in tests.envs.toys is no function or class"),
        (f"{TOYS}:counting(lenth=3)", "the factory raised TypeError: .*unexpected keyword argument 'lenth'"),
        (f"{TOYS}:fails", "the factory raised RuntimeError: no licence"),
        (f"{TOYS}:nothing", "must return a gymnasium.Env, .*, got builtins.NoneType"),
        (f"{TOYS}:vector", "returned a vector environment; return a single one"),
        (f"{TOYS}:unknown_dtype", "the spec of what the factory returned: .* uint8 or float32, got float64"),
        (f"{TOYS}:board(size=3)", "the factory raised TypeError"),
        ("tests.envs.toyz:counting", "importing tests.envs.toyz raised ModuleNotFoundError"),
        ("tests..toys:counting", "'tests..toys' is no name of a module"),
        ("gmy:CartPole-v1", "unknown environment 'gmy:CartPole-v1': there is no module 'gmy'.*did you mean 'gym'?"),
        (
            "nowhere.at_all:make",
            "there is no module 'nowhere'; .*install the module or set PYTHONPATH.*known: .*gym:ID",
        ),
        ("conect4", "unknown environment 'conect4' .*package.module:factory.*did you mean 'connect4'?"),
        ("connect4(height=5)", r"unknown option 'height' \(connect4 takes no options\)"),
        ("os:system(command='true')", "os belongs to Python itself"),
        ("connect4(frame_stack=2)", "frame_stack is not for board games"),
        (f"{TOYS}:board(frame_stack=2)", "frame_stack is not for board games"),
        (f"{TOYS}:counting(frame_stack=0)", r"frame_stack must be a whole number in \[1, 64\], got 0"),
        ("gym:CartPole-v1(frame_stack=2.0)", r"frame_stack must be a whole number in \[1, 64\], got 2.0"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(name: str, message: str) -> None:
    for attempt in (envs.spec, lambda wanted: envs.make(wanted, 2)):
        with pytest.raises(envs.EnvError, match=message) as caught:
            attempt(name)
        assert "\n" not in str(caught.value)


def test_slots_may_not_share_an_environment() -> None:
    assert envs.make(f"{TOYS}:shared", 1).num_envs == 1
    with pytest.raises(envs.EnvError, match="the same environment twice"):
        envs.make(f"{TOYS}:shared", 2)


def test_only_board_games_have_rules_to_ask_for() -> None:
    for name in (f"{TOYS}:walk", "gym:CartPole-v1"):
        with pytest.raises(envs.EnvError, match="is no board game"):
            envs.board_game(name)


def test_modules_in_run_folders_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text("")
    (tmp_path / "hidden_toys.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(envs.EnvError, match="lies in the run folder"):
        envs.spec("hidden_toys:make")


def cube(channels: int = 3) -> gymnasium.Env:
    return toys.Echo(spaces.Box(0, 1, (6, 7, channels)), shown=np.zeros((6, 7, channels), np.float32))


def test_an_option_of_the_same_name_goes_to_the_factory_where_it_is_not_ours() -> None:
    here = "tests.envs.test_factory:cube"
    assert envs.spec(f"{here}(channels=8)").observation_shape == (6, 7, 8)
    assert envs.spec(f"{here}(channels=last)").observation_shape == (3, 6, 7)
    assert envs.spec(f"{here}(channels=first)").observation_shape == (6, 7, 3)
    assert envs.spec(f"{here}(channels=last, frame_stack=2)").observation_shape == (6, 6, 7)


@pytest.mark.parametrize(
    "name", ["tictactoe", "openspiel:hex", "minatar:breakout", "tests.envs.toys:walk", "tests.envs.toys:board"]
)
def test_channels_are_refused_where_nothing_is_read(name: str) -> None:
    with pytest.raises(envs.EnvError, match="channels=last is for"):
        envs.spec(f"{name}(channels=last)")
