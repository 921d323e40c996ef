"""The words of the command line: commands, options that several have, and what is said where they do not fit."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from muzero_wm import __version__
from muzero_wm.basis.errors import did_you_mean
from muzero_wm.cli.lines import shown, tell

OK, BROKEN, MISTAKE = 0, 1, 2
"""Exit codes."""


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


class Command(NamedTuple):
    """One command.

    Attributes:
        what: it does, in a few words.
        example: of a call.
        declare: adds its arguments to its parser.
        run: does it; called with what was parsed.
    """

    what: str
    example: str
    declare: Callable[[CommandParser], None]
    run: Callable[[argparse.Namespace], None]


def build_parser(commands: Mapping[str, Command]) -> CommandParser:
    """Returns the parser of the whole command line.

    Args:
        commands: by name.

    Returns:
        A parser whose results have `command`, what to call, and `parser`, the parser of that command. Where the words
        end before there is anything to do, `command` is None.
    """
    parser = CommandParser(
        prog="muzero-wm",
        description="Trains, evaluates and plays MuZero-style agents.",
        epilog="Start with:\n  muzero-wm play connect4\n  muzero-wm train quickstart --run-dir runs/first",
    )
    parser.add_argument("--version", action="version", version=f"muzero-wm {__version__}")
    parser.set_defaults(command=None, parser=parser)
    words = parser.add_subparsers(metavar="COMMAND")
    for name, command in commands.items():
        below = add_parser(words, name, command.what, command.example)
        below.set_defaults(command=command.run)
        command.declare(below)
    return parser


def add_parser(words: Any, name: str, what: str, example: str) -> CommandParser:
    """Adds a word with a parser of its own and returns that.

    Args:
        words: of `add_subparsers`.
        name: the word.
        what: it does.
        example: of a call.
    """
    parser: CommandParser = words.add_parser(
        name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=f"Example:\n  {example}"
    )
    parser.set_defaults(parser=parser)
    return parser


def run_argument(parser: CommandParser) -> None:
    """Adds the run that a command is about."""
    parser.add_argument(
        "run",
        metavar="RUN",
        help="a run folder, one with the two files of an agent, or a shipped agent such as connect4 (`muzero-wm "
        "agents` lists them); a folder wins, ./connect4 is always one and shipped:connect4 never",
    )


def run_or_shipped(text: str, say: Callable[[str], None] = tell) -> str | Path:
    """Returns what `load` takes for the run that a person named, and says what was taken where that could be two.

    Args:
        text: a run folder, or a shipped agent.
        say: called with that line.

    Raises:
        RunDirError: it is neither.
    """
    from muzero_wm.agents import shipped

    if line := shipped.which(text):
        say(line)
    if (name := shipped.named(text)) is not None:
        return shipped.PREFIX + name
    return run_folder(text)


def run_folder(text: str) -> Path:
    """Returns the folder of an existing run.

    Raises:
        RunDirError: there is none.
    """
    from muzero_wm.agents import shipped
    from muzero_wm.storage.folder import RunDirError

    folder = Path(text)
    if folder.is_file():
        raise RunDirError(f"{text}: is a file, expected the folder of a run or of an agent")
    if not shipped.is_run(folder):
        found = re.fullmatch(r"(.+?)([@:])(\w+)", text)
        if found is not None and (name := shipped.named(found[1])) is not None:
            if found[2] == "@":
                raise RunDirError(shipped.without_a_run(name, "no checkpoints"))
            raise RunDirError(f"{text}: simulations are an option here: {found[1]} --simulations {found[3]}")
        there = [str(path.parent) for path in Path("runs").glob("*/config.yaml")]
        reason = (
            "has no config.yaml and no model.json, so it is neither run nor agent"
            if folder.exists()
            else "there is no such run"
        )
        raise RunDirError(f"{text}: {reason}{shipped.hint(text, there)}")
    return folder


def simulations_argument(parser: CommandParser) -> None:
    """Adds how much is searched."""
    parser.add_argument(
        "--simulations", type=integer(1), metavar="S", help="simulations per move (default: as it was trained)"
    )


def device_argument(parser: CommandParser) -> None:
    """Adds where networks compute."""
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N (default: auto)")


def settings_argument(parser: CommandParser) -> None:
    """Adds settings that are changed."""
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="a.b=VALUE", help="change settings, by their path"
    )


def json_argument(parser: CommandParser) -> None:
    """Adds the file that numbers are written to."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to FILE as well")


def integer(low: int) -> Callable[[str], int]:
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
