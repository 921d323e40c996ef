"""Whole runs of Atari games: which preset, exact resume, evaluation of whole games, a film."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from muzero_wm.agent import load
from muzero_wm.cli.reports import print_evaluation
from muzero_wm.config import Config
from muzero_wm.config.presets import load_config
from muzero_wm.evaluation import evaluate
from muzero_wm.evaluation.episodes import play_episodes
from muzero_wm.evaluation.film import write_film
from muzero_wm.evaluation.opponents import RandomPlayer
from muzero_wm.learning.learner import Learner
from muzero_wm.run.progress import Progress
from muzero_wm.training import train

pytest.importorskip("ale_py", reason="needs the extra atari")

TINY = [
    "model.width=8", "model.head_width=8", "model.projection_width=8", "search.num_simulations=2",
    "search.max_num_considered_actions=2", "acting.num_envs=3", "acting.steps_per_round=6", "replay.min_steps=30",
    "replay.max_mib=64", "learning.batch_size=4", "learning.updates_per_round=2", "inference.backend=eager",
    "run.tensorboard=false", "acting.process=false",
]  # fmt: skip


def tiny(game: str = "Breakout", updates: int = 8, *overrides: str) -> Config:
    return load_config("atari-cpu", env=f"ale:{game}(size=36)", overrides=[*TINY, *overrides], max_updates=updates)


@pytest.mark.parametrize(
    ("gpu", "overrides", "preset"),
    [(False, [], "atari-cpu"), (True, [], "atari100k"), (True, ["run.device=cpu"], "atari-cpu")],
)
def test_a_game_without_a_preset_has_one_for_the_machine(
    gpu: bool, overrides: list[str], preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    told: list[str] = []
    config = load_config(env="ale:Boxing", overrides=overrides, tell=told.append)
    assert config == load_config(preset, env="ale:Boxing", overrides=overrides)
    assert told == [f"The preset {preset}: an Atari game, and {'a' if preset == 'atari100k' else 'no'} GPU."]


def test_a_game_is_played_as_the_preset_plays_unless_its_name_says_otherwise() -> None:
    assert load_config("atari-cpu", env="ale:Boxing").env == "ale:Boxing(size=48)"
    assert load_config("atari-cpu", env="ale:Boxing(size=64, sticky=0.25)").env == "ale:Boxing(size=64, sticky=0.25)"
    assert load_config("atari100k", env="ale:Boxing").env == "ale:Boxing"
    assert load_config("atari-cpu", env="gym:CartPole-v1", overrides=["model.torso=mlp", "learning.random_shift=0"]).env


@pytest.mark.parametrize("preset", ["atari100k", "atari100k-puct", "atari-cpu"])
def test_the_budget_is_that_of_the_benchmark(preset: str) -> None:
    config = load_config(preset)
    assert config.learning.max_steps == 100_000 and config.learning.clip_rewards
    assert config.replay.max_steps == 100_000


@pytest.mark.usefixtures("forked_children")
@pytest.mark.parametrize("process", ["false", "true"])
def test_a_run_that_is_stopped_and_resumed_learns_the_same(process: str, tmp_path: Path) -> None:
    config = tiny("Breakout", 10, f"acting.process={process}")
    whole = train(config, tmp_path / "whole").model.state_dict()

    def stop(_: Learner, progress: Progress) -> None:
        if progress.updates == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "parts", on_round=stop)
    parts = train(config, tmp_path / "parts", resume=True).model.state_dict()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_the_score_is_on_the_scale_of_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny("Boxing"), tmp_path / "run")
    agent = load(tmp_path / "run")
    found = evaluate(agent, games=2, max_steps=20)
    scale = found["human_normalised"]
    assert scale["score"] == pytest.approx((found["mean_return"] - 0.1) / 12.0) and found["cut"] == 2
    print_evaluation(found)
    assert "human-normalised" in capsys.readouterr().out
    assert write_film(tmp_path / "boxing.gif", agent, max_steps=3).steps == 3


def test_an_evaluation_plays_whole_games() -> None:
    """A random game of Breakout has five lives of some 35 steps each; training ends an episode with the first."""
    played = play_episodes("ale:Breakout(size=36)", RandomPlayer(0), 4)
    assert min(played.lengths) > 60 and sum(played.lengths) / 4 > 100
