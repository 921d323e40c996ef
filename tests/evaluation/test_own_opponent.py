"""Opponents of the user's own: named wherever opponents are, and told where they are wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import muzero_wm
from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.basis.registry import OPPONENTS
from muzero_wm.cli import main
from muzero_wm.config.presets import ConfigError, load_config
from muzero_wm.envs import BatchedEnv, EnvSpec, Step
from muzero_wm.evaluation import evaluate, opponent_from_name, play_match, register_opponent
from muzero_wm.evaluation.players import Rows

SMALL = ["model.width=8", "model.head_width=8", "model.projection_width=8", "search.num_simulations=2"]
SMALL += ["acting.num_envs=4", "acting.process=false", "replay.min_steps=20", "learning.batch_size=8"]
SMALL += ["run.tensorboard=false", "inference.backend=eager"]


class Nth:
    """Plays the N-th of the legal moves, or the last."""

    def __init__(self, argument: str, spec: EnvSpec, seed: int) -> None:
        if not argument.isdecimal():
            raise UserError(f"opponent 'nth:{argument}': expected nth:N, for example nth:0")
        self.n, self.spec = int(argument), spec

    def actions(self, env: BatchedEnv, step: Step, rows: Rows) -> NDArray[np.int64]:
        legal = [np.flatnonzero(mask) for mask in step.legal_actions[rows]]
        return np.array([moves[min(self.n, len(moves) - 1)] for moves in legal], np.int64)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    register_opponent("nth", Nth)
    yield
    OPPONENTS._own.clear()


def test_an_own_opponent_plays_by_its_argument() -> None:
    spec = envs.spec("tictactoe")
    first, last = (opponent_from_name(f"nth:{n}", spec) for n in (0, 8))
    step = envs.make("tictactoe", 3).reset()
    assert first.actions(envs.make("tictactoe", 3), step, np.arange(3)).tolist() == [0, 0, 0]
    assert last.actions(envs.make("tictactoe", 3), step, np.arange(3)).tolist() == [8, 8, 8]
    # the row in which the first player always moves is full before the other has three
    result = play_match("tictactoe", first, last, 2, 0)
    assert result.total.draws == 0


def test_it_is_met_in_training_in_evaluations_and_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    often = ["run.evaluate_every_minutes=1e-9", "run.evaluate_games=2", "run.evaluate_opponent=nth:1"]
    run = tmp_path / "run"
    agent = muzero_wm.train("tictactoe", run_dir=run, max_updates=2, overrides=[*SMALL, *often])
    assert "games against nth:1" in capsys.readouterr().out
    assert evaluate(agent, "nth:1", games=2)["opponent"] == "nth:1"
    assert main.main(["evaluate", str(run), "--opponent", "nth:2", "--games", "2"]) == 0
    assert "against nth:2" in capsys.readouterr().out


def test_what_is_wrong_with_one_is_told() -> None:
    spec = envs.spec("tictactoe")
    with pytest.raises(UserError, match="expected nth:N, for example nth:0"):
        opponent_from_name("nth", spec)
    known = r"\(known: random, perfect, mcts:N, gtp:COMMAND, uci:COMMAND, nth\)"
    with pytest.raises(UserError, match=rf"unknown opponent 'nht:1' {known}, did you"):
        opponent_from_name("nht:1", spec)
    with pytest.raises(UserError, match="register_opponent: the opponent 'mcts' is built in; take another name"):
        register_opponent("mcts", Nth)
    with pytest.raises(UserError, match="register_opponent: expected a class or a function for 'other', got '3'"):
        register_opponent("other", 3)  # type: ignore[arg-type]
    overrides = ["run.evaluate_every_minutes=1", "run.evaluate_opponent=tnh:1"]
    with pytest.raises(ConfigError, match="expected random, perfect, mcts:N or nth, got 'tnh:1'"):
        load_config("tictactoe", overrides=overrides)
