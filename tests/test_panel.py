"""The progress panel: everything fits at any width, strength is shown, and Ctrl-C leaves one panel and its message."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.console import Console

from muzero_wm.config import LearningConfig
from muzero_wm.run.logger import RunLogger
from muzero_wm.run.panel import History, RunPanel, clock, plain_line

ROOT = Path(__file__).parents[1]
ROW = {
    "updates": 1_234_567,
    "steps": 98_765_432,
    "games": 7_654_321,
    "elapsed": 300.0,
    "fraction": 0.25,
    "updates_per_second": 81.4,
    "positions_per_second": 22_003.0,
    "games_per_minute": 24_865.0,
}
LOSSES = {f"loss/{name}": 0.1234 for name in ("policy", "value", "reward", "self_prediction", "turn", "total")}
ONE = {"episode/return": 478.14, "episode/length": 481.0}
TWO = {"episode/first_player_score": 0.54, "episode/draws": 0.31, "episode/length": 7.2}


def _drawn(width: int, *logged: dict[str, float], notice: str = "") -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True, color_system=None)
    panel = RunPanel("runs/some-long-name-of-a-run-1: 20 minutes")
    for metrics in logged:
        panel.update(ROW, metrics)
    panel.notice = notice
    console.print(panel)
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize("play", [ONE, TWO])
def test_every_number_fits(width: int, play: dict[str, float]) -> None:
    lines = _drawn(width, LOSSES | play, LOSSES | play | {"evaluation/score": 0.625})
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width - 4  # room for ^C^C, or a terminal breaks the last line
    for number in ("1,234,567", "98,765,432", "7,654,321", "81 /s", "22,003 /s", "24,865 /min", "25%", "15:00 left"):
        assert number in text
    assert "self prediction  0.1234" in re.sub(r"  +", "  ", text)
    assert "…" not in text


def test_strength_of_one_player_and_of_two() -> None:
    def numbers(*logged: dict[str, float]) -> dict[str, str]:
        found = re.findall(r"│ (return|length|first player|draws|evaluation) +(\S+)", "\n".join(_drawn(80, *logged)))
        return dict(found)

    assert numbers(ONE) == {"return": "478.1", "length": "481.0"}
    assert numbers(TWO) == {"first player": "54%", "draws": "31%", "length": "7.2"}
    # evaluations come now and then, and stay until the next
    assert numbers(TWO, {"evaluation/score": 0.625}, TWO)["evaluation"] == "62%"
    assert numbers(ONE, {"evaluation/return": 412.5}, ONE)["evaluation"] == "412.5"


def test_the_bar_stands_apart_from_the_first_row() -> None:
    lines = _drawn(80, LOSSES | TWO)
    bar = next(i for i, line in enumerate(lines) if "25%" in line)
    assert lines[bar + 1].strip("│ ") == ""


def test_a_plain_line_says_the_same() -> None:
    line = plain_line(ROW, LOSSES | TWO | {"evaluation/score": 0.625})
    for part in ("25%", "15:00 left", "1234567 updates (81/s)", "first player 54%", "draws 31%", "evaluation 62%"):
        assert part in line
    assert "return 478.1" in plain_line(ROW, ONE)


def test_a_history_keeps_the_shape_of_the_whole_run() -> None:
    history = History()
    assert history.bars() == ""
    for i in range(1000):
        history.add(float(i))
        history.add(float("nan"))
    bars = history.bars()
    assert 7 <= len(bars) <= 14
    assert list(bars) == sorted(bars)
    assert bars[0] == "▁" and bars[-1] == "█"
    assert history.bars(plain=True).isascii()


def test_times() -> None:
    assert [clock(seconds) for seconds in (0, 61.4, 3600, 86399.6)] == ["0:00", "1:01", "1:00:00", "24:00:00"]


def test_a_signal_shows_in_the_panel_or_not_at_all(tmp_path: Path) -> None:
    for terminal in (True, False):
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=terminal, width=100)
        with RunLogger(tmp_path, tensorboard=False, console=console) as logger:
            assert logger.notice("too early") is False
            logger.start(LearningConfig(max_updates=10))
            assert logger.notice("saving a checkpoint") is terminal
        assert ("saving a checkpoint" in screen.getvalue()) is terminal
        assert logger.notice("too late") is False


class Terminal:
    """What somebody sees: the few control sequences that are used, on a screen without an end."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = [[]]
        self.row = self.column = 0

    def feed(self, text: str, width: int) -> None:
        for control, digits, command, letter in re.findall(r"(\x1b\[([?\d;]*)([A-Za-z]))|(.)", text, re.DOTALL):
            if control and command == "A":
                self.row = max(0, self.row - int(digits or 1))
            elif control and command == "K":
                self.lines[self.row] = []
            elif letter == "\n":
                self.row += 1
            elif letter == "\r":
                self.column = 0
            elif letter:
                if self.column == width:
                    self.row, self.column = self.row + 1, 0
                self._put(letter)
            while self.row >= len(self.lines):
                self.lines.append([])

    def _put(self, letter: str) -> None:
        while self.row >= len(self.lines):
            self.lines.append([])
        line = self.lines[self.row]
        line += [" "] * (self.column + 1 - len(line))
        line[self.column] = letter
        self.column += 1

    def text(self) -> str:
        return "\n".join("".join(line).rstrip() for line in self.lines)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="opens a terminal of its own")
@pytest.mark.parametrize("moment", [b"first round", rb"updates  +\d"])
def test_ctrl_c_leaves_one_panel_and_its_message(moment: bytes, tmp_path: Path) -> None:
    width = 80
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    command = [sys.executable, "-m", "muzero_wm", "train", "debug", "--max-updates", "1000000", "--run-dir", "run"]
    command += ["--set", "run.tensorboard=false", "acting.process=false", "run.log_every_seconds=0.2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "NO_COLOR": "1"}
    environment.pop("COLUMNS", None)

    def controlling() -> None:  # so that the terminal makes a signal of Ctrl-C
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment, preexec_fn=controlling
    )
    os.close(theirs)
    received = b""
    try:
        interrupted = False
        while True:
            ready, _, _ = select.select([ours], [], [], 120)
            assert ready, received.decode(errors="replace")[-2000:]
            try:
                part = os.read(ours, 65536)
            except OSError:  # it has gone
                break
            received += part
            if not interrupted and re.search(moment, received):
                os.write(ours, b"\x03")
                interrupted = True
        assert process.wait(timeout=60) == 128 + signal.SIGINT
    finally:
        process.kill()
        os.close(ours)
    terminal = Terminal()
    terminal.feed(received.decode(), width)
    screen = terminal.text()
    assert screen.count("╭") == screen.count("╰") == 1, screen
    assert "SIGINT: saving a checkpoint, then ending" in screen
    assert "the run is saved; go on with: muzero-wm train --resume --run-dir run" in screen
    assert screen.index("╰") < screen.index("the run is saved")
