"""A terminal that is closed, and output that nobody reads any more."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from muzero_wm.basis.output import lasting_output
from muzero_wm.storage.checkpoint import load_checkpoint
from tests.test_signals import ROOT, SLOW

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="terminals of other systems differ")
BOARD = [*SLOW, "acting.process=false", "inference.backend=eager", "run.log_every_seconds=0.0001"]
BOARD += ["search.num_simulations=4", "replay.min_steps=100", "learning.batch_size=8", "learning.updates_per_round=4"]


@contextmanager
def begun(folder: Path, updates: int, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "muzero_wm", "train", "tictactoe", "--run-dir", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command += ["--max-updates", str(updates), "--set", *BOARD]
    with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **options) as run:
        try:
            yield run
        finally:
            run.kill()


@contextmanager
def in_terminal(
    folder: Path, updates: int, prepare: Callable[[], object] = lambda: None
) -> Iterator[subprocess.Popen[bytes]]:
    """Yields a run that trains already when the terminal that controls it has been closed."""
    ours, theirs = pty.openpty()

    def control() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        prepare()

    with begun(folder, updates, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=control) as run:
        os.close(theirs)
        metrics = folder / "metrics.jsonl"
        while not metrics.exists() or not metrics.read_bytes():
            os.read(ours, 1000)
        os.close(ours)
        yield run


def test_a_closed_terminal_saves_the_run(tmp_path: Path) -> None:
    with in_terminal(tmp_path / "run", 1_000_000) as run:
        assert run.wait(60) == 128 + signal.SIGHUP
    assert load_checkpoint(tmp_path / "run/checkpoints")["progress"]["rounds"] > 0


def test_where_a_closed_terminal_is_ignored_the_run_goes_on(tmp_path: Path) -> None:
    with in_terminal(tmp_path / "run", 40, lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as run:
        assert run.wait(120) == 0
    assert load_checkpoint(tmp_path / "run/checkpoints")["learner"]["updates"] == 40


def test_a_reader_who_leaves_does_not_end_the_run(tmp_path: Path) -> None:
    """Ctrl-C in `train | tee log` ends `tee` first."""
    with begun(tmp_path / "run", 40, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        assert run.stdout is not None
        while not run.stdout.readline().startswith(b"learning"):
            assert run.poll() is None
        run.stdout.close()
        assert run.wait(120) == 0
    assert load_checkpoint(tmp_path / "run/checkpoints")["learner"]["updates"] == 40


def test_output_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with lasting_output():
            print("read", flush=True)
            assert os.read(reader, 10) == b"read\n" and sys.stdout.encoding == stream.encoding
            os.close(reader)
            for _ in range(2):
                print("not read", flush=True)
                sys.stdout.writelines(["nor", "this\n"])
                sys.stdout.flush()
        assert sys.stdout is stream
        print("nor this", flush=True)


def test_a_stream_that_is_no_file_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Notebook:
        def write(self, text: str) -> int:
            raise OSError(text)

    monkeypatch.setattr(sys, "stdout", notebook := Notebook())
    with lasting_output():
        assert sys.stdout is notebook
    assert sys.stdout is notebook
