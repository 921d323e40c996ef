"""The command line: ``muzero-wm COMMAND``.

A mistake of the person who calls is one line on standard error and exit code 2. Whatever takes long to import is
imported by the command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from muzero_wm import __version__
from muzero_wm.errors import UserError, did_you_mean
from muzero_wm.planner_package import check_planner

OK, BROKEN, MISTAKE = 0, 1, 2
SIGNALLED = 128  # plus the number of the signal
_LONGEST_LINE = 800


class _Parser(argparse.ArgumentParser):
    """Reports mistakes in one line, with the nearest word that would have been right."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        """Exits with code 2."""
        if unknown := re.match(r"argument COMMAND: invalid choice: '([^']*)'", message):
            message = f"unknown command {unknown[1]!r}{did_you_mean(unknown[1], _COMMANDS)}"
        elif unknown := re.match(r"argument BENCHMARK: invalid choice: '([^']*)'", message):
            message = f"unknown benchmark {unknown[1]!r}{did_you_mean(unknown[1], _BENCHMARKS)}"
        elif unknown := re.match(r"unrecognized arguments: (-\S+)", message):
            message = f"unknown option {unknown[1]}{did_you_mean(unknown[1], self.known_options())}"
        self.exit(MISTAKE, f"{self.prog}: error: {_shown(message)} (see {self.prog} --help)\n")

    def known_options(self) -> list[str]:
        """Returns the options of this command, such as "--seed"."""
        return list(self._option_string_actions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: words after the program's name; those of the process when None.

    Returns:
        The exit code: 0, 1 when `doctor` or `check-env` found something broken, 2 for a mistake in the input, 130 or
        143 when SIGINT or SIGTERM ended the command.
    """
    if arguments is None:
        os.environ["PYTHONSAFEPATH"] = "1"  # the processes we start do not search the current folder either
    try:
        args, unknown = (parser := _parser()).parse_known_args(arguments)
        if unknown:
            (args.parser if "parser" in args else parser).error(f"unrecognized arguments: {' '.join(unknown)}")
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
            print(f"muzero-wm: error: {_shown(line)}", file=sys.stderr)
        return MISTAKE
    except (MemoryError, OSError) as error:
        what = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else f"not enough memory: {error}"
        print(f"muzero-wm: error: {_shown(what)}", file=sys.stderr)
        return MISTAKE
    return OK


def _train(args: argparse.Namespace) -> None:
    from muzero_wm.presets import plan_run

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
    from muzero_wm.training import train

    try:
        train(config, run_dir, resume=args.resume)
    except KeyboardInterrupt as interrupt:
        what = "the run is saved" if getattr(interrupt, "saved", True) else "ended at once; the last checkpoint stands"
        print(f"{what}; go on with: muzero-wm train --resume --run-dir {run_dir}", file=sys.stderr)
        raise
    print(f"The run is in {run_dir}. Next: muzero-wm evaluate {run_dir}")


def _tell(line: str) -> None:
    """Prints a line, folded to what can be read."""
    print(textwrap.fill(line, 100, subsequent_indent="    "))


def _evaluate(args: argparse.Namespace) -> None:
    from muzero_wm.cli_reports import check_writable, print_evaluation, progress_bar, write_json

    folder = _run_folder(args.run)
    check_writable(args.json)
    from muzero_wm import agent
    from muzero_wm.evaluation import evaluate

    trained = agent.load(folder, args.checkpoint)
    with progress_bar("games") as progress:
        report = evaluate(
            trained,
            opponent=args.opponent,
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
    from muzero_wm.cli_play import play

    play(agent.load(folder), seat=args.seat, simulations=args.simulations)


def _doctor(args: argparse.Namespace) -> None:
    from muzero_wm.cli_reports import check_writable, write_json

    check_writable(args.json)
    from muzero_wm import doctor

    report = doctor.examine()
    doctor.show(report)
    write_json(args.json, report)
    if not report["healthy"]:
        raise SystemExit(BROKEN)


def _envs(args: argparse.Namespace) -> None:
    from muzero_wm.cli_reports import check_writable, environments, print_environments, write_json

    check_writable(args.json)
    rows = environments()
    print_environments(rows)
    write_json(args.json, rows)


def _check_env(args: argparse.Namespace) -> None:
    from muzero_wm.cli_check import run

    if not run(args):
        raise SystemExit(BROKEN)


def _bench(args: argparse.Namespace) -> None:
    from muzero_wm.cli_bench import run

    run(args)


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "train": _train,
    "evaluate": _evaluate,
    "play": _play,
    "envs": _envs,
    "check-env": _check_env,
    "doctor": _doctor,
    "bench": _bench,
}
_BENCHMARKS = {
    "search": (
        "time the tree search, alone or with --network",
        "muzero-wm bench search --only 64,82,200 --json s.json",
    ),
    "inference": ("time the network in every way it can run", "muzero-wm bench inference --batch 1 128"),
    "learner": ("time the updates of presets", "muzero-wm bench learner connect4 --seconds 20"),
}


def _parser() -> _Parser:
    parser = _Parser(
        prog="muzero-wm",
        description="Trains, evaluates and plays MuZero-style agents.",
        epilog="Start with:\n  muzero-wm train quickstart --run-dir runs/first\n  muzero-wm play runs/first",
    )
    parser.add_argument("--version", action="version", version=f"muzero-wm {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    train = _command(
        commands,
        "train",
        "train an agent",
        "muzero-wm train connect4 --seed 1 --max-minutes 5 --set search.num_simulations=50",
    )
    train.add_argument("source", nargs="?", metavar="PRESET|FILE", help="name of a preset, or a YAML file")
    train.add_argument("--env", metavar="ENV", help="environment; with it alone, the preset follows from it")
    train.add_argument("--run-dir", metavar="DIR", help="where the run is kept (default: runs/<name>-<n>)")
    train.add_argument("--resume", action="store_true", help="go on with the run in --run-dir")
    train.add_argument("--seed", type=_integer(0), metavar="N", help="seed of the run")
    train.add_argument("--max-minutes", type=float, metavar="M", help="stop after M minutes")
    train.add_argument("--max-updates", type=_integer(1), metavar="N", help="stop after N updates")
    train.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="a.b=VALUE", help="change settings, by their path"
    )

    evaluate = _command(
        commands,
        "evaluate",
        "measure an agent, against an opponent where there are two players",
        "muzero-wm evaluate runs/quickstart --opponent mcts:1000 --games 100 --json result.json",
    )
    _run_argument(evaluate)
    evaluate.add_argument("--opponent", metavar="O", help="random, perfect or mcts:N (rollouts with the true rules)")
    evaluate.add_argument(
        "--checkpoint",
        type=_checkpoint,
        default="last",
        metavar="C",
        help="last, best (by run.keep_best) or a number of updates (default: last)",
    )
    evaluate.add_argument("--games", type=_integer(1), default=100, metavar="N", help="games (default: 100)")
    _simulations_argument(evaluate)
    evaluate.add_argument("--seed", type=_integer(0), default=0, metavar="N", help="seed of the games (default: 0)")
    _json_argument(evaluate)

    play = _command(
        commands, "play", "play against an agent in the terminal", "muzero-wm play runs/quickstart --seat second"
    )
    _run_argument(play)
    play.add_argument("--seat", choices=("first", "second"), default="first", help="yours (default: first)")
    _simulations_argument(play)

    envs = _command(commands, "envs", "list the environments", "muzero-wm envs")
    _json_argument(envs)

    check = _command(
        commands,
        "check-env",
        "try an environment out before training, and say what is wrong with it",
        "muzero-wm check-env gym:CartPole-v1 --steps 2000",
    )
    check.add_argument("env", metavar="ENV", help="name of the environment, as for train --env")
    check.add_argument("--steps", type=_integer(1), default=500, metavar="N", help="random steps (default: 500)")
    check.add_argument("--seed", type=_integer(0), default=0, metavar="N", help="of actions and episodes (default: 0)")
    _json_argument(check)

    doctor = _command(
        commands,
        "doctor",
        "show what this machine offers and test the installation",
        "muzero-wm doctor --json doctor.json",
    )
    _json_argument(doctor)

    _bench_commands(_command(commands, "bench", "measure how fast this machine is", "muzero-wm bench search --network"))
    return parser


def _bench_commands(bench: _Parser) -> None:
    kinds = bench.add_subparsers(metavar="BENCHMARK", required=True)
    parsers: dict[str, _Parser] = {}
    for name, (what, example) in _BENCHMARKS.items():
        parsers[name] = kind = kinds.add_parser(
            name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=f"Example:\n  {example}"
        )
        kind.set_defaults(parser=kind, benchmark=name)
        kind.add_argument(
            "--seconds", type=_positive, default=1.0, metavar="S", help="for each measurement (default: 1)"
        )
        kind.add_argument("--threads", type=_integer(1), default=1, metavar="N", help="threads (default: 1)")
        kind.add_argument("--seed", type=_integer(0), default=0, metavar="N", help="of all numbers (default: 0)")
        _json_argument(kind)
    search = parsers["search"]
    search.add_argument("--only", type=_case, metavar="B,A,S", help="one case: roots, actions, simulations")
    search.add_argument(
        "--model", choices=("random", "constant", "both"), default="both", help="the free network (default: both)"
    )
    search.add_argument(
        "--network",
        nargs="*",
        type=_integer(1),
        metavar="B",
        help="with real networks instead, for B roots (default: 1 16 128)",
    )
    parsers["inference"].add_argument(
        "--batch", nargs="+", type=_integer(1), metavar="B", help="batch sizes (default: 1 16 128 256)"
    )
    learner = parsers["learner"]
    learner.add_argument("presets", nargs="*", metavar="PRESET", help="which (default: connect4 tictactoe)")
    learner.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="a.b=VALUE", help="change settings, by their path"
    )


def _command(commands: Any, name: str, what: str, example: str) -> _Parser:
    parser: _Parser = commands.add_parser(
        name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=f"Example:\n  {example}"
    )
    parser.set_defaults(command=_COMMANDS[name], parser=parser)
    return parser


def _run_argument(parser: _Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder")


def _simulations_argument(parser: _Parser) -> None:
    parser.add_argument(
        "--simulations", type=_integer(1), metavar="S", help="simulations per move (default: as it was trained)"
    )


def _json_argument(parser: _Parser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to FILE as well")


def _integer(low: int) -> Callable[[str], int]:
    """Returns a converter for integers >= low."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f"expected an integer >= {low}, got {text!r}")
        return value

    return convert


def _checkpoint(text: str) -> Any:
    """Returns which checkpoint was meant."""
    if text in ("last", "best") or (text.isdecimal() and len(text) <= 18):
        return text if text in ("last", "best") else int(text)
    raise argparse.ArgumentTypeError(f"expected last, best or a number of updates, got {text[:40]!r}")


def _positive(text: str) -> float:
    """Converts to a finite number > 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number > 0, got {text!r}")
    return value


def _case(text: str) -> tuple[int, int, int]:
    """Converts "roots,actions,simulations"."""
    parts = text.split(",")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"expected roots,actions,simulations like 64,82,200, got {text!r}")
    return int(parts[0]), int(parts[1]), int(parts[2])


def _run_folder(text: str) -> Path:
    """Returns the folder of an existing run."""
    from muzero_wm.run.folder import RunDirError

    folder = Path(text)
    if not (folder / "config.yaml").is_file():
        there = [str(path.parent) for path in Path("runs").glob("*/config.yaml")]
        reason = "has no config.yaml, so it is no run folder" if folder.exists() else "there is no such run"
        raise RunDirError(f"{text}: {reason}{did_you_mean(text, there)}")
    return folder


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Shows our own warnings in one line and leaves out those of libraries."""
    if category.__module__.startswith("muzero_wm"):
        print(f"muzero-wm: warning: {_shown(str(message))}", file=sys.stderr)


def _shown(text: str) -> str:
    """Returns what a stranger may have written as one line of bounded length that does nothing to a terminal."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 3 :]}"
