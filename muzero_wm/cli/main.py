"""The command line: ``muzero-wm COMMAND``.

A mistake of the person who calls is one line on standard error and exit code 2. Whatever takes long to import is
imported by the command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muzero_wm.basis.errors import UserError, did_you_mean
from muzero_wm.basis.planner_package import check_planner
from muzero_wm.cli.arguments import MISTAKE, Command, build_parser, shown

OK, BROKEN = 0, 1
SIGNALLED = 128  # plus the number of the signal


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
        what = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else f"not enough memory: {error}"
        print(f"muzero-wm: error: {shown(what)}", file=sys.stderr)
        return MISTAKE
    return OK


def _train(args: argparse.Namespace) -> None:
    _tell("Reading the settings ...")  # what follows is silent for seconds, and for longer the first time
    from muzero_wm.config.presets import plan_run

    config, run_dir = plan_run(
        args.source,
        run_dir=args.run_dir,
        resume=args.resume,
        env=args.env,
        seed=args.seed,
        overrides=args.set,
        max_minutes=args.max_minutes,
        max_updates=args.max_updates,
        tell=_tell,
    )
    _tell("Importing PyTorch, loading compiled kernels ...")
    from muzero_wm.training import train

    _tell("Making the network, looking for what evaluates it fastest here ...")
    try:
        train(config, run_dir, resume=args.resume)
    except KeyboardInterrupt as interrupt:
        what = "the run is saved" if getattr(interrupt, "saved", True) else "ended at once; the last checkpoint stands"
        print(f"{what}; go on with: muzero-wm train --resume --run-dir {run_dir}", file=sys.stderr)
        raise
    print(f"The run is in {run_dir}. Next: muzero-wm evaluate {run_dir}")


def _tell(line: str) -> None:
    """Prints a line, folded to what can be read, at once also into a pipe."""
    width = min(100, shutil.get_terminal_size((100, 24)).columns - 1)
    print(textwrap.fill(line, max(40, width), subsequent_indent="    "), flush=True)


def _evaluate(args: argparse.Namespace) -> None:
    from muzero_wm.cli.reports import check_writable, print_evaluation, progress_bar, write_json

    folder = _run_folder(args.run)
    check_writable(args.json)
    from muzero_wm import agent
    from muzero_wm.evaluation import evaluate

    trained = agent.load(folder, args.checkpoint)
    opponent = args.opponent
    if opponent is None and trained.spec.num_players == 2:
        from muzero_wm.evaluation.affordable import affordable_opponent

        opponent = affordable_opponent(trained.spec, args.games, _tell)
    with progress_bar("games", "moves") as progress:
        report = evaluate(
            trained,
            opponent=opponent,
            games=args.games,
            simulations=args.simulations,
            seed=args.seed,
            progress=progress,
        )
    print_evaluation(report)
    write_json(args.json, report)


def _play(args: argparse.Namespace) -> None:
    folder = _run_folder(args.run)
    from muzero_wm import agent
    from muzero_wm.cli.play import play

    play(agent.load(folder), seat=args.seat, simulations=args.simulations)


def _doctor(args: argparse.Namespace) -> None:
    from muzero_wm.cli.reports import check_writable, write_json

    check_writable(args.json)
    from muzero_wm.cli import doctor

    report = doctor.examine()
    doctor.show(report)
    write_json(args.json, report)
    if not report["healthy"]:
        raise SystemExit(BROKEN)


def _envs(args: argparse.Namespace) -> None:
    from muzero_wm.cli.reports import check_writable, environments, print_environments, write_json

    check_writable(args.json)
    rows = environments()
    print_environments(rows)
    write_json(args.json, rows)


def _check_env(args: argparse.Namespace) -> None:
    from muzero_wm.cli.check_env import run

    if not run(args):
        raise SystemExit(BROKEN)


def _bench(args: argparse.Namespace) -> None:
    from muzero_wm.cli.bench import run

    run(args)


COMMANDS: dict[str, Command] = {
    "train": _train,
    "evaluate": _evaluate,
    "play": _play,
    "envs": _envs,
    "check-env": _check_env,
    "doctor": _doctor,
    "bench": _bench,
}


def _run_folder(text: str) -> Path:
    """Returns the folder of an existing run."""
    from muzero_wm.storage.folder import RunDirError

    folder = Path(text)
    if not (folder / "config.yaml").is_file():
        there = [str(path.parent) for path in Path("runs").glob("*/config.yaml")]
        reason = "has no config.yaml, so it is no run folder" if folder.exists() else "there is no such run"
        raise RunDirError(f"{text}: {reason}{did_you_mean(text, there)}")
    return folder


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Shows our own warnings in one line and leaves out those of libraries."""
    if category.__module__.startswith("muzero_wm"):
        print(f"muzero-wm: warning: {shown(str(message))}", file=sys.stderr)
