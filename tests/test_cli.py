"""The command line: what each command does, and one clear line and exit code 2 for each mistake."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import muzero_wm
from muzero_wm.cli import arguments as cli_arguments
from muzero_wm.cli import main as cli
from muzero_wm.cli.reports import print_evaluation, progress_bar
from muzero_wm.config.presets import load_config
from muzero_wm.envs.registry import KINDS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def debug_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert cli.main(["train", "debug", "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one thing of each kind that can be in the way."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("mine")
    (tmp_path / "bad.yaml").write_text("env: tictactoe\nmodle: {width: 8}\n")
    (tmp_path / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    (tmp_path / "empty.yaml").write_text("")
    full = tmp_path / "runs" / "full"
    full.mkdir(parents=True)
    (full / "config.yaml").write_text("env: tictactoe\n")
    broken = tmp_path / "runs" / "broken"
    (broken / "checkpoints").mkdir(parents=True)
    (broken / "config.yaml").write_text("env: tictactoe\n")
    (broken / "checkpoints" / "step_000000001.json").write_bytes(b"not a checkpoint")
    return tmp_path


BAD_CALLS = [
    ("--verbos", "unknown option --verbos"),
    ("trian", "unknown command 'trian', did you mean 'train'?"),
    ("evaluat runs/full", "unknown command 'evaluat', did you mean 'evaluate'?"),
    ("envs --verbos", "unknown option --verbos"),
    ("train", "name a preset"),
    ("train quickstrt", "unknown preset 'quickstrt', did you mean 'quickstart'?"),
    ("train missing.yaml", "missing.yaml: no such file"),
    ("train runs", "unknown preset 'runs'"),
    ("train bad.yaml", "bad.yaml: modle: unknown key, did you mean 'model'?"),
    ("train twice.yaml", "twice.yaml:2: not plain YAML: the key 'seed' is given twice"),
    ("train empty.yaml", "empty.yaml: expected a mapping of settings, got nothing"),
    ("train file.txt", "unknown preset 'file.txt'"),
    ("train --env tictactoo", "unknown environment 'tictactoo'"),
    ("train --env gym:NoSuchThing-v0", "gym:NoSuchThing-v0"),
    ("train debug --env nowhere", "unknown environment 'nowhere'"),
    ("train debug --sed 3", "unknown option --sed, did you mean '--seed'?"),
    ("train debug --seed x", "argument --seed: expected an integer >= 0, got 'x'"),
    ("train debug --seed -1", "argument --seed: expected an integer >= 0, got '-1'"),
    ("train debug --seed 1.5", "argument --seed: expected an integer >= 0, got '1.5'"),
    ("train debug --max-updates 0", "argument --max-updates: expected an integer >= 1, got '0'"),
    ("train debug --max-minutes soon", "argument --max-minutes: invalid float value: 'soon'"),
    ("train debug --max-minutes 0", "learning.max_minutes: expected greater than 0, got 0.0"),
    ("train debug --max-minutes nan", "learning.max_minutes: expected a finite number, got nan"),
    ("train debug --set", "argument --set: expected at least one argument"),
    ("train debug --set model.width", "--set model.width: expected path=value"),
    ("train debug --set search.simulations=5", "search.simulations: unknown key, did you mean 'num_simulations'?"),
    (
        "train debug --set search.num_simulations=0",
        "search.num_simulations: expected greater than or equal to 1, got 0",
    ),
    ("train debug --run-dir runs/full", "runs/full: is not empty; go on with its run by --resume"),
    ("train debug --run-dir file.txt", "file.txt: expected a run folder, got a file"),
    ("train debug --resume", "name the run to go on with"),
    ("train --resume --run-dir runs/none", "runs/none: there is no run to resume"),
    ("train --resume --run-dir runs/full", "runs/full: has no checkpoint to resume from"),
    ("train --resume --run-dir runs/broken", "step_000000001.json: is damaged"),
    ("train debug extra", "unrecognized arguments: extra"),
    ("evaluate", "the following arguments are required: RUN"),
    ("evaluate runs/ful", "runs/ful: there is no such run, did you mean 'runs/full'?"),
    ("evaluate runs", "runs: has no config.yaml and no model.json, so it is neither run nor agent"),
    ("evaluate file.txt", "file.txt: is a file, expected the folder of a run or of an agent"),
    ("evaluate runs/full --json /proc/x.json", "--json /proc/x.json: the folder /proc cannot be written to"),
    ("evaluate runs/full", "runs/full: not a run folder, checkpoints/ is missing"),
    ("evaluate runs/broken", "step_000000001.json: is damaged"),
    ("evaluate runs/full --games 0", "argument --games: expected an integer >= 1, got '0'"),
    ("evaluate runs/full --games many", "argument --games: expected an integer >= 1, got 'many'"),
    ("evaluate runs/full --simulations 0", "argument --simulations: expected an integer >= 1, got '0'"),
    ("evaluate runs/full --seed -2", "argument --seed: expected an integer >= 0, got '-2'"),
    ("evaluate runs/full --oponent random", "unknown option --oponent, did you mean '--opponent'?"),
    ("evaluate runs/full --json nowhere/x.json", "--json nowhere/x.json: the folder nowhere is not there"),
    ("evaluate runs/full --json runs", "--json runs: expected a file, got a folder"),
    ("compare", "the following arguments are required: RUN"),
    ("compare runs/none", "runs/none: there is no such run"),
    ("compare runs/full runs/full", "runs/full: comes twice, and every run counts once"),
    ("compare wide=runs/full, --episodes 1", "'wide=runs/full,': expected RUN or NAME=RUN,RUN"),
    ("compare runs/full --plot curves.gif", "--plot curves.gif: expected a file that ends with .png, .svg or .pdf"),
    ("compare runs/full --episodes 1", "runs/full: not a run folder, checkpoints/ is missing"),
    ("play", "the following arguments are required: RUN"),
    ("play runs/none", "runs/none: there is no such run"),
    ("play runs/full --seat third", "argument --seat: invalid choice: 'third'"),
    ("play runs/full --simulations -3", "argument --simulations: expected an integer >= 1, got '-3'"),
    ("envs extra", "argument KIND: invalid choice: 'extra' (choose from 'ale')"),
    ("doctor extra", "unrecognized arguments: extra"),
    ("envs --json nowhere/x.json", "--json nowhere/x.json: the folder nowhere is not there"),
    ("check-env", "the following arguments are required: ENV"),
    ("check-env tictactoo", "unknown environment 'tictactoo'"),
    ("check-env gym:Pendulum-v1", "gym:Pendulum-v1: "),
    ("check-env tictactoe --steps 0", "argument --steps: expected an integer >= 1, got '0'"),
    ("check-env tictactoe --json nowhere/x.json", "--json nowhere/x.json: the folder nowhere is not there"),
]


@pytest.mark.parametrize(("call", "expected"), BAD_CALLS)
def test_each_mistake_is_one_line_and_exit_code_2(
    call: str, expected: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(in_tmp.rglob("*"))
    assert cli.main(shlex.split(call)) == 2
    out, err = capsys.readouterr()
    assert out == "" or (call.startswith("train") and all(line.endswith(" ...") for line in out.splitlines()))
    assert expected in err
    assert err.startswith("muzero-wm")
    assert len(err.splitlines()) == 1
    assert sorted(in_tmp.rglob("*")) == before
    assert (in_tmp / "file.txt").read_text() == "mine"


BAD_OPPONENTS = [
    ("perfct", "unknown opponent 'perfct'"),
    ("mcts:0", "mcts:N"),
    ("mcts:many", "mcts:N"),
    ("mcts:", "mcts:N"),
]


@pytest.mark.parametrize(("opponent", "expected"), BAD_OPPONENTS)
def test_an_unknown_opponent(opponent: str, expected: str, debug_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(debug_run), "--opponent", opponent, "--games", "1"]) == 2
    err = capsys.readouterr().err
    assert expected in err
    assert len(err.splitlines()) == 1


def test_several_mistakes_are_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(shlex.split("train debug --set a=1 --set model.width=0 --set search.algorithm=x")) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


@pytest.mark.parametrize("call", ["trian", "train nothing", "evaluate nowhere", "train debug --set model.width=x"])
def test_a_mistake_in_a_process_of_its_own(call: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "muzero_wm", *shlex.split(call)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["", "train", "evaluate", "compare", "play", "agents", "envs", "check-env"])
def test_help_names_an_example_that_parses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*shlex.split(command), "--help"]) == 0
    examples = re.findall(r"^  (muzero-wm .*)$", capsys.readouterr().out, re.MULTILINE)
    assert examples
    for example in examples:
        cli_arguments.build_parser(cli.COMMANDS).parse_args(shlex.split(example)[1:])


def test_help_does_not_import_what_is_slow() -> None:
    code = (
        "import sys; from muzero_wm.cli.main import main; main(['train', '--help']);"
        "print([name for name in ('torch', 'numba', 'rich', 'pydantic', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("call", "word"), [("", "check-env"), ("bench", "inference")])
def test_nothing_to_do_shows_what_there_is(call: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(shlex.split(call)) == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: muzero-wm") and word in out and err == ""


def test_train_says_what_it_does_before_it_imports_what_is_slow(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "muzero_wm", "train", "debug", "--set", "model.width=0"]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, check=False, env=os.environ
    )
    lines = done.stdout.splitlines()
    imported = [line.rpartition("|")[2].strip() for line in lines]
    said = lines.index("Reading the settings ...")
    assert all(imported.index(slow) > said for slow in ("pydantic", "numpy", "numba"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"muzero-wm {muzero_wm.__version__}\n"


def test_train_leaves_a_run_folder(debug_run: Path) -> None:
    assert load_config(debug_run / "config.yaml") == load_config("debug")
    rows = [json.loads(line) for line in (debug_run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["updates"] == 20
    assert rows[-1]["fraction"] == 1.0
    assert (debug_run / "checkpoints" / "step_000000020.json").is_file()


def test_resume_goes_on_with_a_larger_budget(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert cli.main(["train", "debug", "--run-dir", str(folder), "--max-updates", "4"]) == 0
    assert cli.main(["train", "--resume", "--run-dir", str(folder), "--max-updates", "8"]) == 0
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["updates"] == 8


def test_evaluate_reports_what_it_promises(debug_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.json"
    call = ["evaluate", str(debug_run), "--opponent", "random", "--games", "6", "--simulations", "2", "--seed", "3"]
    assert cli.main([*call, "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    expected = {"env": "tictactoe", "opponent": "random", "games": 6, "seed": 3, "simulations": 2}
    assert {key: report[key] for key in expected} == expected
    assert report["wins"] + report["draws"] + report["losses"] == 6
    assert report["score"] == pytest.approx((report["wins"] + report["draws"] / 2) / 6)
    assert report["ci95"][0] <= report["score"] <= report["ci95"][1]
    assert set(report["seats"]) == {"first", "second"}
    assert report["exhaustive"]["games"] > 0
    assert list(tmp_path.iterdir()) == [file]
    out = capsys.readouterr().out
    assert "against random" in out
    assert f"{report['exhaustive']['losses']} losses" in out


def test_a_damaged_checkpoint_is_passed_over_with_a_line(
    debug_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert cli.main(["train", "debug", "--run-dir", str(folder), "--max-updates", "2"]) == 0
    assert cli.main(["train", "--resume", "--run-dir", str(folder), "--max-updates", "4"]) == 0
    (folder / "checkpoints" / "step_000000004.json").write_bytes(b"damaged")
    capsys.readouterr()
    assert cli.main(["evaluate", str(folder), "--games", "1", "--simulations", "1", "--opponent", "random"]) == 0
    err = capsys.readouterr().err
    assert err.startswith("muzero-wm: warning: ")
    assert "step_000000004.json: is damaged" in err
    assert len(err.splitlines()) == 1


def test_envs_lists_every_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "envs.json"
    assert cli.main(["envs", "--json", str(file)]) == 0
    rows = {row["env"]: row for row in json.loads(file.read_text())}
    assert rows["connect4"]["observation"] == [3, 6, 7]
    assert rows["tictactoe"]["actions"] == 9
    out = capsys.readouterr().out
    assert all(name in out for name in [*muzero_wm.envs.names(), *KINDS])


def test_no_table_breaks_a_word_at_80_columns(
    debug_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["envs"]) == 0
    assert cli.main(["evaluate", str(debug_run), "--games", "2", "--opponent", "random"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for whole in (
        '"openspiel:hex(board_size=5)"', "pettingzoo:classic/connect_four_v3", "docs/custom-environment.md",
        "tictactoe, 2 games, 4 simulations, seed 0", "raw policy, second", "95 % interval",
    ):  # fmt: skip
        assert whole in out


@pytest.mark.parametrize(
    ("facts", "sentences"),
    [
        ({"distinct_games": 100, "opening_plies": 0, "cut": 0}, []),
        (
            {"distinct_games": 35},
            ["35 of the 100 searched games are distinct; the interval is that of so many."],
        ),
        ({"opening_plies": 2}, ["Each pair of games begins with the same 2 random moves."]),
        ({"cut": 7}, ["7 of the 100 searched games were cut before their end."]),
        (
            {"forfeits": [{"by": "opponent", "game": 7, "ply": 3, "reason": "[it] crashed\x1b"}]},
            ["1 of the 100 searched games were given up by the opponent: [it] crashed?."],
        ),
    ],
)
def test_what_must_be_known_of_an_evaluation_is_printed(
    facts: dict[str, Any], sentences: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    match = {"games": 100, "wins": 10, "draws": 0, "losses": 90, "score": 0.1, "ci95": [0.05, 0.2], **facts}
    print_evaluation({"env": "connect4", "simulations": 4, "seed": 0, "opponent": "random", **match})
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.endswith(".")] == sentences


def test_an_evaluation_moves_while_no_game_has_ended() -> None:
    screen = io.StringIO()
    with progress_bar("games", "moves", Console(file=screen, force_terminal=True, width=100)) as progress:
        for _ in range(7):
            progress(0, 200)
    shown = screen.getvalue()
    assert "0/200" in shown and "games, 7 moves" in shown


def test_an_agent_says_what_it_is(debug_run: Path) -> None:
    shown = repr(muzero_wm.load(debug_run))
    assert shown.startswith("<Agent of tictactoe: mlp with ")
    assert "20 updates; gumbel, " in shown and "\n" not in shown


def test_ctrl_c_is_130_and_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "envs", cli.COMMANDS["envs"]._replace(run=interrupted))
    assert cli.main(["envs"]) == 130
    assert capsys.readouterr().err == "muzero-wm: interrupted\n"
