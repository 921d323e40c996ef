"""Runs side by side: equal episodes, honest intervals, curves from logs as they are, and clear words for mistakes."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from muzero_wm import envs, load
from muzero_wm.agent import Agent
from muzero_wm.basis.errors import CheckpointError, UserError
from muzero_wm.basis.registry import OPPONENTS
from muzero_wm.cli import main as cli
from muzero_wm.cli.compare import grouped
from muzero_wm.config.presets import load_config
from muzero_wm.evaluation import AgentPlayer, play_episodes, register_opponent
from muzero_wm.evaluation.bootstrap import improvement, summary
from muzero_wm.evaluation.compare import Outcome, compare, measure
from muzero_wm.evaluation.curves import Learning, read_learning
from muzero_wm.evaluation.plots import Curve, PlotError, save_curves
from muzero_wm.model.world_model import WorldModel
from tests.evaluation.stubs import GivesUp

CARTPOLE = "gym:CartPole-v1"


def write_run(folder: Path, env: str = CARTPOLE, log: str | None = None) -> Path:
    """Writes an agent that has learnt nothing, with the log of a run."""
    spec = envs.spec(env)
    config = load_config("debug", env=env, overrides=["search.num_simulations=2"])
    Agent(config, spec, WorldModel(config.model, spec), 3).save(folder)
    if log is not None:
        (folder / "metrics.jsonl").write_text(log)
    return folder


def log_lines(*returns: float | None) -> str:
    rows = [
        {"updates": 10 * i, "steps": 100 * i, "elapsed": 60.0 * i, "episode/return": value}
        for i, value in enumerate(returns, 1)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def outcome(group: str, env: str, scores: list[float], name: str = "r") -> Outcome:
    return Outcome(group, Path(name), env, 1, 1, np.array(scores), Learning({}, {}, []))


def test_games_that_an_opponent_gave_up_are_told_and_nobody_is_left_open(tmp_path: Path) -> None:
    run, told = write_run(tmp_path / "a", "tictactoe"), list[str]()
    register_opponent("broken", GivesUp)
    GivesUp.open = 0
    try:
        (found,), _ = measure({"a": [run]}, 4, opponent="broken", tell=told.append)
    finally:
        OPPONENTS._own.clear()
    assert found.scores.tolist() == [1.0] * 4
    assert told == [f"{run}: games given up by the opponent: 4 (mostly: out of order)"]
    assert GivesUp.open == 0


def test_improvement_is_the_share_of_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(20):
        tasks = [(rng.integers(0, 5, rng.integers(1, 6)), rng.integers(0, 5, rng.integers(1, 6))) for _ in range(3)]
        expected = np.mean(
            [np.mean([(a > b) + (a == b) / 2 for a, b in itertools.product(ours, theirs)]) for ours, theirs in tasks]
        )
        ours, theirs = [[task[0].astype(float)] for task in tasks], [[task[1].astype(float)] for task in tasks]
        found = improvement(ours, theirs, seed)
        assert found["probability"] == pytest.approx(expected)
        assert improvement(theirs, ours, seed)["probability"] == pytest.approx(1 - expected)
        assert found["ci95"] is None or 0 <= found["ci95"][0] <= found["ci95"][1] <= 1


def test_intervals_of_what_is_plain() -> None:
    high, low = np.array([5.0, 6.0, 7.0]), np.array([1.0, 2.0])
    assert improvement([[high]], [[low]]) == {"probability": 1.0, "ci95": None}
    assert improvement([[high]], [[high]])["probability"] == 0.5
    assert improvement([[np.array([1.0])]], [[np.array([2.0])]]) == {"probability": 0.0, "ci95": None}
    one = summary([np.array([4.0])])
    assert {name: found["score"] for name, found in one.items()} == {"mean": 4.0, "median": 4.0, "iqm": 4.0}
    assert one["mean"]["ci95"] is None
    found = summary([np.array([0.0, 1.0, 2.0, 3.0, 100.0, 101.0, 102.0, 1000.0])])
    assert found["iqm"]["score"] == (2 + 3 + 100 + 101) / 4
    assert found["median"]["score"] == 51.5


def test_parts_are_drawn_by_themselves() -> None:
    """Two runs that are constant but different vary in no draw: a run's episodes never replace another's."""
    parts = [np.full(5, 1.0), np.full(5, 9.0)]
    assert summary(parts)["mean"] == {"score": 5.0, "ci95": None}
    low, high = summary([np.concatenate(parts)])["mean"]["ci95"]
    assert low < 5.0 < high


def test_intervals_cover_what_they_should(seed: int) -> None:
    rng = np.random.default_rng(seed)
    covered = 0
    for _ in range(200):
        low, high = summary([rng.normal(3.0, 2.0, 15), rng.normal(-3.0, 1.0, 15)])["mean"]["ci95"]
        covered += low <= 0.0 <= high
    assert 165 <= covered <= 199  # a little less than 190, as bootstraps of few scores are


def test_runs_are_samples_where_there_are_several() -> None:
    by_run = [outcome("a", CARTPOLE, [1.0, 3.0]), outcome("a", CARTPOLE, [10.0, 10.0])]
    by_run += [outcome("b", CARTPOLE, [5.0, 5.0]), outcome("b", CARTPOLE, [0.0, 2.0])]
    part = compare(by_run)["environments"][CARTPOLE]
    assert part["sample"] == "run"
    assert part["groups"]["a"]["samples"] == 2
    assert part["groups"]["a"]["mean"]["score"] == 6.0
    assert part["improvement"][0]["probability"] == (0 + 1 + 1 + 1) / 4  # 2 and 10 against 5 and 1
    part = compare(by_run[:3])["environments"][CARTPOLE]
    assert part["sample"] == "episode"
    assert part["groups"]["a"]["samples"] == 4
    assert part["improvement"][0]["probability"] == 2 / 4


def test_different_environments_are_put_together_only_on_a_common_scale() -> None:
    assert compare([outcome("a", CARTPOLE, [1.0]), outcome("a", "tictactoe", [1.0])])["normalised"] is None
    assert compare([outcome("a", "ale:Pong", [1.0]), outcome("b", "ale:Pong", [1.0])])["normalised"] is None
    mixed = [outcome("a", "ale:Pong", [0.0]), outcome("a", "ale:Boxing", [6.1]), outcome("a", CARTPOLE, [1.0])]
    assert compare(mixed)["normalised"] is None
    # random play has -20.7 and 0.1 points in these games, a person 14.6 and 12.1
    games = [outcome("a", "ale:Pong", [-20.7]), outcome("a", "ale:Boxing", [6.1])]
    games += [outcome("b", "ale:Pong", [14.6]), outcome("b", "ale:Boxing", [0.1])]
    found = compare(games)["normalised"]
    assert found["groups"]["a"]["mean"]["score"] == pytest.approx(0.25)
    assert found["groups"]["b"]["mean"]["score"] == pytest.approx(0.5)
    assert found["improvement"] == [{"of": "a", "over": "b", "games": 2, "probability": 0.5, "ci95": None}]


def test_every_run_plays_the_same_episodes(tmp_path: Path, seed: int) -> None:
    first = write_run(tmp_path / "first")
    second = tmp_path / "second"
    load(first).save(second)
    seen: list[tuple[int, int]] = []
    groups = {"a": [first], "b": [second]}
    (a, b), opponents = measure(groups, 4, seed, progress=lambda *now: seen.append(now))
    assert a.scores.tolist() == b.scores.tolist()
    assert a.scores.tolist() == play_episodes(CARTPOLE, AgentPlayer(load(first), None, seed), 4, seed).returns
    assert compare([a, b])["environments"][CARTPOLE]["improvement"][0]["probability"] == 0.5
    assert seen == sorted(seen)
    assert seen[-1] == (8, 8)
    assert opponents == {}
    seen.clear()
    with pytest.raises(CheckpointError, match="nothing here"):
        measure({"a": [first], "b": [tmp_path / "nothing here"]}, 4, progress=lambda *now: seen.append(now))
    assert not seen, "runs are looked at before any is played"
    with pytest.raises(UserError, match=r"opponent 'random': .*first plays gym:CartPole-v1, which is for one player"):
        measure(groups, 4, opponent="random")


def test_two_players_meet_the_same_opponent(tmp_path: Path, seed: int) -> None:
    run = write_run(tmp_path / "run", "tictactoe")
    (found,), opponents = measure({"a": [run]}, 6, seed, opponent="random")
    assert opponents == {"tictactoe": "random"}
    assert len(found.scores) == 6
    assert set(found.scores.tolist()) <= {0.0, 0.5, 1.0}


def test_a_log_is_read_as_it_is(tmp_path: Path) -> None:
    lines = log_lines(1.0, None, 3.0).splitlines()
    lines.insert(1, '{"updates": 12, "steps": ')
    lines.append('{"updates": 40, "steps": 400, "elapsed": 240.0, "evaluation/return": 7.5}')
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    found = read_learning(tmp_path)
    assert found.doubts == [f"{tmp_path / 'metrics.jsonl'}: line 2 cannot be read and was left out"]
    assert found.last == {"updates": 40, "steps": 400, "minutes": 4.0}
    training, evaluated = found.curves["episode/return"], found.curves["evaluation/return"]
    assert training.y.tolist() == [1.0, 3.0]
    assert {axis: x.tolist() for axis, x in training.x.items()} == {
        "updates": [10, 30], "steps": [100, 300], "minutes": [1, 3]
    }  # fmt: skip
    assert evaluated.y.tolist() == [7.5]
    assert set(found.curves) == {"episode/return", "evaluation/return"}


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        (None, "has no metrics.jsonl, so there is no learning curve"),
        ("", "has no line yet"),
        ("[1]\nnull\n\x00\n", "3 lines, the first of them 1, cannot be read"),
        ('{"updates": "many", "steps": 1, "elapsed": 1}\n', "line 1 cannot be read"),
        ("[" * 100_000, "line 1 cannot be read"),
    ],
)
def test_a_log_that_says_nothing_is_told(text: str | None, doubt: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "metrics.jsonl").write_text(text)
    found = read_learning(tmp_path)
    assert found.curves == found.last == {}
    assert doubt in found.doubts[0]


def test_names_of_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x/a", "y/a", "b", "c", "d", "e=f"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text("env: tictactoe\n")
    assert grouped(["x/a", "y/a", "b/", "e=f"]) == {name: [Path(name)] for name in ("x/a", "y/a", "b", "e=f")}
    assert grouped(["wide=c,d", "b"]) == {"wide": [Path("c"), Path("d")], "b": [Path("b")]}
    assert grouped(["wide=c", "wide=d"]) == {"wide": [Path("c"), Path("d")]}
    for words, reason in (
        (["b", "wide=b"], "b: comes twice"),
        (["b", "./b/"], "./b/: comes twice"),
        (["=b"], "'=b': expected RUN or NAME=RUN,RUN"),
        (["wide=b,"], "'wide=b,': expected RUN or NAME=RUN,RUN"),
        (["wide="], "'wide=': expected RUN or NAME=RUN,RUN"),
        (["wide=b,nowhere"], "nowhere: there is no such run"),
        (["x"], "x: has no config.yaml and no model.json"),
    ):
        with pytest.raises(UserError, match=reason):
            grouped(words)


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    curve = Curve({"updates": np.arange(3.0)}, np.arange(3.0), "rating", np.arange(3.0) - 1, np.arange(3.0) + 1)
    for suffix, magic in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        save_curves(tmp_path / f"c{suffix}", {"a": curve, "b": curve})
        assert (tmp_path / f"c{suffix}").read_bytes().startswith(magic)
    with pytest.raises(PlotError, match=r"expected a file that ends with \.png, \.svg or \.pdf"):
        save_curves(tmp_path / "c.bmp", {"a": curve})
    with pytest.raises(PlotError, match="nothing to draw"):
        save_curves(tmp_path / "d.png", {})
    with pytest.raises(PlotError, match="a folder that is there"):
        save_curves(tmp_path / "nowhere" / "c.png", {"a": curve})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.pdf", "c.png", "c.svg"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a0", log=log_lines(1.0, 2.0))
    write_run(tmp_path / "a1", log=log_lines(1.0, 2.5) + '{"upd')
    write_run(tmp_path / "b0")
    words = ["compare", "a=a0,a1", "b0", "--episodes", "2", "--json", "found.json", "--plot", "curves.svg"]
    assert cli.main(words) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "gym:CartPole-v1: return, 2 episodes a run, seed 0" in out
    assert "a is better than b0 with probability" in out
    assert "An episode is one sample, since not every group has two runs" in out
    assert "a1/metrics.jsonl: line 3 cannot be read and was left out" in out
    assert "b0: has no metrics.jsonl, so there is no learning curve" in out
    report = json.loads((tmp_path / "found.json").read_text())
    assert [len(row["scores"]) for row in report["runs"]] == [2, 2, 2]
    assert report["runs"][1]["curves"]["episode/return"] == {
        "updates": [10, 20], "steps": [100, 200], "minutes": [1, 2], "return": [1.0, 2.5]
    }  # fmt: skip
    groups = report["environments"]["gym:CartPole-v1"]["groups"]
    assert groups["a"]["mean"]["score"] == pytest.approx(np.mean([row["scores"] for row in report["runs"][:2]]))
    assert "<svg" in (tmp_path / "curves.svg").read_text()

    assert cli.main(["compare", "a0", "a1", "--episodes", "0"]) == 0
    out = capsys.readouterr().out
    assert "2.5" in out
    assert "probability" not in out
    assert cli.main(["compare", "b0", "--episodes", "0", "--plot", "curves.png"]) == 2
    assert "there is nothing to draw" in capsys.readouterr().err
    assert cli.main(["compare", "a0", "--plot", "curves.gif"]) == 2
    assert "ends with .png, .svg or .pdf" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["compare", "a0", "--plot", "curves.png"]) == 2
    assert "a picture needs matplotlib: pip install 'muzero-wm[plots]'" in capsys.readouterr().err
    assert not (tmp_path / "curves.png").exists()


def test_a_log_without_a_curve_is_told(tmp_path: Path) -> None:
    write_run(tmp_path / "a", log=log_lines(None, None))
    [doubt] = read_learning(tmp_path / "a").doubts
    assert "no evaluation, so there is no learning curve; run.evaluate_every_minutes logs them" in doubt
