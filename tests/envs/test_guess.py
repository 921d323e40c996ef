"""Names of environments that are not quite ours: what was meant is found, or what is missing is said."""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium
import pytest

from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.cli import main as cli
from muzero_wm.config import presets
from muzero_wm.envs import EnvError
from muzero_wm.envs.registry import full_name


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("CartPole-v1", "gym:CartPole-v1"),
        ("FrozenLake-v1(is_slippery=False)", "gym:FrozenLake-v1(is_slippery=False)"),
        ("gym:CartPole-v1", "gym:CartPole-v1"),
        ("tictactoe", "tictactoe"),
        ("NoSuchThing-v0", "NoSuchThing-v0"),
        ("((", "(("),
    ],
)
def test_what_gymnasium_knows_needs_no_prefix(name: str, full: str) -> None:
    told: list[str] = []
    assert full_name(name, told.append) == full
    assert told == ([] if full == name else [f"{name} is one of Gymnasium's environments: taken as {full}."])


def test_a_name_in_a_file_is_not_changed_but_the_message_knows_better() -> None:
    with pytest.raises(EnvError, match="did you mean 'gym:CartPole-v1'"):
        envs.spec("CartPole-v1")


@pytest.mark.parametrize(
    ("source", "env", "taken", "said"),
    [
        ("gym:CartPole-v1", None, "gym:CartPole-v1", "an environment, no preset: taken as --env gym:CartPole-v1."),
        ("CartPole-v1", None, "gym:CartPole-v1", "an environment, no preset: taken as --env gym:CartPole-v1."),
        (None, "CartPole-v1", "gym:CartPole-v1", "one of Gymnasium's environments: taken as gym:CartPole-v1."),
        (None, "connect4", "connect4", None),
        ("othello", None, "othello", "othello is an environment, no preset: taken as --env othello."),
    ],
)
def test_train_takes_what_was_meant_and_says_so(
    source: str | None, env: str | None, taken: str, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    config, folder = presets.plan_run(source, env=env, tell=told.append, max_updates=1)
    assert config.env == taken
    assert folder.parent.name == "runs" and folder.name.startswith(taken.replace(":", "-"))
    assert any(said in line for line in told) if said else not any("taken as" in line for line in told)


def test_train_names_a_wrong_option_of_a_built_in_game() -> None:
    with pytest.raises(UserError, match=r"unknown option 'bord_size'.*did you mean 'board_size'"):
        presets.plan_run("othello(bord_size=6)", max_updates=1)


def test_files_and_presets_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "CartPole-v1.yaml").write_text("env: tictactoe\n")
    assert presets.plan_run("CartPole-v1.yaml", max_updates=1)[0].env == "tictactoe"
    assert presets.plan_run("cartpole", max_updates=1)[0].env == "gym:CartPole-v1"


def test_check_env_takes_the_bare_name_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check-env", "CartPole-v1", "--steps", "20"]) == 0
    assert "taken as gym:CartPole-v1" in capsys.readouterr().out


def test_atari_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)
    for key in [key for key in gymnasium.registry if key.startswith("ALE/")]:
        monkeypatch.delitem(gymnasium.registry, key)
    with pytest.raises(EnvError, match=r'it needs ale_py: pip install "muzero-wm\[atari\]"$'):
        envs.spec("gym:ALE/Pong-v5")


def test_another_namespace_is_left_to_gymnasium() -> None:
    with pytest.raises(EnvError, match="Namespace NoSuch not found"):
        envs.spec("gym:NoSuch/Thing-v0")


def test_a_name_that_is_too_long_is_told_so() -> None:
    with pytest.raises(EnvError, match=r"at most 200 characters, got 30\d") as caught:
        envs.spec("gym:CartPole-v1(" + "x" * 284 + "=1)")
    assert len(str(caught.value)) < 250
