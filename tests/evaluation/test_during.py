"""Evaluations beside a running training: what they find, and what they leave alone."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from muzero_wm import training
from muzero_wm.basis.registry import OPPONENTS
from muzero_wm.basis.signals import Interrupted, StopSignals
from muzero_wm.config.plain_yaml import ConfigError
from muzero_wm.config.presets import load_config
from muzero_wm.evaluation import register_opponent
from muzero_wm.evaluation.affordable import quick_opponent
from muzero_wm.evaluation.during import TrainingEvaluation
from muzero_wm.learning.learner import Learner
from muzero_wm.run.progress import Progress
from muzero_wm.storage.checkpoint import load_checkpoint
from muzero_wm.training import train
from tests.envs.toys import Nim
from tests.evaluation.stubs import GivesUp
from tests.test_exact_resume import SMALL, assert_same, contents


class NoCopies(Nim):
    """Cannot be copied, so nobody can search its true rules."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()


ALWAYS = ["run.evaluate_every_minutes=1e-9", "run.evaluate_games=4", "run.evaluate_opponent=random"]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def learnt(folder: Path) -> dict[str, Any]:
    state = load_checkpoint(folder / "checkpoints")
    return {"learner": state["learner"], "actor": state["actor"], "replay": contents(state["replay"])}


def test_an_evaluation_changes_nothing_of_the_run(tmp_path: Path) -> None:
    for name, settings in (("without", []), ("with", ALWAYS)):
        train(load_config("tictactoe", overrides=[*SMALL, *settings]), tmp_path / name)
    assert_same(learnt(tmp_path / "with"), learnt(tmp_path / "without"))
    found = [line for line in lines(tmp_path / "with") if "evaluation/score" in line]
    assert len(found) > 5
    assert found[-1]["updates"] == 30
    assert all(0.0 <= line["evaluation/score"] <= 1.0 and line["evaluation/seconds"] > 0.0 for line in found)
    assert {line["learning_rate"] for line in lines(tmp_path / "with") if "learning_rate" in line} == {
        line["learning_rate"] for line in lines(tmp_path / "without") if "learning_rate" in line
    }


def test_its_time_is_not_part_of_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: clock[0])
    config = load_config("tictactoe", overrides=[*SMALL, "learning.max_minutes=1"])
    progress = Progress(config, Learner(config, training.envs.spec("tictactoe")), replay=None)  # type: ignore[arg-type]
    progress.begin()
    clock[0] += 6.0
    with progress.paused():
        clock[0] += 600.0
    assert progress.elapsed == 6.0
    assert progress.fraction == pytest.approx(0.1)


def test_episodes_that_may_last_for_ever_are_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [*SMALL, "run.evaluate_every_minutes=1e-9", "run.evaluate_games=3", "run.evaluate_max_steps=7"]
    train(load_config("cartpole", overrides=[*settings, "model.torso=mlp"]), tmp_path)
    found = [line for line in lines(tmp_path) if "evaluation/length" in line]
    assert found and all(line["evaluation/length"] == line["evaluation/return"] == 7.0 for line in found)
    assert "return 7 in 3 episodes, 3 cut after 7 steps" in capsys.readouterr().out


def test_a_run_stops_at_a_score_and_can_be_resumed_exactly(tmp_path: Path) -> None:
    config = load_config("tictactoe", overrides=[*SMALL, *ALWAYS, "learning.stop_at_score=0"])
    train(config, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "checkpoints")["learner"]["updates"] < 30
    assert lines(tmp_path / "run")[-1]["evaluation/score"] >= 0.0
    plain = load_config("tictactoe", overrides=SMALL)
    train(plain, tmp_path / "run", resume=True)
    train(plain, tmp_path / "whole")
    assert_same(learnt(tmp_path / "run"), learnt(tmp_path / "whole"))


def test_one_player_stops_at_a_return(tmp_path: Path) -> None:
    settings = [*SMALL, "run.evaluate_every_minutes=1e-9", "run.evaluate_games=3", "learning.stop_at_score=5"]
    agent = train(load_config("cartpole", overrides=[*settings, "run.keep_best=evaluation/return"]), tmp_path / "run")
    assert agent.updates < 30
    found = [line for line in lines(tmp_path / "run") if "evaluation/return" in line]
    assert found[-1]["evaluation/return"] >= 5.0
    assert found[-1]["evaluation/length"] == found[-1]["evaluation/return"]  # a point for every step


def test_the_best_is_saved_with_the_weights_that_were_measured(tmp_path: Path) -> None:
    config = load_config("tictactoe", overrides=[*SMALL, *ALWAYS, "run.keep_best=evaluation/score"])
    train(config, tmp_path / "run")
    best = load_checkpoint(tmp_path / "run" / "checkpoints", "best")["learner"]["updates"]
    scores = {
        line["updates"]: line["evaluation/score"] for line in lines(tmp_path / "run") if "evaluation/score" in line
    }
    assert scores[best] == max(scores.values())


def test_a_signal_ends_an_evaluation_and_the_run_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = TrainingEvaluation.measure

    def interrupted(self: TrainingEvaluation, *args: Any) -> Any:
        stop = args[3]
        stop.requested = 15
        assert measure(self, *args) is None
        return None

    monkeypatch.setattr(TrainingEvaluation, "measure", interrupted)
    with pytest.raises(Interrupted) as caught:
        train(load_config("tictactoe", overrides=[*SMALL, *ALWAYS]), tmp_path / "run")
    assert (caught.value.signum, caught.value.saved) == (15, True)
    monkeypatch.undo()
    plain = load_config("tictactoe", overrides=SMALL)
    train(plain, tmp_path / "run", resume=True)
    train(plain, tmp_path / "whole")
    assert_same(learnt(tmp_path / "run"), learnt(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["learning.stop_at_score=0.9"],
            "^tictactoe: learning.stop_at_score needs evaluations: set",
        ),
        (["run.keep_best=evaluation/score"], "run.keep_best=evaluation/score needs evaluations"),
        (["run.evaluate_opponent=random"], "run.evaluate_opponent needs evaluations"),
        (
            ["run.keep_best=episode/retrun"],
            "run.keep_best: expected evaluation/score, which",
        ),
        ([*ALWAYS, "run.keep_best=evaluation/return"], "expected evaluation/score.*got 'evaluation/return'"),
        (
            [*ALWAYS[:2], "run.evaluate_opponent=stockfish"],
            "evaluate_opponent: expected random, perfect or mcts:N, got 'stockfish'",
        ),
        (
            [*ALWAYS, "learning.stop_at_score=95"],
            "stop_at_score: expected a share of points from 0 to 1, .* got 95",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_run(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("tictactoe", overrides=settings)


def test_one_player_has_no_opponent() -> None:
    with pytest.raises(ConfigError, match=r"run\.evaluate_opponent: gym:CartPole-v1 is for one player"):
        load_config("cartpole", overrides=ALWAYS)
    with pytest.raises(ConfigError, match="expected evaluation/return or episode/return"):
        load_config("cartpole", overrides=[*ALWAYS[:2], "run.keep_best=evaluation/score"])


def test_an_evaluation_that_fails_is_the_last_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "tests.evaluation.test_during:NoCopies"
    settings = [*SMALL, "model.change_sides=false", *ALWAYS[:2], "run.evaluate_opponent=mcts:5"]
    agent = train(load_config("tictactoe", env=name, overrides=settings), tmp_path / "run")
    assert agent.updates == 30
    assert capsys.readouterr().out.count("no more evaluations: opponent 'mcts:5'") == 1
    assert not [line for line in lines(tmp_path / "run") if "evaluation/score" in line]


def test_games_that_an_opponent_gave_up_are_told_and_nobody_is_left_open() -> None:
    register_opponent("broken", GivesUp)
    GivesUp.open = 0
    try:
        config = load_config("tictactoe", overrides=[*SMALL, *ALWAYS[:2], "run.evaluate_opponent=broken"])
        spec = training.envs.spec("tictactoe")
        evaluation = TrainingEvaluation(config, spec)
        measured = evaluation.measure(Learner(config, spec).teacher, 1, 0.0, StopSignals())
    finally:
        OPPONENTS._own.clear()
    assert measured is not None and measured.metrics["evaluation/score"] == 1.0
    assert "4 games against broken; games given up by the opponent: 4 (mostly: out of order)" in measured.line
    assert GivesUp.open == 0


def test_games_of_others_meet_a_random_player_by_default() -> None:
    assert quick_opponent("connect4") == "mcts:100"
    assert quick_opponent("tests.envs.toys:walk(players=2)") == "random"
