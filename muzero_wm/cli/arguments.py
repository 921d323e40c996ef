"""The words of the command line: commands, their options, and what is said where they do not fit."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from muzero_wm import __version__
from muzero_wm.basis.errors import did_you_mean

MISTAKE = 2  # exit code
_LONGEST_LINE = 800

Command = Callable[[argparse.Namespace], None]


class CommandParser(argparse.ArgumentParser):
    """Reports mistakes in one line, with the nearest word that would have been right."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        """Exits with code 2."""
        if unknown := re.match(
            r"argument (COMMAND|BENCHMARK): invalid choice: '([^']*)' \(choose from (.*)\)", message
        ):
            known = re.findall(r"[\w-]+", unknown[3])
            message = f"unknown {unknown[1].lower()} {unknown[2]!r}{did_you_mean(unknown[2], known)}"
        elif unknown := re.match(r"unrecognized arguments: (-\S+)", message):
            message = f"unknown option {unknown[1]}{did_you_mean(unknown[1], self.known_options())}"
        self.exit(MISTAKE, f"{self.prog}: error: {shown(message)} (see {self.prog} --help)\n")

    def known_options(self) -> list[str]:
        """Returns the options of this command, such as "--seed"."""
        return list(self._option_string_actions)


_BENCHMARKS = {
    "search": (
        "time the tree search, alone or with --network",
        "muzero-wm bench search --only 64,82,200 --json s.json",
    ),
    "inference": ("time the network in every way it can run", "muzero-wm bench inference --batch 1 128"),
    "learner": ("time the updates of presets", "muzero-wm bench learner connect4 --seconds 20"),
}


def build_parser(commands: Mapping[str, Command]) -> CommandParser:
    """Returns the parser of the whole command line.

    Args:
        commands: what each command does.

    Returns:
        A parser whose results have `command`, what to call, and `parser`, the parser of that command. Where the words
        end before there is anything to do, `command` is None.
    """
    parser = CommandParser(
        prog="muzero-wm",
        description="Trains, evaluates and plays MuZero-style agents.",
        epilog="Start with:\n  muzero-wm train quickstart --run-dir runs/first\n  muzero-wm play runs/first",
    )
    parser.add_argument("--version", action="version", version=f"muzero-wm {__version__}")
    parser.set_defaults(command=None, parser=parser)
    words = parser.add_subparsers(metavar="COMMAND")

    def add(name: str, what: str, example: str) -> CommandParser:
        return _command(words, name, what, example, commands[name])

    train = add(
        "train",
        "train an agent",
        "muzero-wm train connect4 --seed 1 --max-minutes 5 --set search.num_simulations=50",
    )
    train.add_argument(
        "source", nargs="?", metavar="PRESET|FILE|ENV", help="name of a preset, a YAML file, or an environment"
    )
    train.add_argument("--env", metavar="ENV", help="environment; with it alone, the preset follows from it")
    train.add_argument("--run-dir", metavar="DIR", help="where the run is kept (default: runs/<name>-<n>)")
    train.add_argument("--resume", action="store_true", help="go on with the run in --run-dir")
    train.add_argument("--seed", type=_integer(0), metavar="N", help="seed of the run")
    train.add_argument("--max-minutes", type=float, metavar="M", help="stop after M minutes")
    train.add_argument("--max-updates", type=_integer(1), metavar="N", help="stop after N updates")
    train.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="a.b=VALUE", help="change settings, by their path"
    )

    evaluate = add(
        "evaluate",
        "measure an agent, against an opponent where there are two players",
        "muzero-wm evaluate runs/quickstart --opponent mcts:1000 --games 100 --json result.json",
    )
    _run_argument(evaluate)
    evaluate.add_argument(
        "--opponent",
        metavar="O",
        help="random, perfect or mcts:N with N playouts of the true rules (default: the strongest there is time for)",
    )
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

    play = add("play", "play against an agent in the terminal", "muzero-wm play runs/quickstart --seat second")
    _run_argument(play)
    play.add_argument("--seat", choices=("first", "second"), default="first", help="yours (default: first)")
    _simulations_argument(play)

    envs = add("envs", "list the environments", "muzero-wm envs")
    _json_argument(envs)

    check = add(
        "check-env",
        "try an environment out before training, and say what is wrong with it",
        "muzero-wm check-env gym:CartPole-v1 --steps 2000",
    )
    check.add_argument("env", metavar="ENV", help="name of the environment, as for train --env")
    check.add_argument("--steps", type=_integer(1), default=500, metavar="N", help="random steps (default: 500)")
    check.add_argument("--seed", type=_integer(0), default=0, metavar="N", help="of actions and episodes (default: 0)")
    _json_argument(check)

    doctor = add(
        "doctor",
        "show what this machine offers and test the installation",
        "muzero-wm doctor --json doctor.json",
    )
    _json_argument(doctor)

    _bench_commands(add("bench", "measure how fast this machine is", "muzero-wm bench search --network"))
    return parser


def _bench_commands(bench: CommandParser) -> None:
    command = bench.get_default("command")
    bench.set_defaults(command=None)  # nothing to do until a benchmark is named
    kinds = bench.add_subparsers(metavar="BENCHMARK")
    parsers: dict[str, CommandParser] = {}
    for name, (what, example) in _BENCHMARKS.items():
        parsers[name] = kind = kinds.add_parser(
            name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=f"Example:\n  {example}"
        )
        kind.set_defaults(command=command, parser=kind, benchmark=name)
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


def _command(words: Any, name: str, what: str, example: str, command: Command) -> CommandParser:
    parser: CommandParser = words.add_parser(
        name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=f"Example:\n  {example}"
    )
    parser.set_defaults(command=command, parser=parser)
    return parser


def _run_argument(parser: CommandParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder")


def _simulations_argument(parser: CommandParser) -> None:
    parser.add_argument(
        "--simulations", type=_integer(1), metavar="S", help="simulations per move (default: as it was trained)"
    )


def _json_argument(parser: CommandParser) -> None:
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


def shown(text: str) -> str:
    """Returns what a stranger may have written as one line of bounded length that does nothing to a terminal."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 3 :]}"
