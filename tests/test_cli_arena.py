"""`muzero-wm arena`: what it prints, writes and draws, and each mistake in one line."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from muzero_wm.basis.registry import OPPONENTS
from muzero_wm.cli import arguments as cli_arguments
from muzero_wm.cli import main as cli
from muzero_wm.cli.arena import games_file
from muzero_wm.cli.standings import print_arena
from muzero_wm.envs import BatchedEnv, Step
from muzero_wm.evaluation import register_opponent
from muzero_wm.evaluation.ratings.arena import arena
from muzero_wm.evaluation.ratings.picture import save_ratings
from muzero_wm.evaluation.ratings.result import ArenaResult, Met, Rated
from tests.evaluation.ratings.runs import make_run


@pytest.fixture
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "runs" / "a")
    make_run(tmp_path / "runs" / "four", env="connect4", steps=(1,))
    (tmp_path / "file.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_place")
def test_it_prints_writes_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = shlex.split("arena runs/a@all random mcts:5 --games 4 --json out.json --plot curve.svg")
    assert cli.main(call) == 0
    out = capsys.readouterr().out
    for word in ("tictactoe, 40 games", "runs/a@9:4", "mcts:5", "rating", "random at 0", "moves in"):
        assert word in out
    report = json.loads((tmp_path / "out.json").read_text())
    assert (report["games"], report["anchor"], len(report["met"])) == (40, "random", 10)
    assert {each["updates"] for each in report["players"]} == {0, 5, 9, None}
    assert len(games_file(tmp_path / "out.json").read_text().splitlines()) == 10
    text = (tmp_path / "curve.svg").read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "curve.svg", "file.txt", "out.json", "out.json.games.jsonl", "runs",
    ]  # fmt: skip
    # once more: nothing is played, and the numbers are the same
    assert cli.main([*call[:-1], "curve.png"]) == 0
    assert json.loads((tmp_path / "out.json").read_text()) == report
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "found in the file of finished games" in " ".join(capsys.readouterr().out.split())


BAD_CALLS = [
    ("arena", "the following arguments are required: PLAYER"),
    ("arena runs/a", "an arena needs at least two players, got runs/a@9:4"),
    ("arena runs/a rnadom", "unknown player 'rnadom': expected a run folder"),
    ("arena runs/a runs/four", "all players must play the same environment: runs/a plays tictactoe, runs/four plays"),
    ("arena random mcts:5", "which environment do they play? Name it by --env, or a run among the players"),
    ("arena random mcts:5 --env tictactoo", "unknown environment 'tictactoo'"),
    ("arena random mcts:5 --env gym:CartPole-v1", "needs an environment of two players"),
    ("arena runs/a@7 random", "runs/a@7: there is no checkpoint of 7 updates (there are: 0, 5, 9)"),
    ("arena runs/a file.txt", "unknown player 'file.txt'"),
    ("arena runs/a random --games 3", "games must be an even number"),
    ("arena runs/a random --games 1", "argument --games: expected an integer >= 2, got '1'"),
    ("arena runs/a random --anchor mcts:5", "anchor 'mcts:5': expected one of the players: random, runs/a@9:4"),
    ("arena runs/a random --sprt 5 0", "sprt must be two numbers of points, the smaller one first, got 5 and 0"),
    ("arena runs/a random --sprt 5", "argument --sprt: expected 2 arguments"),
    ("arena runs/a random mcts:5 --sprt 0 5", "sprt tests two players, got 3"),
    ("arena runs/a random --until-interval -3", "until_interval must be a number of points above 0, got -3"),
    ("arena runs/a random --opening-plies 9", "opening_plies must leave moves to play: a game ends after 9, got 9"),
    ("arena runs/a random --until 3", "unknown option --until"),
    ("arena runs/a random --json nowhere/x.json", "--json nowhere/x.json: the folder nowhere is not there"),
    ("arena runs/a random --json /proc/x.json", "--json /proc/x.json: the folder /proc cannot be written to"),
    ("arena runs/a random --plot x.bmp", "--plot x.bmp: expected a file that ends with .png, .svg or .pdf"),
    ("arena runs/a random --plot nowhere/x.png", "--plot nowhere/x.png: expected a file in a folder that is there"),
]


@pytest.mark.usefixtures("_place")
@pytest.mark.parametrize(("call", "expected"), BAD_CALLS)
def test_each_mistake_is_one_line_and_exit_code_2(
    call: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(shlex.split(call)) == 2
    out, err = capsys.readouterr()
    assert expected in err and len(err.splitlines()) == 1 and not out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plot_without_matplotlib_is_told_before_anything_is_played(tmp_path: Path) -> None:
    code = "import sys; sys.modules['matplotlib'] = None; from muzero_wm.cli.main import main; sys.exit(main())"
    words = ["arena", "random", "mcts:5", "--env", "tictactoe", "--plot", str(tmp_path / "x.png")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "a picture needs matplotlib: pip install 'muzero-wm[plots]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_signal_ends_it_and_finished_games_are_kept(tmp_path: Path) -> None:
    words = ["arena", "random", "mcts:2", "mcts:200000", "mcts:200001", "--env", "connect4", "--games", "2"]
    keep = games_file(tmp_path / "out.json")
    with subprocess.Popen(
        [sys.executable, "-m", "muzero_wm", *words, "--json", "out.json"], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 300
        while not (keep.exists() and keep.read_text()) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 130 and err == "muzero-wm: interrupted\n"
    assert "Stopped: out.json.games.jsonl keeps the games that were finished" in re.sub(r"\s+", " ", out)
    assert all(json.loads(line) for line in keep.read_text().splitlines())


def test_without_a_file_an_interrupted_arena_says_that_nothing_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupts:
        def actions(self, env: BatchedEnv, step: Step, rows: NDArray[np.int64]) -> NDArray[np.int64]:
            raise KeyboardInterrupt

    register_opponent("interrupts", lambda argument, spec, seed: Interrupts())
    try:
        assert cli.main(["arena", "interrupts", "random", "--env", "tictactoe", "--games", "2"]) == 130
    finally:
        OPPONENTS._own.clear()
    out, err = capsys.readouterr()
    assert "Stopped: nothing is kept; with --json FILE finished games are" in re.sub(r"\s+", " ", out)
    assert err == "muzero-wm: interrupted\n"


def test_help_names_every_kind_of_player_and_an_example_that_parses(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["arena", "--help"]) == 0
    out = capsys.readouterr().out
    for word in ("RUN@2000", "RUN@best", "RUN@all", "RUN:0", "mcts:N", "gtp:COMMAND"):
        assert word in out
    [example] = re.findall(r"^  (muzero-wm .*)$", out, re.MULTILINE)
    cli_arguments.build_parser(cli.COMMANDS).parse_args(shlex.split(example)[1:])


def _printed(result: ArenaResult, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_arena(result, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_tables_fit_into_80_columns() -> None:
    players = [f"runs/a-long-name-{i}@{1000 * i}:64" for i in range(11)]
    rated = tuple(Rated(each, -1234.5, -2345.6, 1234.5, 1000, 0.5, 0.995, "runs", 1) for each in players)
    met = tuple(
        Met(one, other, 10, 0, 0, 5.0, (0, 0, 0, 0, 5), 5, 99, 0, ()) for one, other in itertools.pairwise(players)
    )
    out = _printed(ArenaResult("connect4", 0, 3, players[0], rated, met))
    assert max(map(len, out.splitlines())) <= 80
    assert "-2346 to 1234" in out and "100" in out
    narrow = _printed(ArenaResult("connect4", 0, 3, players[0], rated, met), 60)
    assert max(map(len, narrow.splitlines())) <= 60
    assert "-2346 to 1234" in narrow and "50.0%" in narrow and "…" not in narrow and "ahead of next" not in narrow
    more = ArenaResult("connect4", 0, 3, players[0], rated * 2, met)
    assert "22 columns do not fit here" in " ".join(_printed(more).split())


def test_what_must_be_known_is_said(seed: int) -> None:
    forfeit = {"by": "b", "opening": 0, "ply": 3, "reason": "it\x1b[31m crashed"}
    rated = (
        Rated("a", 300.0, 200.0, 500.0, 20, 1.0, 1.0, None, None),
        Rated("b", 0.0, 0.0, 0.0, 20, 0.0, None, None, None),
    )
    met = Met("a", "b", 20, 0, 0, 10.0, (0, 0, 0, 0, 10), 4, 99, 3, (forfeit,))
    out = " ".join(_printed(ArenaResult("connect4", 0, 0, "b", rated, (met,), 250.0)).split())
    assert "a won every game: the upper end of its interval is what was assumed beforehand" in out
    assert "b lost every game" in out and "6 of 10 pairs of games repeat others move by move" in out
    assert "3 games reached the limit of moves" in out and "b gave up 1 games, the first one: it?[31m crashed" in out
    assert "intervals of 250 points: not reached, --games allows no more (the widest: 300)" in out
    tested = arena(["perfect", "random"], env="tictactoe", seed=seed, sprt=(0.0, 100.0))
    assert "perfect is stronger by 100 points rather than 0 (log-likelihood ratio" in " ".join(_printed(tested).split())
    tested = arena(["random", "perfect"], env="tictactoe", seed=seed, sprt=(-50.0, 0.0))
    assert "random is stronger by -50 points rather than 0 (log-likelihood ratio" in " ".join(_printed(tested).split())
    tested = arena(["perfect", "random"], env="tictactoe", seed=seed, games=2, sprt=(0.0, 100.0))
    assert "Whether perfect is stronger by 0 or by 100 points is undecided" in " ".join(_printed(tested).split())


def test_the_interval_of_a_single_checkpoint_is_drawn(tmp_path: Path) -> None:
    def drawn(*updates: int) -> str:
        rated = tuple(Rated(f"a@{each}:4", 100.0 + each, 0.0, 300.0, 10, 0.5, None, "a", each) for each in updates)
        save_ratings(tmp_path / "x.svg", ArenaResult("connect4", 0, 3, "random", rated, ()))
        return (tmp_path / "x.svg").read_text()

    assert "LineCollection" in drawn(5) and "LineCollection" not in drawn(5, 9)
