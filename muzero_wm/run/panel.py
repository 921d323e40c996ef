"""What a run shows of itself: a panel for a terminal, and the same in one line for a pipe or a file."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

RETURN, SCORE, DRAWS, LENGTH = "episode/return", "episode/first_player_score", "episode/draws", "episode/length"
EVALUATED = {"evaluation/return": "{:,.4g}", "evaluation/score": "{:.0%}"}

_COUNTS = (
    ("updates", "updates_per_second", "/s"),
    ("steps", "positions_per_second", "/s"),
    ("games", "games_per_minute", "/min"),
)
_WIDEST = 112
_MARGIN = 5  # columns: what a terminal echoes of two Ctrl-C must not break the last line
_POINTS = 14
_BARS, _PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.:-=+*#"


class History:
    """A number over the whole run in a few points: neighbours are averaged whenever there are too many."""

    def __init__(self) -> None:
        """Holds nothing yet."""
        self._points: list[float] = []
        self._open: list[float] = []  # of the point to come
        self._each = 1

    def add(self, value: float) -> None:
        """Takes in the next value; what is not finite is left out."""
        if not math.isfinite(value):
            return
        self._open.append(value)
        if len(self._open) < self._each:
            return
        self._points.append(math.fsum(self._open) / len(self._open))
        self._open.clear()
        if len(self._points) == 2 * _POINTS:
            self._points = [(a + b) / 2.0 for a, b in zip(self._points[::2], self._points[1::2], strict=True)]
            self._each *= 2

    def bars(self, plain: bool = False) -> str:
        """Returns the last points as a row of bars, "" for fewer than two; the lowest is the emptiest.

        Args:
            plain: use ASCII only.
        """
        points, bars = self._points[-_POINTS:], _PLAIN_BARS if plain else _BARS
        if len(points) < 2:
            return ""
        low, high = min(points), max(points)
        scale = (len(bars) - 1) / (high - low) if high > low else 0.0
        return "".join(bars[round((point - low) * scale)] for point in points)


class RunPanel:
    """Draws what was last logged of a run; something `rich` can print.

    Args:
        title: the run and its budget.

    Attributes:
        notice: a line that stands at the end, "" for none; may be set by a signal handler.
    """

    def __init__(self, title: str) -> None:
        """Knows nothing of the run yet."""
        self.notice = ""
        self._title = title
        self._row: Mapping[str, float] = {}
        self._metrics: dict[str, float] = {}
        self._histories = {name: History() for name in (RETURN, *EVALUATED)}
        self._since = time.monotonic()

    def update(self, row: Mapping[str, float], metrics: Mapping[str, float]) -> None:
        """Takes in what was logged.

        Args:
            row: counts, speeds, elapsed and fraction, as in metrics.jsonl.
            metrics: the rest; a name that is absent this time keeps its number.
        """
        self._row, self._since = row, time.monotonic()
        self._metrics = {**self._metrics, **metrics}  # a new one: another thread may be drawing the old
        for name, history in self._histories.items():
            if name in metrics:
                history.add(metrics[name])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws the panel, with the time that has passed since the last line was logged."""
        width = max(20, min(options.max_width - _MARGIN, _WIDEST))
        parts: list[RenderableType] = [self._budget(width - 4)]
        if self._row:
            counts, play, losses = self._counts(), self._play(options.ascii_only), _losses(self._metrics)
            three, two = _beside(counts, play, losses), _beside(Group(counts, Text(), play), losses)
            room = options.update(max_width=10 * _WIDEST)
            fitting = (body for body in (three, two) if Measurement.get(console, room, body).maximum <= width - 4)
            parts += [Text(), next(fitting, Group(counts, Text(), play, Text(), losses))]
        if self.notice:
            parts += [Text(), Text(self.notice, "bold yellow")]
        yield Panel(Group(*parts), title=Text(_end_of(self._title, width - 6), "bold"), title_align="left", width=width)

    def _budget(self, width: int) -> RenderableType:
        waited = time.monotonic() - self._since
        if not self._row:
            return Text(f"acting starts, then the first round is played ({clock(waited)})")
        fraction = self._row["fraction"]
        text = f"{fraction:4.0%}  {time_left(self._row, waited)}"
        line = Table.grid(padding=(0, 2))
        line.add_row(ProgressBar(total=1.0, completed=fraction, width=max(4, width - len(text) - 2)), text)
        return line

    def _counts(self) -> Table:
        table = _section("", "so far", "speed")
        for name, speed, unit in _COUNTS:
            table.add_row(name, f"{self._row[name]:,.0f}", f"{self._row[speed]:,.0f} {unit}")
        return table

    def _play(self, plain: bool) -> Table:
        numbers = play_numbers(self._metrics)
        table = _section("", "last 100" if numbers else "", "")
        for label, value, name in numbers:
            table.add_row(label, value, self._histories[name].bars(plain) if name in self._histories else "")
        return table


def _end_of(title: str, room: int) -> str:
    """Returns the end of a title, which names run and budget; one that is longer than its panel would break it."""
    shown = title
    while cell_len(shown) > room:
        title = title[1:]
        shown = f"…{title}"
    return shown


def _beside(*parts: RenderableType) -> Table:
    table = Table.grid(padding=(0, 4))
    table.add_row(*parts)
    return table


def _losses(metrics: Mapping[str, float]) -> Table:
    """Returns the metrics called "loss/...", the sum first."""
    table = _section("loss", "last round")
    losses = {name.removeprefix("loss/"): value for name, value in metrics.items() if name.startswith("loss/")}
    for name in sorted(losses, key=lambda name: name != "total"):
        table.add_row(name.replace("_", " "), f"{losses[name]:.4f}")
    return table


def _section(*head: str) -> Table:
    """Returns a table whose words are never broken: names to the left, what has a heading of its own to the right."""
    table = Table.grid(padding=(0, 2))
    for i, word in enumerate(head):
        table.add_column(justify="right" if i and word else "left", no_wrap=True)
    table.add_row(*(Text(word, "dim") for word in head))
    return table


def play_numbers(metrics: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """Returns what is known of how well is played: label, number, name of the metric.

    Args:
        metrics: the last of each name; those of one player know a return, those of two a first player's score.
    """
    forms = (
        (RETURN, "return", "{:,.4g}"),
        (SCORE, "first player", "{:.0%}"),
        (DRAWS, "draws", "{:.0%}"),
        (LENGTH, "length", "{:,.1f}"),
        *((name, "evaluation", form) for name, form in EVALUATED.items()),
    )
    return [(label, form.format(metrics[name]), name) for name, label, form in forms if name in metrics]


def plain_line(row: Mapping[str, float], metrics: Mapping[str, float]) -> str:
    """Returns one line for where no panel can be drawn; see `RunPanel.update` for the arguments."""
    counts = (f"{row[name]:.0f} {name} ({row[speed]:.0f}{unit})" for name, speed, unit in _COUNTS)
    play = (f"{label} {value}" for label, value, _ in play_numbers(metrics))
    losses = (f"{name.removeprefix('loss/')} {x:.3f}" for name, x in metrics.items() if name.startswith("loss/"))
    return "  ".join((f"{row['fraction']:4.0%}", time_left(row), *counts, *play, *losses))


def time_left(row: Mapping[str, float], waited: float = 0.0) -> str:
    """Returns how long the run will go on if its budget is used up as fast as so far.

    Args:
        row: elapsed seconds and the fraction of the budget they used.
        waited: seconds since.
    """
    if row["fraction"] >= 1.0:
        return f"done in {clock(row['elapsed'])}"
    if row["fraction"] <= 0.0:
        return "? left"
    return f"{clock(max(0.0, row['elapsed'] * (1.0 / row['fraction'] - 1.0) - waited))} left"


def clock(seconds: float) -> str:
    """Returns seconds as m:ss or h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
