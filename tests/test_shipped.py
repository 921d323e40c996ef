"""The agents that come with the package: their files and cards, what they are worth, and how they are found."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.numpy import load_file

import muzero_wm
from muzero_wm import envs
from muzero_wm.agents import shipped
from muzero_wm.basis.errors import CheckpointError
from muzero_wm.cli import main as cli
from muzero_wm.config.presets import load_config
from muzero_wm.evaluation.exhaustive import play_every_reply
from muzero_wm.evaluation.players import AgentPlayer
from muzero_wm.evaluation.ratings.pool import gather
from muzero_wm.storage.checkpoint import SaveError
from muzero_wm.storage.exported import ABOUT, WEIGHTS, read_agent, write_agent
from muzero_wm.training import train

ROOT = Path(__file__).parents[1]
MOST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def ship() -> ModuleType:
    """The script that puts agents into the package."""
    spec = importlib.util.spec_from_file_location("ship", ROOT / "benchmarks/learning/ship.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small_run(folder: Path) -> None:
    train(load_config("debug", max_updates=3, overrides=["inference.backend=eager"]), folder)


def test_there_are_some() -> None:
    assert {"tictactoe", "connect4"} <= set(shipped.names())


@pytest.mark.parametrize("name", shipped.names())
def test_a_card_says_what_is_there(name: str, ship: ModuleType) -> None:
    card, agent = shipped.card(name), muzero_wm.load(f"shipped:{name}")
    folder = shipped.folder(name)
    assert sorted(path.name for path in folder.iterdir()) == sorted([WEIGHTS, ABOUT, shipped.CARD, shipped.TEXT])
    assert card["name"] == name and card["env"] == agent.spec.name == agent.config.env
    assert card["simulations"] == agent.config.search.num_simulations
    assert card["trained"]["updates"] == agent.updates and card["trained"]["seed"] == agent.config.seed
    assert card["weights"]["numbers"] == sum(weight.numel() for weight in agent.model.parameters())
    assert card["weights"]["bytes"] == (folder / WEIGHTS).stat().st_size <= MOST_BYTES
    for match in card["evaluated"]["matches"]:
        assert match["wins"] + match["draws"] + match["losses"] == match["games"]
        assert match["score"] == pytest.approx((match["wins"] + match["draws"] / 2) / match["games"])
    assert (folder / shipped.TEXT).read_text(encoding="utf-8") == ship.text(card)
    assert card["trained"]["command"] in ship.text(card)


@pytest.mark.parametrize("name", shipped.names())
def test_what_is_shipped_plays_legal_moves(name: str, seed: int) -> None:
    agent = muzero_wm.load(f"shipped:{name}")
    env = envs.make(agent.spec.name, 4, seed, random_openings=1.0, max_random_plies=4)
    assert env.spec.to_json() == agent.spec.to_json()
    step = env.reset()
    for _ in range(4):
        step = env.step(agent.search(step.observation, step.legal_actions, 4).action)


@pytest.mark.parametrize("simulations", [None, 25])
def test_tic_tac_toe_is_never_lost(simulations: int | None) -> None:
    agent = muzero_wm.load("shipped:tictactoe")
    assert play_every_reply("tictactoe", AgentPlayer(agent, simulations, 0).choose)["losses"] == 0


def test_a_folder_wins_and_both_can_be_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shipped.named("tictactoe") == shipped.named("shipped:tictactoe") == "tictactoe"
    assert shipped.named("./tictactoe") is None and shipped.named("shipped:nobody") is None
    shipped_updates = muzero_wm.load("tictactoe").updates
    (here / "tictactoe").mkdir()  # anything may be called so
    assert muzero_wm.load("tictactoe").updates == shipped_updates
    with pytest.raises(CheckpointError, match=r"model\.json is missing"):
        muzero_wm.load(Path("tictactoe"))
    assert "comes with muzero_wm" in shipped.which("tictactoe")
    (here / "tictactoe").rmdir()
    small_run(here / "tictactoe")
    assert [muzero_wm.load(word).updates for word in ("tictactoe", "./tictactoe", Path("tictactoe"))] == [3, 3, 3]
    assert muzero_wm.load("shipped:tictactoe").updates == shipped_updates
    assert "the folder of that name; shipped:tictactoe is" in shipped.which("tictactoe")
    capsys.readouterr()
    assert cli.main(["evaluate", "tictactoe", "--games", "2", "--opponent", "random", "--simulations", "1"]) == 0
    assert "the folder of that name" in capsys.readouterr().out
    pool = gather(["tictactoe:1", "shipped:tictactoe:1", "tictactoe@3:0"])
    assert [each.name for each in pool.entrants] == ["shipped:tictactoe:1", "tictactoe@3:0", "tictactoe@3:1"]
    assert [each.updates for each in pool.entrants] == [shipped_updates, 3, 3]


def test_an_arena_knows_them(here: Path) -> None:
    pool = gather(["tictactoe:4", "shipped:tictactoe:0", "random"])
    assert [each.name for each in pool.entrants] == ["random", "tictactoe:0", "tictactoe:4"]
    assert pool.spec.name == "tictactoe"


NO_RUN = "tictactoe: is a shipped agent and has no"
MISTAKES = [
    ("evaluate tictactoe --checkpoint 2000", f"{NO_RUN} checkpoint 2000; a run has, `muzero-wm train"),
    ("evaluate tictactoe --checkpoint best", f"{NO_RUN} checkpoint best"),
    ("evaluate tictactoe@2000", f"{NO_RUN} checkpoints"),
    ("evaluate tictactoe:64", "tictactoe:64: simulations are an option here: tictactoe --simulations 64"),
    ("evaluate tictactoo", "tictactoo: there is no such run, did you mean 'tictactoe'? (shipped agents: "),
    ("evaluate shipped:tictactoo", "shipped:tictactoo: there is no such run, did you mean 'shipped:tictactoe'?"),
    ("play othello8", "othello8: there is no such run"),
    ("play othello8", "(shipped agents: connect4, "),
    ("compare tictactoe", f"{NO_RUN} learning curve"),
    ("compare a=tictactoe", f"{NO_RUN} learning curve"),
    ("train --resume --run-dir tictactoe", f"resume: {NO_RUN} checkpoint to go on from"),
    ("train --resume tictactoe", f"resume: {NO_RUN} checkpoint to go on from"),
    ("arena tictactoe@2000 random", f"{NO_RUN} checkpoints"),
    ("arena tictactoe@all random", f"{NO_RUN} checkpoints"),
    ("arena tictactoe random --env connect4", "env 'connect4': tictactoe plays tictactoe"),
    ("arena tictactoe connect4", "all players must play the same environment: tictactoe plays tictactoe, connect4"),
    ("arena conect4 random", "unknown player 'conect4'"),
    ("arena conect4 random", "did you mean 'connect4'?"),
]


@pytest.mark.parametrize(("call", "expected"), MISTAKES)
def test_what_only_runs_have_is_told(call: str, expected: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(shlex.split(call)) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and expected in error
    assert str(ROOT) not in error
    assert not list(here.iterdir())


def test_the_preset_is_still_a_preset(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["acting.num_envs=4", "replay.min_steps=16", "learning.batch_size=8", "inference.backend=eager"]
    small += ["search.num_simulations=2", "acting.process=false", "model.width=8"]
    assert cli.main(["train", "tictactoe", "--max-updates", "1", "--set", *small]) == 0
    assert (here / "runs/tictactoe-1/config.yaml").exists()
    assert "comes with" not in capsys.readouterr().out


def test_they_are_listed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["agents", "--json", "agents.json"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in shipped.names()) and "0 losses in" in out
    assert json.loads((here / "agents.json").read_text()) == [shipped.card(name) for name in shipped.names()]


def test_gtp_keeps_its_protocol(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "muzero_wm", "gtp", "tictactoe"],
        input="boardsize 3\ngenmove b\nquit\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert done.stdout.startswith("=") and "comes with" not in done.stdout
    assert "comes with" in done.stderr


def test_half_precision_comes_back_as_single(tmp_path: Path) -> None:
    weights = {"a": torch.tensor([0.1, 1.0, -3.0]), "count": torch.tensor([7]), "far": torch.tensor([float("inf")])}
    write_agent(tmp_path, weights, {}, half=True)
    assert {str(array.dtype) for array in load_file(tmp_path / WEIGHTS).values()} == {"float16", "int64"}
    found, _ = read_agent(tmp_path)
    assert found["a"].dtype == torch.float32 and torch.equal(found["a"], weights["a"].half().float())
    assert torch.equal(found["count"], weights["count"]) and found["far"].isinf().all()


def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="large: half precision holds numbers up to 65504, got 70000"):
        write_agent(tmp_path, {"large": torch.tensor([7e4])}, {}, half=True)
    assert not list(tmp_path.iterdir())


def test_the_command_on_a_card_makes_the_same_configuration(ship: ModuleType) -> None:
    config = load_config(
        "tictactoe", seed=5, max_updates=7, overrides=["model.width=48", "acting.random_openings=0.25"]
    )
    command = ship.command_of(config)
    assert command == (
        "muzero-wm train tictactoe --seed 5 --max-updates 7 --set model.width=48 acting.random_openings=0.25"
    )
    derived = load_config(env="openspiel:hex(board_size=3)", max_minutes=2)
    assert ship.command_of(derived) == "muzero-wm train 'openspiel:hex(board_size=3)' --seed 0 --max-minutes 2"


def test_a_run_is_put_into_the_package(
    tmp_path: Path, ship: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, run = tmp_path / "agents", tmp_path / "run"
    shutil.copytree(shipped.folder("tictactoe"), home / "mine")  # one to be replaced
    monkeypatch.setattr(shipped, "_home", lambda: home)
    small_run(run)
    words = [str(run), "mine", "--trained-on", "paper", "--games", "2", "--positions", "5", "--opponents", "random"]
    monkeypatch.setattr(sys, "argv", ["ship.py", *words])
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    ship.main()
    card = shipped.card("mine")
    assert muzero_wm.load("shipped:mine").updates == card["trained"]["updates"] == 3
    assert card["trained"]["machine"] == "paper" and card["evaluated"]["matches"][0]["games"] == 2
    assert card["evaluated"]["exhaustive"]["games"] > 100 and card["evaluated"]["solved"]["positions"] == 5
    monkeypatch.setattr(sys, "argv", ["ship.py", str(run), "Random!", "--trained-on", "paper"])
    with pytest.raises(SystemExit):
        ship.main()
    assert "expected small letters and digits" in capsys.readouterr().err
