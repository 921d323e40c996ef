"""A program that is forked from the libraries does what a new interpreter does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import forked

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="is subprocess elsewhere")

SAYS = """
import json, os, signal, sys
file = int(sys.argv[2])
print(json.dumps({
    "main": __name__, "argv": sys.argv[1:], "path": sys.path, "cwd": os.getcwd(), "environment": dict(os.environ),
    "parent": os.getppid(), "leads": os.getsid(0) == os.getpid(), "flags": str(sys.flags),
    "input": sys.stdin.read(), "through": os.read(file, 9).decode(),
    "open": sorted(map(int, os.listdir("/proc/self/fd")))[:-1],
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "handlers": [repr(signal.getsignal(each))[:30] for each in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)],
    "ours": [name for name in sys.modules if name.startswith(("muzero_wm", "mcts", "tests"))],
}))
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("how", ["-c", "-m", "file"])
def test_everything_is_as_in_a_new_interpreter(how: str, tmp_path: Path) -> None:
    (tmp_path / "says.py").write_text(SAYS)
    words = {"-c": ["-c", SAYS], "-m": ["-m", "says"], "file": [str(tmp_path / "says.py")]}[how]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        said = []
        for run in (subprocess.run, forked.run):
            reading, writing = os.pipe()
            os.write(writing, b"through")
            options: dict[str, Any] = {"pass_fds": [reading], "cwd": tmp_path, "start_new_session": how == "-m"}
            options["env"] = {**os.environ, "ANOTHER": "1", "PYTHONPATH": os.pathsep.join([str(tmp_path), "/nowhere"])}
            done = run(
                [sys.executable, *words, "7", str(reading)], input="in", capture_output=True, text=True, **options
            )
            os.close(reading)
            os.close(writing)
            said.append((done.returncode, done.stdout.replace(f" {reading},", " FILE,"), done.stderr))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert said[0][0] == 7 and '"through": "through"' in said[0][1] and f'"parent": {os.getpid()}' in said[0][1]
    assert said[0][1].replace(str(reading), "FILE") == said[1][1].replace(str(reading), "FILE")
    assert said[0][2] == said[1][2] == ""


def test_the_libraries_are_there_already(tmp_path: Path) -> None:
    code = "import sys; print('torch' in sys.modules, 'numba' in sys.modules, 'muzero_wm' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert forked.run(command, capture_output=True, text=True).stdout == "True True False\n"
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    as_ours_begin = [os.fsencode(sys.executable), *flags, *command[1:]]
    assert forked.run(as_ours_begin, capture_output=True, text=True).stdout == "True True False\n"
    other = {**os.environ, "NUMBA_CPU_NAME": "generic"}  # what libraries read when they are imported
    assert forked.run(command, env=other, capture_output=True, text=True).stdout == "False False False\n"


def test_it_ends_as_others_do() -> None:
    for code, number in (("import os; os.abort()", -signal.SIGABRT), ("raise SystemExit('no')", 1), ("1/0", 1)):
        done = forked.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == number, code
    assert "ZeroDivisionError" in done.stderr
    with forked.Popen(
        [sys.executable, "-c", "print(1, flush=True); input()"], stdin=-1, stdout=-1, stderr=-1
    ) as program:
        assert program.stdout is not None and program.stdout.readline() == b"1\n"
        assert program.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            program.wait(0.01)
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == -signal.SIGINT
    with pytest.raises(subprocess.CalledProcessError):
        forked.run([sys.executable, "-c", "raise SystemExit(3)"], check=True)
    with pytest.raises(ValueError, match="null byte"):
        forked.run([sys.executable, "-c", "pass", "a\0b"])
