"""What the commands that report numbers print and write."""

from __future__ import annotations

import importlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from muzero_wm.basis.errors import UserError
from muzero_wm.cli.lines import shown
from muzero_wm.storage.files import why_not_writable

_MOST_REASONS = 5


class OutputError(UserError):
    """Names the file that cannot be written, and why."""


def check_writable(path: Path | None) -> None:
    """Checks that a report can be written, before the work that fills it.

    Args:
        path: where to; None when no file was asked for.

    Raises:
        OutputError: its folder is not there or takes no files, or the path is a folder.
    """
    if path is not None and path.is_dir():
        raise OutputError(f"--json {path}: expected a file, got a folder")
    if path is not None and not path.parent.is_dir():
        raise OutputError(f"--json {path}: the folder {path.parent} is not there")
    if path is not None and (reason := why_not_writable(path.parent)):
        raise OutputError(f"--json {path}: the folder {path.parent} cannot be written to: {reason}")


def write_json(path: Path | None, report: Any) -> None:
    """Writes a report whole or not at all; does nothing when path is None.

    Args:
        path: the file.
        report: nested dicts and lists of plain or NumPy values.

    Raises:
        OutputError: the file cannot be written.
    """
    if path is None:
        return
    text = json.dumps(report, indent=2, default=lambda value: value.tolist())
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"--json {path}: cannot be written: {error.strerror}") from None


@contextmanager
def progress_bar(
    what: str, calls: str | None = None, console: Console | None = None
) -> Iterator[Callable[[int, int], None]]:
    """Shows a progress bar on a terminal, and nothing elsewhere.

    Args:
        what: what is counted.
        calls: what every call stands for; counted too, where `what` alone would stand still: games that are played side
            by side end at about the same time.
        console: standard output when None.

    Yields:
        A function to call with (done, total).
    """
    console = console or Console()
    text = f"{what}, {{task.fields[calls]}} {calls}" if calls else what
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(text), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, calls=0)
        numbers = itertools.count(1)
        yield lambda done, total: bar.update(task, completed=done, total=total, calls=next(numbers))


def print_evaluation(report: Mapping[str, Any]) -> None:
    """Prints what `evaluate` returned: one row for each set of games in it."""
    console = Console(highlight=False)
    title = f"{report['env']}, {report['games']} games, {report['simulations']} simulations, seed {report['seed']}"
    console.print(title, style="italic", markup=False)  # not the table's: it would be folded to its width
    console.print()
    if "mean_return" in report:
        scaled = "human_normalised" in report
        more = ("human-normalised", "95 % interval") if scaled else ()
        table = Table("", "return", "95 % interval", *more, box=box.SIMPLE_HEAD, show_edge=False)
        for name, part in _parts(report, "mean_return"):
            numbers = [f"{part['mean_return']:.2f}", _interval(part.get("ci95"), "{:.2f}")]
            if scaled:
                scale = part["human_normalised"]
                numbers += [f"{scale['score']:.3f}", _interval(scale["ci95"], "{:.3f}")]
            table.add_row(name, *numbers)
    else:
        columns = (f"against {report['opponent']}", "wins", "draws", "losses", "score", "95 % interval")
        table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False)
        for name, part in _parts(report, "wins"):
            counts = [str(part[key]) for key in ("wins", "draws", "losses")]
            score = f"{part['score']:.1%}" if "score" in part else ""
            table.add_row(name, *counts, score, _interval(part.get("ci95"), "{:.1%}"))
    console.print(table)
    for line in _doubts(report):
        console.print(line, markup=False)
    if (exhaustive := report.get("exhaustive")) is not None:
        console.print()
        console.print(
            f"Against every sequence of replies, both seats: {exhaustive['losses']} losses in "
            f"{exhaustive['games']:,} games."
        )


def _doubts(report: Mapping[str, Any]) -> Iterator[str]:
    """Yields what must be known to read the numbers of a report, one sentence each."""
    games, distinct = report["games"], report.get("distinct_games", report["games"])
    if report.get("opening_plies"):
        yield f"Each pair of games begins with the same {report['opening_plies']} random moves."
    if distinct < games:
        yield f"{distinct} of the {games} searched games are distinct; the interval is that of so many."
    if report.get("cut"):
        yield f"{report['cut']} of the {games} searched games were cut before their end."
    for what, part in (("searched", report), ("raw policy's", report.get("raw_policy", {}))):
        reasons = Counter((each["by"], each["reason"]) for each in part.get("forfeits", ()))
        for (who, reason), count in reasons.most_common(_MOST_REASONS):
            yield f"{count} of the {games} {what} games were given up by the {who}: {shown(reason)}."
        if (more := len(reasons) - _MOST_REASONS) > 0:
            yield f"{more} more reasons for which {what} games were given up are in the report of --json."


def environments() -> list[dict[str, Any]]:
    """Returns one row for each built-in environment."""
    from muzero_wm import envs
    from muzero_wm.envs import games
    from muzero_wm.envs.registry import game_options

    rows: list[dict[str, Any]] = []
    for name in envs.names():
        spec, options = envs.spec(name), game_options(name)
        about = importlib.import_module(f"{games.__name__}.{name}").__doc__ or ""
        rows.append(
            {
                "env": name,
                "players": spec.num_players,
                "observation": list(spec.observation_shape),
                "actions": spec.num_actions,
                "longest_episode": spec.max_episode_steps,
                "options": {
                    key: {"default": option.default, "values": option.values, "about": option.about}
                    for key, option in options.items()
                },
                "about": " ".join(about.split("\n\n")[0].split()),
            }
        )
    return rows


_KINDS = {
    "gym:ID": ("1 or 2", "Gymnasium's: gym:CartPole-v1"),
    "openspiel:GAME": ("1 or 2", 'OpenSpiel\'s: "openspiel:hex(board_size=5)"'),
    "pettingzoo:ID": ("2", "PettingZoo's: pettingzoo:classic/connect_four_v3"),
    "minatar:GAME": ("1", "MinAtar's: minatar:breakout"),
    "ale:GAME": ("1", "Atari's, by the 100k protocol: ale:MsPacman"),
    "package.module:factory": ("1 or 2", "your own: see docs/custom-environment.md"),
}


def atari_games() -> list[str]:
    """Returns the names of all games of Atari.

    Raises:
        EnvError: ale-py is not installed.
    """
    from muzero_wm.envs.adapters.atari import games, gymnasium_name

    return [f"ale:{gymnasium_name(game)}" for game in games()]


def _how_many_of_atari() -> str:
    try:
        return f"; {len(atari_games())} games, listed by muzero-wm envs ale"
    except UserError:
        return '; pip install "muzero-wm[atari]"'


def print_environments(rows: list[dict[str, Any]]) -> None:
    """Prints the table of environments."""
    from muzero_wm.envs.registry import KINDS

    table = Table.grid(padding=(0, 3))
    table.add_column(no_wrap=True)
    for row in rows:
        shape = " x ".join(map(str, row["observation"]))
        about = f"{_players(row['players'])}, observation {shape}, {row['actions']} actions\n{row['about']}"
        for key, option in row["options"].items():
            default = str(option["default"]).lower()
            about += f"\n{key}={default}: {option['about']}, {option['values']}"
        table.add_row(Text(row["env"], "bold"), Text(about))
    for kind in KINDS:
        players, about = _KINDS[kind]
        about += _how_many_of_atari() if kind == "ale:GAME" else ""
        table.add_row(Text(kind, "bold"), Text(f"{_players(players)}\n{about}"))
    Console(highlight=False).print(table)


def _players(count: object) -> str:
    return f"{count} player{'' if str(count) == '1' else 's'}"


def _parts(report: Mapping[str, Any], key: str, name: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields every set of games in a report with the path to it."""
    if key in report:
        yield name.replace("_", " ") or "all games", report
    for child, value in report.items():
        if isinstance(value, Mapping) and child != "exhaustive":
            yield from _parts(value, key, ", ".join(part for part in (name, str(child)) if part not in ("", "seats")))


def _interval(bounds: Any, form: str) -> str:
    """Returns a confidence interval given as (low, high) or as a half-width."""
    if bounds is None:
        return ""
    if isinstance(bounds, int | float):
        return "± " + form.format(bounds)
    low, high = bounds
    return f"{form.format(low)} to {form.format(high)}"
