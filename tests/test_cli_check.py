"""`check-env` on the screen and in a file, and the quick check before `train`."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from muzero_wm.bench import environment
from muzero_wm.cli import main as cli
from muzero_wm.config import Config
from muzero_wm.config.derived import derive

SMALL = ["acting.num_envs=4", "acting.process=false", "search.num_simulations=2", "replay.min_steps=8"]
SMALL += ["learning.batch_size=4", "run.tensorboard=false"]


class Steps(gymnasium.Env):
    """Counts to five; what goes wrong is an option."""

    observation_space = spaces.Box(0.0, 5.0, (2,), np.float32)
    action_space = spaces.Discrete(2)
    worn = False

    def __init__(self, wrong: str = "") -> None:
        self.wrong, self.t, self.begun = wrong, 0, 0

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[np.ndarray, dict[str, object]]:
        super().reset(seed=seed)
        self.t, self.begun = 0, self.begun + 1
        return self.look(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        self.t += 1
        reward = np.nan if self.wrong == "reward" and self.t == 3 else float(action)
        if self.wrong == "late" and self.worn:
            raise RuntimeError("worn out")
        return self.look(), reward, self.t == 5, False, {}

    def look(self) -> np.ndarray:
        return np.array([self.t, self.begun % 5 if self.wrong == "reset" else 0], np.float32)


gymnasium.register("tests/Steps-v0", entry_point=Steps)


def test_a_right_environment_is_fine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    assert cli.main(["check-env", "gym:tests/Steps-v0", "--steps", "100", "--json", str(file)]) == 0
    out, err = capsys.readouterr()
    assert out.rstrip().endswith("Fine.")
    assert "100 steps, 20 episodes: 5 steps each" in out
    assert err == ""
    report = json.loads(file.read_text())
    assert report["findings"] == []
    assert report["facts"]["returns"]["max"] <= 5
    speed = report["facts"]["speed"]
    steps, searches = speed["steps_per_second"], speed["searches_per_second"]
    assert speed["share"] == pytest.approx((1 / steps) / (1 / steps + 1 / searches))


def test_it_says_what_training_would_do_and_may_expect(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    assert cli.main(["check-env", "gym:tests/Steps-v0", "--steps", "50", "--json", str(file)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    report = json.loads(file.read_text())
    training = report["facts"]["training"]
    assert training["chosen"] == derive("gym:tests/Steps-v0").lines
    assert "train --env gym:tests/Steps-v0 would choose - 2 numbers: model.torso mlp" in out
    assert "and may expect - some" in out
    assert [line for line in training["expected"] if "steps a second, at most" in line]
    assert cli.main(["check-env", "tictactoe", "--steps", "50"]) == 0
    assert "would choose - the preset tictactoe" in " ".join(capsys.readouterr().out.split())


class Screen(Steps):
    def __init__(self, height: int) -> None:
        super().__init__()
        self.observation_space = spaces.Box(0, 255, (height, 40, 3), np.uint8)

    def look(self) -> np.ndarray:
        return np.full(self.observation_space.shape, self.t, np.uint8)


gymnasium.register("tests/Screen-v0", entry_point=Screen)


def test_what_would_not_be_learnt_is_not_fine(capsys: pytest.CaptureFixture[str]) -> None:
    for name, title in (
        ("gym:tests/Screen-v0(height=8)", "an image as flat numbers"),
        ("gym:FrozenLake-v1", "chance decides much"),
    ):
        assert cli.main(["check-env", name, "--steps", "100"]) == 0
        out = capsys.readouterr().out
        assert title in out
        assert out.rstrip().endswith("1 warning: training runs, but look at it first.")


def test_an_image_that_no_network_takes_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check-env", "gym:tests/Screen-v0(height=48)", "--steps", "50"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("Fine.")
    assert cli.main(["check-env", "gym:tests/Screen-v0(height=300)", "--steps", "50"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "an image that is too large" in out and "the network pixels needs sides of at most 256" in out


def test_errors_are_exit_code_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    assert cli.main(["check-env", "gym:tests/Steps-v0(wrong=reward)", "--json", str(file)]) == 1
    out = capsys.readouterr().out
    assert "a reward that is no finite number" in out
    assert "1 error: mend the errors before training." in out
    assert "speed" not in out
    (finding,) = json.loads(file.read_text())["findings"]
    assert finding["severity"] == "error"
    assert "step 3" in finding["seen"]


def test_what_fails_only_later_is_an_error_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many steps the clock leaves for the measurement of speed is the machine's; it fails at the first."""
    measure = environment._steps_per_second

    def measure_worn(config: Config, seed: int) -> float:
        monkeypatch.setattr(Steps, "worn", True)
        return measure(config, seed)

    monkeypatch.setattr(environment, "_steps_per_second", measure_worn)
    assert cli.main(["check-env", "gym:tests/Steps-v0(wrong=late)"]) == 1
    out = capsys.readouterr().out
    assert "fails when it is played longer" in out
    assert "worn out" in out


def test_warnings_are_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check-env", "gym:tests/Steps-v0(wrong=reset)"]) == 0
    out = capsys.readouterr().out
    assert "reset does not begin anew" in out
    assert "1 warning: training runs" in out


def test_a_run_on_a_broken_environment_does_not_begin(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ([], ["--run-dir", "run"]):
        assert cli.main(["train", "--env", "gym:tests/Steps-v0(wrong=reward)", *folder]) == 2
        out, err = capsys.readouterr()
        assert out.splitlines()[-1].startswith("Trying out ")  # nothing comes after it
        assert len(err.splitlines()) == 1
        assert "a reward that is no finite number" in err
        assert "muzero-wm check-env 'gym:tests/Steps-v0(wrong=reward)'" in err
    assert list(tmp_path.iterdir()) == []


def test_a_warning_is_told_once_and_not_again_on_resume(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    small = [word for setting in SMALL for word in ("--set", setting)]
    run = ["train", "--env", "gym:tests/Steps-v0(wrong=reset)", "--run-dir", str(tmp_path / "run"), *small]
    assert cli.main([*run, "--max-updates", "2"]) == 0
    assert capsys.readouterr().err.count("reset does not begin anew") == 1
    assert cli.main(["train", "--resume", "--run-dir", str(tmp_path / "run"), "--max-updates", "4"]) == 0
    assert "reset does not begin anew" not in capsys.readouterr().err
