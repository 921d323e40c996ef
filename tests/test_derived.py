"""Settings that follow from an environment."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest

import muzero_wm
from muzero_wm import envs
from muzero_wm.config import Config, SupportConfig
from muzero_wm.config.derived import PROBE_ENVS, PROBE_STEPS, Derived, Glimpse, _choose_for_one, derive, glimpse
from muzero_wm.config.presets import ConfigError, dump_config, load_config
from muzero_wm.model.support import Support


def test_a_glimpse_counts_what_random_play_shows() -> None:
    seen = glimpse(envs.spec("gym:CartPole-v1"))
    assert seen.steps == PROBE_ENVS * PROBE_STEPS
    assert (seen.largest_reward, seen.mean_size, seen.mean_reward) == (1.0, 1.0, 1.0)
    assert 15 < seen.lengths.mean() < 30  # random play falls after 22 steps on average


def test_what_follows_from_an_environment_does_not_depend_on_how_slow_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0.0, 1000.0)
    usual = derive("gym:CartPole-v1").settings
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    assert derive("gym:CartPole-v1").settings == usual


def test_vectors_get_an_mlp_and_boards_a_conv_torso() -> None:
    assert derive("gym:CartPole-v1").settings["model"]["torso"] == "mlp"
    assert derive("connect4").settings["model"]["torso"] == "conv"


def test_images_are_looked_at_with_strides_and_searched_a_little() -> None:
    derived = derive("tests.envs.toys:Road(size=96)")
    settings, lines = derived.settings, "\n".join(derived.lines)
    assert settings["model"]["torso"] == "pixels"
    assert settings["search"]["num_simulations"] == 16 and settings["search"]["max_num_considered_actions"] == 4
    assert settings["replay"]["unroll_steps"] == settings["replay"]["n_step"] == 5
    assert "an image of 3 x 96x96, a side above 20: halved down to 6x6 cells: model.torso pixels" in lines
    assert (
        "images are dear to look at and to keep: a small search, short returns, a small batch, more memory: " in lines
    )
    said = re.findall(r"(?:model|search|acting|replay|learning)\.\w+", lines)
    assert len(said) == len(set(said)), "something was chosen twice"
    small = derive("tests.envs.toys:Road(size=20)").settings
    assert small["model"]["torso"] == "conv" and small["search"]["num_simulations"] == 25


@pytest.mark.parametrize(("size", "torso"), [(96, "pixels"), (8, "conv")])
def test_a_game_of_images_can_be_trained_without_a_setting(size: int, torso: str, tmp_path: Path) -> None:
    few = ["acting.num_envs=4", "replay.min_steps=64", "acting.process=false", "run.tensorboard=false"]
    few += ["learning.batch_size=4", "learning.updates_per_round=2", "inference.backend=fused"]
    name = f"tests.envs.toys:Road(size={size})"
    agent = muzero_wm.train(env=name, run_dir=tmp_path / "run", max_updates=4, overrides=few)
    assert agent.updates == 4 and agent.model.torso.name == torso
    again = muzero_wm.load(tmp_path / "run")
    assert again.act(np.zeros((size, size, 3), np.uint8)) in range(3)


def test_long_episodes_look_further_ahead() -> None:
    discounts = {
        name: derive(name).settings["search"]["discount"] for name in ("gym:FrozenLake-v1", "gym:LunarLander-v3")
    }
    assert discounts["gym:FrozenLake-v1"] < discounts["gym:LunarLander-v3"] < 1.0


def test_a_new_network_hopes_that_episodes_go_on() -> None:
    """1 for every step and for ever; or, where every step costs 1, that it costs nothing."""
    for name, reward in (("gym:CartPole-v1", 1.0), ("gym:MountainCar-v0", 0.0)):
        settings = derive(name).settings
        forever = reward / (1.0 - settings["search"]["discount"])
        assert settings["model"]["initial_value"] == pytest.approx(forever, rel=0.01)


def test_one_player_explores_and_two_do_not() -> None:
    """The openings of games are random already, and a random move later on would spoil the outcome."""
    alone, two = (load_config(env=name) for name in ("gym:CartPole-v1", "openspiel:hex(board_size=3)"))
    assert alone.acting.random_moves > 0.0 and alone.acting.min_noise == 0.0 and alone.replay.bootstrap == "teacher"
    assert two.acting.random_moves == 0.0 and two.acting.min_noise == 1.0 and two.acting.random_openings > 0.0


@pytest.mark.parametrize(
    ("limit", "longest", "horizon"),
    [(None, 30, 300), (None, 2, 100), (None, 700, 1000), (500, 70, 500), (500, 20, 200), (5000, 40, 400), (50, 9, 50)],
)
def test_agents_last_longer_than_random_play_up_to_a_limit(limit: int | None, longest: int, horizon: int) -> None:
    spec = dataclasses.replace(envs.spec("gym:CartPole-v1"), max_episode_steps=limit)
    seen = Glimpse(2048, np.array([longest // 2, longest]), 1.0, 1.0, 1.0)
    derived = Derived({"model": {"torso": "mlp"}})
    _choose_for_one(derived, spec, seen)
    discount = derived.settings["search"]["discount"]
    assert discount == pytest.approx(min(max(1.0 - 3.0 / horizon, 0.97), 0.997), abs=1e-4)
    assert derived.settings["replay"]["n_step"] == pytest.approx(np.clip(0.1 / (1.0 - discount), 5, 30), abs=0.5)


def test_two_players_play_for_the_result_of_the_whole_game() -> None:
    settings = derive("tictactoe").settings
    assert settings["search"]["discount"] == 1.0
    assert settings["replay"]["n_step"] == 0
    assert settings["model"]["value_support"] == {"low": -1.0, "high": 1.0, "num_bins": 3, "transform": False}


@pytest.mark.parametrize("name", ["gym:LunarLander-v3", "gym:MountainCar-v0", "gym:Taxi-v4"])
def test_rewards_and_values_fit_into_their_supports(name: str) -> None:
    settings = derive(name).settings
    env = envs.make(name, 4, seed=5)
    step, rewards = env.reset(), []
    rng = np.random.default_rng(0)
    for _ in range(300):
        step = env.step(np.array([rng.choice(np.flatnonzero(mask)) for mask in step.legal_actions]))
        rewards.append(np.abs(step.reward))
    env.close()
    seen = np.stack(rewards)
    ahead = 1.0 / (1.0 - settings["search"]["discount"])
    for support, largest in (("reward_support", seen.max()), ("value_support", seen.mean() * ahead)):
        bins = Support.from_config(SupportConfig(**settings["model"][support])).bins
        # who plays well may see a thousand times as much
        assert 1000.0 * largest <= float(bins[-1]) == -float(bins[0])


def test_declared_bounds_are_wide_enough() -> None:
    spec = dataclasses.replace(envs.spec("gym:CartPole-v1"), value_bounds=(-20.0, 500.0))
    derived = Derived({"model": {"torso": "mlp"}})
    _choose_for_one(derived, spec, Glimpse(2048, np.array([20, 40]), 1.0, 1.0, 1.0))
    high = math.exp(derived.settings["model"]["value_support"]["high"])
    assert 520.0 <= high < 800.0


def test_the_choice_is_told_and_can_be_saved_and_read(tmp_path: Path) -> None:
    lines: list[str] = []
    config = load_config(env="gym:CartPole-v1", tell=lines.append, overrides=["search.num_simulations=7"])
    assert config.env == "gym:CartPole-v1"
    assert config.search.num_simulations == 7
    assert any("model.torso mlp" in line for line in lines)
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config


def test_an_environment_with_a_preset_of_its_name_gets_that_preset() -> None:
    assert load_config(env="connect4") == load_config("connect4")


def test_what_cannot_be_made_is_told() -> None:
    with pytest.raises(ConfigError, match=r"cannot make 'gym:CartPol-v1'.*CartPole"):
        load_config(env="gym:CartPol-v1")


def test_an_environment_alone_can_be_trained(tmp_path: Path) -> None:
    small = ["acting.num_envs=4", "replay.min_steps=64", "acting.process=false", "run.tensorboard=false"]
    agent = muzero_wm.train(env="gym:CartPole-v1", run_dir=tmp_path / "run", max_updates=32, overrides=small)
    assert isinstance(agent.config, Config)
    assert agent.search(np.zeros((2, 4), np.float32), np.ones((2, 2), np.bool_)).action.shape == (2,)


def test_the_spread_of_values_reaches_the_search(tmp_path: Path) -> None:
    small = ["acting.num_envs=4", "replay.min_steps=64", "acting.process=false", "run.tensorboard=false"]
    agent = muzero_wm.train(env="gym:CartPole-v1", run_dir=tmp_path / "run", max_updates=64, overrides=small)
    spread = float(agent.model.value_spread)
    hope = agent.config.model.initial_value
    # between the returns of short episodes and what a new network hopes for
    assert hope is not None and 0.5 < spread < 0.6 * hope
    assert muzero_wm.load(tmp_path / "run").model.value_spread == spread
