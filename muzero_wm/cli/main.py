"""The command line: ``muzero-wm COMMAND``.

A mistake of the person who calls is one line on standard error and exit code 2. Whatever takes long to import is
imported by the command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from muzero_wm.basis.errors import UserError
from muzero_wm.basis.planner_package import check_planner
from muzero_wm.cli import agents, arena, bench, check_env, compare, doctor, envs, evaluate, gtp, play, train
from muzero_wm.cli.arguments import MISTAKE, OK, build_parser
from muzero_wm.cli.lines import shown

SIGNALLED = 128  # plus the number of the signal, as an exit code
COMMANDS = {
    "train": train.COMMAND,
    "evaluate": evaluate.COMMAND,
    "compare": compare.COMMAND,
    "arena": arena.COMMAND,
    "play": play.COMMAND,
    "gtp": gtp.COMMAND,
    "agents": agents.COMMAND,
    "envs": envs.COMMAND,
    "check-env": check_env.COMMAND,
    "doctor": doctor.COMMAND,
    "bench": bench.COMMAND,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: words after the program's name; those of the process when None.

    Returns:
        The exit code: 0 (also where no command was named, and the help is shown), 1 when `doctor` or `check-env` found
        something broken, 2 for a mistake in the input, 130, 143 or 129 when SIGINT, SIGTERM or SIGHUP ended the
        command.
    """
    try:
        args, unknown = build_parser(COMMANDS).parse_known_args(arguments)
        if unknown:
            args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        if args.command is None:
            args.parser.print_help()
            return OK
        check_planner()
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            args.command(args)
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt as interrupt:
        print("muzero-wm: interrupted", file=sys.stderr)
        return SIGNALLED + int(getattr(interrupt, "signum", signal.SIGINT))
    except BrokenPipeError:
        # Whoever read our output has gone; closing it again at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except UserError as error:
        for line in str(error).splitlines():
            print(f"muzero-wm: error: {shown(line)}", file=sys.stderr)
        return MISTAKE
    except (MemoryError, OSError) as error:
        what = f"not enough memory: {error}"
        if isinstance(error, OSError):
            what = str(error.strerror) if error.filename is None else f"{error.filename}: {error.strerror}"
        print(f"muzero-wm: error: {shown(what)}", file=sys.stderr)
        return MISTAKE
    return OK


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Shows our own warnings in one line and leaves out those of libraries."""
    if category.__module__.startswith("muzero_wm"):
        print(f"muzero-wm: warning: {shown(str(message))}", file=sys.stderr)
