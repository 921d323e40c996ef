"""Processes of ours: started anew, at the end of a pipe, and gone when the process that started them is gone.

Each is killed when it is closed, forgotten or left over at exit; and on Linux the kernel kills it when its parent dies
in whatever way. Each has a session of its own: what a terminal sends to all that runs in it, Ctrl-C for example, is for
the program alone to handle, and does not reach what an environment has started here either.

`multiprocessing` would run the program's main module once more in every process. Here only what is sent is imported, so
a script needs no guard, and there need not be a script; where what is sent lies in that module, it is said.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing as mp
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import spawn, util
from multiprocessing.connection import Connection
from typing import Any

from muzero_wm.basis.errors import UserError, one_line
from muzero_wm.basis.handlers import STOP_SIGNALS, OwnHandlers, ignore
from muzero_wm.basis.output import outlast

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_FIRST = 10  # multiprocessing waits for its processes at exit; what has a priority runs before
_GONE = (EOFError, BrokenPipeError, ConnectionResetError)
# The folders where modules are found come first, and until then the current folder is none of them.
_BEGIN = """
import sys
sys.path[:] = filter(None, sys.path)
from multiprocessing.connection import Connection
from multiprocessing.spawn import prepare
pipe = Connection(int(sys.argv[1]))
prepare(pipe.recv())
from muzero_wm.basis.processes import begin
begin(pipe)
"""


class RemoteTraceback(Exception):  # noqa: N818 - it says where an error comes from
    """The traceback of another process, as text; the cause of the error that is raised here."""

    def __str__(self) -> str:
        """Returns the text, set off from what is raised here."""
        return f"\n{self.args[0]}"


def remote_traceback() -> str:
    """Returns the traceback of the exception being handled, to be sent to another process."""
    return traceback.format_exc()


class StartError(UserError):
    """A process cannot be started, or cannot begin."""


_here = threading.local()


@contextlib.contextmanager
def only_importing(module: str) -> Iterator[None]:
    """While a module is imported for what it defines, it must not begin the work of a program.

    Args:
        module: its name, for the message.
    """
    before, _here.importing = getattr(_here, "importing", None), module
    try:
        yield
    finally:
        _here.importing = before


def check_may_start() -> None:
    """Checks that no module is being imported for what it defines.

    Raises:
        StartError: it would train, or start processes, once more in the middle of that.
    """
    if (module := getattr(_here, "importing", None)) is not None:
        raise StartError(
            f"{module} is imported for the environment in it, and begins to work instead: put what it does, but not "
            "what it defines, under `if __name__ == '__main__':`"
        )


class Child:
    """A process and our end of the pipe to it.

    Attributes:
        pipe: ours; end of file when the child is gone.
        pid: of the child.
    """

    def __init__(
        self,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        name: str,
        *,
        files: Sequence[int] = (),
        needs_main: bool = False,
    ) -> None:
        """Starts the process.

        Args:
            target: called there as `target(pipe, *arguments)`; ends when the pipe does.
            arguments: whatever can be pickled.
            name: of the process.
            files: descriptors that have the same numbers there.
            needs_main: import the program's main module there first.

        Raises:
            StartError: this is called by a module that is imported only for what it defines.
        """
        check_may_start()
        sent = pickle.dumps((target, arguments))
        self.pipe, theirs = mp.Pipe()
        prepared = spawn.get_preparation_data(name)
        del prepared["authkey"]
        main = {key: prepared.pop(key) for key in list(prepared) if key.startswith("init_main_from_")}
        interpreter = spawn.get_command_line()[:-3]  # with the options of this one, and without what it would run
        # Until the child has handlers of its own, a signal to all processes of the program waits.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            self._process = subprocess.Popen(
                [*interpreter, "-c", _BEGIN, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *files),
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self.pid = self._process.pid
        self._end = util.Finalize(self, _end, args=(self._process, self.pipe), exitpriority=_FIRST)
        with contextlib.suppress(*_GONE):
            self.pipe.send(prepared)
            self.pipe.send(main if needs_main else {})
            self.pipe.send_bytes(sent)

    def tell(self, message: Any) -> None:
        """Sends a message; a process that is gone is noticed when it should answer."""
        with contextlib.suppress(*_GONE):
            self.pipe.send(message)

    def receive(self) -> Any:
        """Returns the next message.

        Raises:
            StartError: the process could not begin.
            EOFError: it is gone; so says ConnectionResetError.
        """
        message = self.pipe.recv()
        if isinstance(message, StartError):
            raise message
        return message

    def join(self, seconds: float) -> None:
        """Waits for the process to end by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, seconds))

    def exit_reason(self) -> str:
        """Returns how the process ended, for a message; it has closed its pipe."""
        self.join(5.0)
        code = self._process.returncode
        if code is not None and code < 0:
            return f"killed by {signal_name(-code)}"
        return f"exit code {code}"

    def close(self) -> None:
        """Ends the process if it has not ended, by force, and frees what belongs to it; may be called again."""
        self._end()


def signal_name(number: int) -> str:
    """Returns the name of a signal; those of real time have none."""
    return {each.value: each.name for each in signal.Signals}.get(number, f"signal {number}")


def _end(process: subprocess.Popen[bytes], pipe: Connection) -> None:
    if process.poll() is None:
        # What it has started ends with it, as it cannot end it any more. Until it is waited for, the number is its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
    pipe.close()


def begin(pipe: Connection) -> None:
    """Becomes a child: gets ready for what may come, and runs what was sent.

    Args:
        pipe: to the parent; its messages are how the main module is imported, if at all, and what to call with what.
    """
    os.set_inheritable(pipe.fileno(), False)
    # A fork must not keep the pipe open, whose end tells the parent that this process is gone.
    os.register_at_fork(after_in_child=pipe.close)
    # What is ignored already, by nohup for example, is ignored for all.
    OwnHandlers([number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN], ignore)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    outlast()
    # Every process would repeat the warnings of libraries; our own come from the parent.
    warnings.simplefilter("ignore")
    with contextlib.suppress(*_GONE):  # the parent is gone
        try:
            _import_main(pipe.recv())
        except StartError as error:
            pipe.send(error)
            return
        target, arguments = pickle.loads(pipe.recv_bytes())
        target(pipe, *arguments)


def _import_main(main: dict[str, Any]) -> None:
    """Imports the program's main module as `multiprocessing` does: under another name, so that its guard holds."""
    if not main:
        return
    where = str(next(iter(main.values())))
    try:
        with only_importing(where):
            spawn.prepare(main)
    except StartError:
        raise
    except (Exception, SystemExit) as error:  # a program of a user may fail in any way
        raise StartError(f"{where} cannot be imported by another process: {one_line(error)}") from error
