"""Our agents as engines: what GTP 2 says of lines and answers, every command, scores, and whole games."""

from __future__ import annotations

import io
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import muzero_wm
from muzero_wm.basis.errors import UserError
from muzero_wm.config.presets import load_config
from muzero_wm.evaluation.engines.gtp import GtpEngine
from muzero_wm.evaluation.engines.notation import notation_of
from muzero_wm.evaluation.engines.position import area, first_position
from muzero_wm.evaluation.engines.server import GtpServer
from muzero_wm.training import train
from tests import forked
from tests.evaluation.engines.helpers import GO, NO_GNUGO, has_gnugo
from tests.evaluation.stubs import StubAgent
from tests.processes import gone

pyspiel = pytest.importorskip("pyspiel")


class LastLegal(StubAgent):
    """Plays the last legal action but a pass, as a search that looked at two moves would."""

    def search(self, observations: Any, legal_actions: Any, num_simulations: Any = None, **_: Any) -> SimpleNamespace:
        assert legal_actions.any()
        moves = np.flatnonzero(legal_actions[0])
        moves = moves[moves < 25] if (moves < 25).any() else moves
        visits, qvalues = np.zeros(self.spec.num_actions, int), np.zeros(self.spec.num_actions)
        visits[moves[-2:]], qvalues[moves[-1]] = [2, 3][-len(moves[-2:]) :], 0.5
        return SimpleNamespace(action=np.array([moves[-1]]), visit_counts=visits[None], qvalues=qvalues[None])


def server(env: str = GO) -> GtpServer:
    return GtpServer(LastLegal(env))


def said(gtp: GtpServer, *lines: str) -> list[str]:
    """Returns the answers without the empty line behind each, which must be there."""
    answers = [answer for line in lines if (answer := gtp.answer(line)) is not None]
    assert all(answer.endswith("\n\n") and "\n\n" not in answer[:-2] for answer in answers)
    return [answer[:-2] for answer in answers]


def test_lines_are_read_as_the_protocol_says() -> None:
    gtp = server()
    assert said(gtp, "protocol_version") == ["= 2"]
    assert said(gtp, "7 name") == ["=7 muzero_wm"]
    assert said(gtp, "0012 version") == [f"=0012 {muzero_wm.__version__}"]
    assert said(gtp, "", "   ", "\t", "# a remark", "\r\n", "\x07\x00") == []  # no commands
    assert said(gtp, "3\tkomi\t5.5 # ours", "4 k\x00omi 6.5\r\n") == ["=3", "=4"]
    assert said(gtp, "5") == ["?5 syntax error"]
    assert said(gtp, "6 nothing", "Name") == ["?6 unknown command", "? unknown command"]
    assert said(gtp, "known_command play", "known_command ply", "known_command") == ["= true", "= false", "= false"]
    assert (
        said(gtp, "play b", "play b a1 a2", "play red a1", "genmove", "undo 1", "komi", "komi nan", "komi x")
        == ["? syntax error"] * 8
    )


def test_every_command_that_is_listed_is_known_and_answers() -> None:
    gtp = server()
    listed = said(gtp, "list_commands")[0].removeprefix("= ").split("\n")
    required = "protocol_version name version known_command list_commands quit boardsize clear_board komi play genmove"
    assert set(required.split()) <= set(listed)
    assert {"reg_genmove", "undo", "final_score", "showboard", "time_settings", "time_left"} <= set(listed)
    for command in listed:
        assert said(gtp, f"known_command {command}") == ["= true"]
        assert said(gtp, command)[0] != "? unknown command"


def test_boards_of_another_size_are_not_acceptable() -> None:
    assert said(server(), "boardsize 5", "boardsize 9", "boardsize five", "boardsize", "boardsize 5 5") == [
        "=",
        "? unacceptable size",
        "? syntax error",
        "? syntax error",
        "=",
    ]
    assert said(server("connect4"), "boardsize 7", "boardsize 6", "boardsize 7 6") == ["=", "? unacceptable size", "="]


def test_moves_are_played_taken_back_and_refused() -> None:
    gtp = server()
    assert said(gtp, "play black C3", "play W c3", "play w z9", "play w I1", "play w d3", "undo", "undo", "undo") == [
        "=",
        *["? illegal move"] * 3,
        "=",
        "=",
        "=",
        "? cannot undo",
    ]
    # the same colour twice is a pass of the other, as in Go it is legal
    assert said(gtp, "play b a1", "play b a2", "undo", "undo", "play w a2") == ["="] * 5
    assert said(gtp, "clear_board", "genmove b", "reg_genmove w", "reg_genmove w", "genmove w") == [
        "=",
        "= E5",
        "= D5",
        "= D5",
        "= D5",
    ]
    assert said(gtp, "clear_board", "play b pass", "play w PASS", "play b a1", "genmove b") == [
        "=",
        "=",
        "=",
        "? illegal move",
        "? the game is over",
    ]
    assert said(gtp, "undo", "play w a1", "time_settings 60 5 1", "time_left b 3 0") == ["="] * 4


def test_a_move_is_taken_back_with_the_pass_that_made_it_its_turn() -> None:
    """One `undo` for each command that has played, as the protocol has it; and then it is the turn of whose it was."""
    gtp = server()
    assert said(gtp, "play b c3", "play b d3", "undo", "genmove w", "undo", "undo", "undo") == [
        *["="] * 3,
        "= E5",
        *["="] * 2,
        "? cannot undo",
    ]
    assert said(gtp, "genmove b", "genmove b", "undo", "undo", "undo") == ["= E5", "= D5", "=", "=", "? cannot undo"]
    assert said(gtp, "lz-genmove_analyze w", "undo", "undo")[1:] == ["=", "? cannot undo"]
    # a pass that was not needed in the end, and one that was asked for, are no part of the moves behind them
    said(gtp, "play b a1", "play b a1", "reg_genmove b", "play w pass", "play b c3")
    assert said(gtp, "undo", "undo", "play w a2", "undo", "undo", "undo") == [*["="] * 5, "? cannot undo"]
    said(gtp, "play b a1", "play b b1", "clear_board", "play b a1", "play w a2", "play b a3")
    assert said(gtp, "undo", "undo", "undo", "undo") == ["=", "=", "=", "? cannot undo"]


def test_where_nobody_may_pass_the_turn_is_kept() -> None:
    gtp = server("connect4")
    assert said(gtp, "play b d", "play b d2", "genmove b", "play w d3", "play w D2", "genmove b") == [
        "=",
        "? illegal move",
        "? illegal move",
        "? illegal move",
        "=",
        "= G1",
    ]


def test_a_refused_move_leaves_no_pass_behind() -> None:
    gtp = server()
    said(gtp, "play b a1")
    assert said(gtp, "play b a1") == ["? illegal move"]
    assert said(gtp, "play w b1", "undo", "undo", "undo") == ["=", "=", "=", "? cannot undo"]


def test_a_turn_that_only_a_last_pass_would_give_is_refused() -> None:
    gtp = server()
    said(gtp, "play b pass")
    assert said(gtp, "play b a1", "genmove b", "lz-genmove_analyze b", "reg_genmove b") == ["? illegal move"] * 4
    assert said(gtp, "play w a1", "undo", "undo", "undo") == ["=", "=", "=", "? cannot undo"]


def test_boards_are_shown_in_one_answer() -> None:
    shown = said(server(), "showboard")[0]
    assert shown.startswith("= \n") and shown.count("+++++") == 5
    gtp = server("connect4")
    assert said(gtp, "play b d", "play w d", "showboard")[2].split("\n")[-2:] == [". . . O . . .", ". . . X . . ."]


def test_what_the_search_thinks_is_told_in_words_that_programs_read() -> None:
    gtp = server()
    expected = "info move E5 visits 3 winrate 7500 prior 712 order 0 pv E5 info move D5 visits 2 winrate 5000 prior "
    assert said(gtp, "muzero_wm-search")[0].startswith(f"= {expected}")
    told = said(gtp, "lz-genmove_analyze b 100")[0]
    assert told.startswith(f"= \n{expected}") and told.endswith("\nplay E5")
    assert said(gtp, "play w E5") == ["? illegal move"]  # it was played


@pytest.mark.parametrize("komi", [-6.5, 0.5, 7.5])
def test_areas_are_counted_as_openspiel_counts_them(komi: float, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(8):
        position = first_position(f"openspiel:go(board_size=4, komi={komi})")
        while not position.over:
            position.play(rng.choice(np.flatnonzero(position.legal).tolist()))
        if position.result:  # 0 is a superko, or even
            assert np.sign(area(position.stones) - komi) == position.result


def test_known_scores() -> None:
    gtp = server()
    assert said(gtp, "komi 0.5", "final_score", "play b c3", "final_score") == ["=", "= W+0.5", "=", "= B+24.5"]
    assert said(gtp, "play w a1", "final_score", "komi 0", "undo", "undo", "final_score")[1] == "= W+0.5"
    othello = server("openspiel:othello")
    assert said(othello, "final_score", "play b d3", "final_score") == ["= 0", "=", "= B+3"]
    four = server("connect4")
    assert said(four, "final_score", *["play b a", "play w b"] * 3, "play b a", "final_score")[-1] == "= B+1"
    assert said(four, "genmove w") == ["? the game is over"]


def test_games_without_vertices_are_refused() -> None:
    for env, reason in (
        ("openspiel:nim", "no notation of its moves"),
        ("openspiel:chess", "GTP has no words"),
        ("gym:CartPole-v1", "is for one player"),
    ):
        with pytest.raises(UserError, match=reason):
            server(env)


def test_a_session_ends_with_quit_and_with_its_lines() -> None:
    sent: list[str] = []
    server().serve(io.StringIO("1 name\n2 quit\n3 name\n"), sent.append)
    assert sent == ["=1 muzero_wm\n\n", "=2\n\n"]
    server().serve(io.StringIO("1 name"), sent.append)
    assert sent[2:] == ["=1 muzero_wm\n\n"]


TINY = ["model.width=8", "model.head_width=8", "model.projection_width=8", "search.num_simulations=4"]
TINY += ["acting.num_envs=4", "acting.process=false", "replay.min_steps=40", "learning.batch_size=8"]
TINY += ["run.tensorboard=false", "inference.backend=eager"]


@pytest.fixture(scope="module")
def go_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent of Go that has learnt next to nothing."""
    folder = tmp_path_factory.mktemp("go") / "run"
    train(load_config(env=GO, overrides=TINY, max_updates=3), folder)
    return folder


def command(run: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "muzero_wm", "gtp", str(run), *more]


def test_the_command_answers_with_the_protocol_and_nothing_else(go_run: Path) -> None:
    lines = "1 name\n2 boardsize 5\n3 genmove b\n4 genmove w\n5 muzero_wm-search\n6 quit\n"
    done = forked.run(command(go_run, "--seed", "3"), input=lines, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    answers = done.stdout.split("\n\n")
    assert [answer[:2] for answer in answers] == ["=1", "=2", "=3", "=4", "=5", "=6", ""]
    assert "info move " in answers[4]
    again: list[str] = []
    GtpServer(muzero_wm.load(go_run), seed=3).serve(lines.splitlines(), again.append)
    assert done.stdout == "".join(again)


@pytest.mark.parametrize("how", ["interrupt", "nobody reads", "nobody asks"])
def test_the_command_ends_quietly(go_run: Path, how: str) -> None:
    pipe = subprocess.PIPE
    with forked.Popen(command(go_run), stdin=pipe, stdout=pipe, stderr=pipe, text=True) as gtp:
        assert gtp.stdin and gtp.stdout and gtp.stderr
        gtp.stdin.write("name\n")
        gtp.stdin.flush()
        assert gtp.stdout.readline() == "= muzero_wm\n"
        if how == "interrupt":
            gtp.send_signal(signal.SIGINT)
        elif how == "nobody asks":
            gtp.stdin.close()
        else:
            gtp.stdout.close()
            gtp.stdin.write("showboard\n" * 20)
            gtp.stdin.flush()
        assert gtp.wait(60) == (130 if how == "interrupt" else 0)
        told = gtp.stderr.read()
    assert "Traceback" not in told and "Exception" not in told
    assert told.strip() in ("", "muzero-wm: interrupted")


def test_a_full_disk_is_one_line(go_run: Path) -> None:
    with open("/dev/full", "w") as full:
        done = forked.run(command(go_run), input="name\n", stdout=full, stderr=subprocess.PIPE, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (2, "muzero-wm: error: No space left on device\n")


def referee(black: GtpEngine, white: GtpEngine, seed: int) -> tuple[list[int], float]:
    """Plays a game of Go between two engines by OpenSpiel's rules; returns its moves and what black has won."""
    state = pyspiel.load_game("go(board_size=5)").new_initial_state()
    while not state.is_terminal():
        legal = np.zeros(26, bool)
        legal[state.legal_actions()] = True
        action = (black, white)[state.current_player()].choose(state.history(), state.current_player(), seed, legal)
        assert action is not None
        state.apply_action(action)
    return state.history(), state.returns()[0]


@pytest.mark.skipif(not has_gnugo(), reason=NO_GNUGO)
@pytest.mark.parametrize("ours", [0, 1])
def test_gnugo_and_our_agent_play_a_whole_game(go_run: Path, ours: int) -> None:
    from muzero_wm.evaluation.engines import _command

    notation = notation_of(GO)
    agent = GtpEngine(command(go_run), notation, 300, 300)
    gnugo = GtpEngine(_command("gtp", "", "gnugo --level 1"), notation, 60, 60)
    pids = {agent.process.pid, gnugo.process.pid}
    try:
        moves, result = referee(*((agent, gnugo) if ours == 0 else (gnugo, agent)), seed=1)
        assert result == (-1 if ours == 0 else 1)  # who has learnt nothing loses
        winner = "B" if result > 0 else "W"
        assert agent.final_score(moves) == gnugo.final_score(moves).removesuffix(".0")
        assert agent.final_score(moves).startswith(winner)
    finally:
        for engine in (agent, gnugo):
            engine.process.close()
    assert gone(pids)
