"""When a run begins to learn, and that the ratio of updates to steps is exact however long episodes are."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from muzero_wm import training
from muzero_wm.config.presets import load_config
from muzero_wm.learning.pace import Pace
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.training import train
from tests.replay.helpers import make_episode, make_spec

SMALL = [
    "model.torso=mlp", "model.width=8", "model.head_width=8", "model.projection_width=8", "search.num_simulations=2",
    "acting.num_envs=8", "acting.steps_per_round=8", "acting.process=false", "inference.backend=eager",
    "replay.min_steps=500", "replay.max_steps=4000", "replay.unroll_steps=3", "learning.batch_size=4",
    "learning.updates_per_round=3", "learning.max_updates=30", "learning.max_minutes=null", "run.tensorboard=false",
]  # fmt: skip
ENDLESS = "gym:tests.replay.endless:Endless-v0"
RARE = "gym:tests.replay.endless:Rare-v0"


def rounds(folder: Path, env: str, *overrides: str) -> list[tuple[int, int, int]]:
    """Returns steps, updates and updates owed at the border of every round of a run."""
    seen: list[tuple[int, int, int]] = []

    def look(learner: Any, progress: Any) -> None:
        seen.append((progress.steps, learner.updates, progress.pace.owed))

    train(load_config(None, env=env, overrides=[*SMALL, *overrides]), folder, on_round=look)
    return seen


@pytest.mark.parametrize("env", ["gym:CliffWalking-v1", "gym:Acrobot-v1", ENDLESS, RARE, "tictactoe"])
def test_the_first_update_comes_after_about_min_steps(env: str, tmp_path: Path) -> None:
    """Even where no episode has ended by then: CliffWalking and Acrobot last for hundreds of random steps."""
    n_step = 0 if env == "tictactoe" else 5
    seen = rounds(tmp_path / "run", env, f"replay.n_step={n_step}")
    first = next(steps for steps, updates, _ in seen if updates)
    assert 500 < first <= 500 + 3 * 64
    assert seen[-1][1:] == (30, 0)
    for (_, before, _), (steps, after, owed) in itertools.pairwise(seen):
        assert after - before <= 2 * 3
        assert after + owed == 3 * max(0, (steps - 512) // 64), "every round from min_steps on owes three updates"


def test_an_endless_episode_is_told_once_where_targets_wait_for_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = rounds(tmp_path / "run", ENDLESS, "replay.n_step=0", "replay.max_mib=0.25")
    assert seen[-1][1] == 30
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("an episode has not ended after") == 1 and "set replay.n_step" in shown
    assert "replay.max_mib lowers replay.max_steps 4000" in shown


def test_what_is_noted_for_going_back_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However old the border in memory may become, the replay's notes do not grow with it."""
    monkeypatch.setattr(training.Border, "SHORTEST_AGE", 1e9)
    notes = []

    def look(learner: Any, progress: Any) -> None:
        notes.append(progress._replay.undo_nbytes)

    overrides = [*SMALL, "replay.n_step=5", "replay.max_mib=1"]
    env = "gym:tests.replay.endless:Endless-v0(size=100)"
    train(load_config(None, env=env, overrides=overrides), tmp_path / "run", on_round=look)
    one_round = max(after - before for before, after in itertools.pairwise([0, *notes]))
    assert 2**20 / 8 < max(notes) < 2**20 / 8 + one_round


def test_a_slow_start_is_made_up_for_at_twice_the_pace() -> None:
    """Games of sixty moves, of which none has ended when the updates begin to be due."""
    config = load_config(
        "tictactoe", overrides=["acting.num_envs=1", "replay.min_steps=20", "learning.updates_per_round=3"]
    )
    pace, made = Pace(config), []
    ring = ReplayBuffer(make_spec(2), config.replay, 1.0)
    for played in range(0, 160, 10):
        if played == 60:
            ring.extend(make_episode([0.0] * 59 + [1.0], players=2))
        made.append(pace.round(played, ring))
        again = Pace(config)
        again.load_state_dict(pace.state_dict())
        pace = again
    assert made == [0] * 6 + [6] * 4 + [3] * 6 and pace.owed == 0
    with pytest.raises(ValueError, match="owed"):
        pace.load_state_dict({"owed": -1})
