"""Outside programs as players: whole games, every way to fail, and no process left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.cli.reports import print_evaluation
from muzero_wm.config.presets import ConfigError, load_config
from muzero_wm.evaluation import evaluate, opponent_from_name, play_match
from muzero_wm.evaluation.engines import engine_player
from muzero_wm.evaluation.engines.gtp import GtpEngine
from muzero_wm.evaluation.engines.notation import notation_of
from muzero_wm.evaluation.engines.player import EnginePlayer
from muzero_wm.evaluation.engines.process import EngineFailure, EngineProcess
from muzero_wm.evaluation.engines.record import moves_so_far
from muzero_wm.evaluation.opponents import RandomPlayer
from tests import forked
from tests.evaluation.engines.helpers import GO, NO_GNUGO, has_gnugo, toy, toy_uci
from tests.evaluation.stubs import FirstLegalAgent
from tests.processes import children, gone

pytest.importorskip("pyspiel")


def seated(env: str, word: str, seconds: float = 20.0, processes: int = 2) -> EnginePlayer:
    return engine_player(word, envs.spec(env), env, 0, seconds=seconds, processes=processes)


def running(player: EnginePlayer) -> set[int]:
    return {engine.process.pid for engine in player._engines if engine is not None}


@pytest.mark.parametrize(
    ("env", "game"),
    [
        (GO, "go(board_size=5)"),
        ("openspiel:othello", "othello"),
        ("openspiel:hex(board_size=4)", "hex(board_size=4)"),
        ("connect4", "connect_four"),
        ("openspiel:connect_four", "connect_four"),
    ],
)
def test_an_engine_with_rules_of_its_own_accepts_every_move_and_ours_accept_its(env: str, game: str, seed: int) -> None:
    player = seated(env, toy(game))
    result = play_match(env, player, RandomPlayer(seed), 6, seed, opening_plies=3)
    assert player.forfeits == []
    assert result.total.games == 6
    assert len(running(player)) == 2  # six games side by side, two processes
    player.close()


def test_the_same_seed_gives_the_same_games_however_many_processes() -> None:
    def digest(processes: int, seed: int) -> tuple[int, ...]:
        player = engine_player(toy("go(board_size=5)"), envs.spec(GO), GO, seed, processes=processes)
        found = play_match(GO, player, RandomPlayer(0), 5, 0)
        player.close()
        return (found.total.wins, found.total.losses, found.distinct)

    assert digest(1, 3) == digest(3, 3)


FAULTS = [
    ("crash", "ended with exit code 1; its last words: 'a bug in the engine'"),
    ("killed", "ended, killed by SIGKILL"),
    ("hang", "gave no answer in time (asked for 'genmove"),
    ("half", "without the end of its line"),
    ("half-and-gone", "ended in the middle of a line, "),
    ("garbage", "answered 'segmentation fault (core dumped)'"),
    ("other-id", "answered '=999 d4'"),
    ("flood", "wrote more than 4 MiB without an end"),
    ("flood-of-lines", ""),  # too much or too long, whichever comes first
    ("error", "answered '?' to 'genmove"),
    ("illegal", "answered 'a1', an illegal move"),
    ("off-board", "answered 'z99', which is no move"),
    ("empty", "answered '', which is no move"),
    ("resign", "resigned"),
]


@pytest.mark.parametrize(("fault", "reason"), FAULTS)
def test_a_fault_loses_its_game_with_the_reason_and_the_others_go_on(fault: str, reason: str) -> None:
    # nobody passes twice in a row while there are free points, so both games come as far as the fault
    player = seated(GO, toy("go(board_size=5)", fault, "8"), seconds=4.0 if fault in ("hang", "half") else 20.0)
    before = running(player)

    class Corner:
        """Takes the first free point, so that a1 is taken when the toy answers it."""

        def actions(self, env: envs.BatchedEnv, step: envs.Step, rows: np.ndarray) -> np.ndarray:
            return step.legal_actions[rows].argmax(axis=1)

    result = play_match(GO, player, Corner(), 2, 0)
    assert len(result.forfeits) == 2 == result.total.losses
    assert {each.forfeit.ply for each in result.forfeits} == {8, 9}
    assert not any(each.by_opponent for each in result.forfeits)
    assert all(reason in each.forfeit.reason for each in result.forfeits), result.forfeits
    assert all("\n" not in each.forfeit.reason and len(each.forfeit.reason) < 400 for each in result.forfeits)
    before |= running(player)
    player.close()
    assert gone(before) and not before & descendants(os.getpid())  # nor is one waiting to be asked how it ended


def test_a_fresh_process_plays_the_next_game() -> None:
    player = seated(GO, toy("go(board_size=5)", "crash", "4"), processes=1)
    env = envs.make(GO, 2, 0)
    step = env.reset()
    first = running(player)
    for _ in range(4):
        step = env.step(np.array([step.legal_actions[0].argmax(), step.legal_actions[1].argmax()]))
    assert player.actions(env, step, np.array([0])).tolist() == [-1]
    assert running(player) == set() and gone(first)
    fresh = envs.make(GO, 1, 0)
    assert player.actions(fresh, fresh.reset(), np.array([0]))[0] >= 0
    player.close()


@pytest.mark.parametrize("manner", ["loud", "dribble"])
def test_an_engine_may_complain_a_lot_and_answer_byte_by_byte(manner: str, seed: int) -> None:
    player = seated(GO, toy("go(board_size=5)", manner))
    play_match(GO, player, RandomPlayer(seed), 1, seed, max_steps=6)
    assert player.forfeits == []
    player.close()


def test_what_an_engine_has_started_ends_with_it() -> None:
    player = seated(GO, toy("go(board_size=5)", "children", "0"), seconds=4.0, processes=1)
    engine = player._engines[0]
    assert engine is not None
    env = envs.make(GO, 1, 0)
    below: set[int] = set()

    def look() -> None:
        end = time.monotonic() + 10
        while not below and time.monotonic() < end:
            below.update(children(engine.process.pid))
            time.sleep(0.01)

    thread = threading.Thread(target=look)
    thread.start()
    assert player.actions(env, env.reset(), np.array([0])).tolist() == [-1]
    thread.join()
    assert below and gone(below)
    player.close()


def test_passes_are_told_and_every_game_begins_anew_after_the_size() -> None:
    player = seated(GO, toy("go(board_size=5)"), processes=1)
    engine = player._engines[0]
    assert isinstance(engine, GtpEngine)
    said: list[str] = []
    send = engine.process.send
    engine.process.send = lambda line, seconds: said.append(line.split(maxsplit=1)[1]) or send(line, seconds)  # type: ignore
    env = envs.make(GO, 2, 0)
    step = env.step(np.array([env.reset().legal_actions.shape[1] - 1, 3]))
    chosen = player.actions(env, step, np.array([0, 1]))
    assert said[:2] == ["clear_board", "play black pass"] and said[3] == "genmove white"
    assert said[4:6] == ["clear_board", "play black D1"] and said[7:] == ["genmove white"]
    said.clear()
    step = env.step(chosen)
    word = notation_of(GO).word(int(chosen[1]), [])
    player.actions(env, step, np.array([1]))  # the game that is on its board goes on
    assert "clear_board" not in said and said[-1] == "genmove black" and word not in " ".join(said)
    player.close()


def test_a_player_that_was_interrupted_plays_on() -> None:
    player = seated(GO, toy("go(board_size=5)", "hang", "1"))
    env = envs.make(GO, 2, 0)
    first = env.reset()
    player.actions(env, first, np.array([0, 1]))
    before = running(player)
    step = env.step(np.array([0, 1]))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            player.actions(env, step, np.array([0, 1]))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert gone(before) and not before & descendants(os.getpid())
    env = envs.make(GO, 2, 0)
    assert (player.actions(env, env.reset(), np.array([0, 1])) >= 0).all()
    assert player.forfeits == []
    player.close()


@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_nothing_is_left_of_a_player_that_is_done_with(how: str) -> None:
    player = seated(GO, toy("go(board_size=5)"))
    play_match(GO, player, RandomPlayer(0), 2, 0, max_steps=3)
    processes = running(player)
    assert processes
    if how == "closed":
        player.close()
        player.close()
    else:
        del player
        gc.collect()
    assert gone(processes)


SCRIPT = """
import sys
import time
from muzero_wm import envs
from muzero_wm.evaluation import play_match
from muzero_wm.evaluation.engines import engine_player
from muzero_wm.evaluation.opponents import RandomPlayer
word, env, how = sys.argv[1:]
player = engine_player(word, envs.spec(env), env, 0, processes=2)
print(*(engine.process.pid for engine in player._engines if engine is not None), flush=True)
if how == "error":
    raise RuntimeError("of the program around it")
if how == "interrupt":
    play_match(env, player, RandomPlayer(0), 4, 0)
if how in ("terminate", "kill"):
    time.sleep(600)
"""


@pytest.mark.parametrize("how", ["error", "end", "interrupt", "terminate", "kill"])
def test_nothing_is_left_however_the_program_ends(how: str) -> None:
    fault = ("hang", "1") if how == "interrupt" else ()
    command = [sys.executable, "-c", SCRIPT, toy("go(board_size=5)", *fault), GO, how]
    with forked.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        pids = {int(word) for word in program.stdout.readline().split()}
        assert pids
        if how == "interrupt":  # while both processes are thinking, in threads of their own
            end = time.monotonic() + 60
            while len(descendants(program.pid)) < 2 and time.monotonic() < end:
                time.sleep(0.05)
            pids |= descendants(program.pid)
            assert len(pids) == 2
        if number := {"interrupt": signal.SIGINT, "terminate": signal.SIGTERM, "kill": signal.SIGKILL}.get(how):
            program.send_signal(number)
        program.communicate(timeout=50)  # not the minute that a move may take
    assert gone(pids)


def descendants(pid: int) -> set[int]:
    """Returns what all threads of a process have started."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for file in threads for child in file.read_text().split()}


UNUSABLE = [
    ("gtp:no-such-engine --level 1", "'no-such-engine' was not found; install it, or give its whole path"),
    ("gtp:", "expected a command behind the colon, for example 'gtp:gnugo --level 1'"),
    ("gtp:gnugo 'level", "expected quotes that are closed"),
    ("gtp:/etc/passwd", "'/etc/passwd' is no program that may be run"),
    ("gtp:cat", "expected =1 or ?1"),
    ("gtp:true", "ended with exit code 0"),
    ("uci:true", "ended with exit code 0"),
]


@pytest.mark.parametrize(("word", "reason"), UNUSABLE)
def test_what_is_no_engine_is_one_line_before_anything_is_played(word: str, reason: str) -> None:
    with pytest.raises(UserError) as caught:
        opponent_from_name(word, envs.spec(GO))
    assert reason in str(caught.value) and str(caught.value).startswith(f"opponent {word!r}: ")
    assert "\n" not in str(caught.value)


def test_a_program_that_says_nothing_is_not_waited_for_for_ever() -> None:
    with pytest.raises(UserError, match="gave no answer in time"):
        engine_player("gtp:sleep 600", envs.spec(GO), GO, 0, seconds_to_answer=0.5)


def test_an_engine_that_refuses_the_board_is_refused() -> None:
    other = "openspiel:go(board_size=7)"
    with pytest.raises(UserError, match="'\\?' to 'boardsize 7': 'unacceptable size'"):
        seated(other, toy("go(board_size=5)"))


def test_games_without_notation_and_games_for_one_are_refused() -> None:
    for env, reason in (
        ("openspiel:nim", "no notation of its moves is known"),
        ("openspiel:hex(board_size=4, swap=True)", "engines do not swap"),
        ("openspiel:go(board_size=19, handicap=2)", "engines play no handicap"),
        ("gym:CartPole-v1", "needs an environment of two players"),
    ):
        with pytest.raises(UserError, match=reason):
            opponent_from_name("gtp:cat", envs.spec(env))


def test_a_configuration_starts_no_program(tmp_path: Path) -> None:
    file = tmp_path / "strange.yaml"
    file.write_text("env: tictactoe\nrun: {evaluate_every_minutes: 1, evaluate_opponent: 'gtp:touch pwned'}\n")
    with pytest.raises(ConfigError, match="a configuration, which may be a stranger's, starts none"):
        load_config(file)


def test_uci_is_spoken_with_the_vertices_of_another_board() -> None:
    player = seated("connect4", toy_uci(), processes=1)
    result = play_match("connect4", player, RandomPlayer(1), 4, 0, opening_plies=2)
    assert player.forfeits == [] and result.total.games == 4
    player.close()


def test_an_evaluation_names_what_was_given_up_and_ends_its_engines(capsys: pytest.CaptureFixture[str]) -> None:
    before = descendants(os.getpid())  # what starts other tests' programs may be there
    report = evaluate(FirstLegalAgent(GO), toy("go(board_size=5)", "crash", "4"), games=2, opening_plies=0)
    assert [each["by"] for each in report["forfeits"]] == ["opponent", "opponent"]
    assert (report["wins"], report["raw_policy"]["wins"]) == (2, 2)
    assert not descendants(os.getpid()) - before
    print_evaluation(report)
    shown = " ".join(capsys.readouterr().out.split())
    assert "games were given up by the opponent: ended with exit code 1; its last words: 'a bug in the engine'" in shown


@pytest.mark.skipif(not has_gnugo(), reason=NO_GNUGO)
def test_gnugo_plays_the_same_games_however_many_processes() -> None:
    def games(processes: int, seed: int) -> list[list[int]]:
        env_name = "openspiel:go(board_size=9)"
        player = engine_player("gtp:gnugo --level 1", envs.spec(env_name), env_name, seed, processes=processes)
        env = envs.make(env_name, 3, 0)
        step = env.reset()
        for ply in range(10):
            other = step.legal_actions.argmax(axis=1)
            step = env.step(other if ply % 2 else player.actions(env, step, np.arange(3)))
        assert player.forfeits == []
        player.close()
        return [moves_so_far(env, row) for row in range(3)]

    assert games(1, 5) == games(2, 5)


@pytest.mark.skipif(not has_gnugo(), reason=NO_GNUGO)
def test_gnugo_beats_a_random_player_under_our_rules() -> None:
    env = "openspiel:go(board_size=7)"
    player = seated(env, "gtp:gnugo --level 1")
    result = play_match(env, player, RandomPlayer(0), 4, 0)
    assert player.forfeits == []
    assert result.total.wins == 4  # its opponent's dead stones taken off: they would count as alive
    player.close()


def test_an_engine_that_a_signal_without_a_name_ends_is_told_like_others() -> None:
    process = EngineProcess([sys.executable, "-c", "import os; os.kill(os.getpid(), 40)"])
    with pytest.raises(EngineFailure, match="ended, killed by signal 40"):
        process.line(time.monotonic() + 60.0)
    process.close()
    assert gone([process.pid])
