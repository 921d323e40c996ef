"""Python programs that begin with the libraries imported: most of a start is PyTorch, Numba and their like.

A server imports them once, and nothing of ours. A program is forked from it and then does what a new interpreter does:
environment, folder, arguments, modules of ours, signals, output and exit are its own, and it is a child of who asked.
For tests of what a program does; how it begins (what it imports, which interpreter, options of Python) is for
`subprocess` alone. Linux only, elsewhere it is `subprocess`.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_LIBRARIES = ("numpy", "torch", "numba", "gymnasium", "pydantic", "yaml", "rich.console", "zstandard")
_STOP = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
_LARGEST = 1 << 20  # bytes of a request
_ABOVE_ALL = 300  # files that are open have smaller numbers
# Libraries read these when they are imported. PYTHONPATH is for what comes after.
_READ_AT_IMPORT = ("CUDA", "KMP", "LD_", "MCTS", "MKL", "NUMBA", "OMP", "OPENBLAS", "PYTHON", "TORCH", "TRITON")


def _settings(environment: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environment.items() if k.startswith(_READ_AT_IMPORT) and k != "PYTHONPATH"}


class _Server:
    """The process with the libraries, which ends with this one."""

    def __init__(self) -> None:
        self.settings = _settings(os.environ)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve()), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            )
        atexit.register(self.close)

    def start(self, request: Mapping[str, Any], files: Sequence[int]) -> int:
        """Returns the number of a new process."""
        control = ctypes.CDLL(None).prctl
        control(_PR_SET_CHILD_SUBREAPER, 1)  # it is handed to us by the one that has forked it
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], files)
            return int(self._socket.recv(_LARGEST))
        finally:
            control(_PR_SET_CHILD_SUBREAPER, 0)  # what others leave behind is none of our business

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


_server: _Server | None = None


class Popen(subprocess.Popen):  # type: ignore[type-arg]
    """`subprocess.Popen` for a Python program; whatever it cannot do, that one does."""

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, *rest: Any) -> None:
        global _server
        _, pass_fds, cwd, env, _, _, shell, *more = rest
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, _, gid, gids, uid, umask, session, group = more
        environment = dict(os.environ if env is None else env)
        words = None if isinstance(args, str) else _words([os.fsdecode(word) for word in args])
        unusual = (preexec_fn, shell, gid, gids, uid, umask + 1, group + 1, executable not in (None, args[0]))
        if _server is None and sys.platform.startswith("linux"):
            _server = _Server()
        if _server is None or words is None or any(unusual) or _settings(environment) != _server.settings:
            super()._execute_child(args, executable, preexec_fn, *rest)  # type: ignore[misc]
            return
        files = [ours if theirs == -1 else theirs for ours, theirs in enumerate((p2cread, c2pwrite, errwrite))]
        request = {
            "words": words,
            "cwd": os.path.abspath(os.curdir if cwd is None else cwd),
            "environment": environment,
            "session": session,
            "blocked": [*signal.pthread_sigmask(signal.SIG_BLOCK, [])],
            "ignored": [each for each in _STOP if signal.getsignal(each) == signal.SIG_IGN],
            "numbers": [0, 1, 2, *pass_fds],
        }
        try:
            self.pid = _server.start(request, [*files, *pass_fds])
        finally:
            self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)
        self._child_created = True


def run(command: Sequence[str], *, timeout: float | None = None, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Runs a Python program as `subprocess.run` does."""
    if options.pop("capture_output", False):
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    check = options.pop("check", False)
    given = options.pop("input", None)
    if given is not None:
        options["stdin"] = subprocess.PIPE
    with Popen(command, **options) as process:
        try:
            output, errors = process.communicate(given, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(command, process.returncode, output, errors)
    if check:
        done.check_returncode()
    return done


# For a module that says `subprocess.Popen` and `subprocess.run`.
INSTEAD = SimpleNamespace(**vars(subprocess) | {"Popen": Popen, "run": run})


def _words(command: Sequence[str]) -> list[str] | None:
    """Returns the words behind the interpreter, or None for another program or one with options of Python."""
    if command[0] != sys.executable or len(command) < 2 or any("\0" in word for word in command):
        return None
    words = list(command[1:])
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    if words[: len(options)] == options:  # those of this process are those of the server
        words = words[len(options) :]
    return words if words[0] in ("-m", "-c") or not words[0].startswith("-") else None


def _serve(number: int) -> dict[str, Any]:
    """Forks a process for every request, and returns there; ends with who asks."""
    for library in _LIBRARIES:
        with contextlib.suppress(ImportError):
            __import__(library)
    gc.freeze()  # or every process would look through all of it at its end, and copy the memory in order to
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked = socket.socket(fileno=number)
    while True:
        message, files, _, _ = socket.recv_fds(asked, _LARGEST, 250)
        if not message:
            sys.exit()
        reading, writing = os.pipe()
        if (between := os.fork()) == 0:
            between = os.getpid()
            if (pid := os.fork()) == 0:
                while os.getppid() == between:  # until it has ended, it is the parent
                    time.sleep(0.001)
                request: dict[str, Any] = json.loads(message)
                asked.detach()
                _become(request, files)
                return request
            os.write(writing, str(pid).encode())
            os._exit(0)
        os.waitpid(between, 0)
        asked.send(os.read(reading, 100))
        for file in (reading, writing, *files):
            os.close(file)


def _become(request: dict[str, Any], files: list[int]) -> None:
    """Makes of this process what `subprocess` makes of a new one."""
    if request["session"]:
        os.setsid()
    kept = [fcntl.fcntl(file, fcntl.F_DUPFD, _ABOVE_ALL) for file in files]
    os.closerange(3, _ABOVE_ALL)
    for file, number in zip(kept, request["numbers"], strict=True):
        os.dup2(file, number)
        os.close(file)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if signal.SIGINT not in request["ignored"]:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for other in {signal.SIGHUP, signal.SIGTERM} & set(request["ignored"]):
        signal.signal(other, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])


def _begin(words: list[str]) -> None:
    """Runs a program as its words say, in a main module of its own."""
    kind, paths = words[0], [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    first = {"-m": os.getcwd(), "-c": ""}.get(kind, os.path.dirname(os.path.abspath(kind)))
    sys.path[:1] = [first, *paths]  # instead of the folder of this file
    sys.argv[:] = words[1:] if kind == "-m" else words if kind != "-c" else ["-c", *words[2:]]
    if kind == "-m":
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(words[1], main.__dict__)
    else:
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    _begin(_serve(int(sys.argv[1]))["words"])
