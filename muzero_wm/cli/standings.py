"""What ``muzero-wm arena`` prints."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from muzero_wm.cli.lines import shown
from muzero_wm.evaluation.ratings.bradley_terry import PRIOR
from muzero_wm.evaluation.ratings.result import ArenaResult

_COLUMN = 6  # characters of a player's column in the cross table
_ROOM = 72  # columns of a terminal, for all of the first table


def print_arena(result: ArenaResult, console: Console | None = None) -> None:
    """Prints ratings, who beat whom, and what must be known to read them.

    Args:
        result: of an arena.
        console: standard output when None.
    """
    console = console or Console(highlight=False)
    title = f"{result.env}, {result.games} games, {result.opening_plies} random moves before each pair, "
    console.print(f"{title}seed {result.seed}", style="italic", markup=False)
    console.print()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("")
    table.add_column("player", overflow="fold")
    names = ["rating", "95 % interval", "games", "score", "ahead of next"]
    if console.width < _ROOM:
        names.pop()
    for name in names:
        table.add_column(name.replace("ahead of ", "ahead of\n"), justify="right", no_wrap=True)
    for number, each in enumerate(result.players, start=1):
        numbers = [
            f"{each.rating:.0f}",
            f"{each.low:.0f} to {each.high:.0f}",
            str(each.games),
            f"{each.score:.1%}",
            "" if each.ahead is None else f"{each.ahead:.1%}",
        ]
        table.add_row(str(number), shown(each.name), *numbers[: len(names)])
    console.print(table)
    console.print()
    fitting = (console.width - 8) // _COLUMN
    if len(result.players) <= fitting:
        console.print(_cross_table(result))
        console.print()
    else:
        console.print(f"Who beat whom is in --json FILE: {len(result.players)} columns do not fit here.")
    for line in _remarks(result):
        console.print(line, markup=False)


def _cross_table(result: ArenaResult) -> Table:
    """Returns the score of each player in per cent against each other one."""
    scores = {}
    for met in result.met:
        scores[met.first, met.second] = met.score
        scores[met.second, met.first] = 1.0 - met.score
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("in %")
    for number, _ in enumerate(result.players, start=1):
        table.add_column(str(number), justify="right", no_wrap=True)
    for number, one in enumerate(result.players, start=1):
        cells = (
            f"{100 * scores[pair]:.0f}" if (pair := (one.name, other.name)) in scores else ""
            for other in result.players
        )
        table.add_row(str(number), *cells)
    return table


def _remarks(result: ArenaResult) -> Iterator[str]:
    """Yields what must be known to read the numbers, one sentence each."""
    yield (
        f"Ratings are Elo points, {shown(result.anchor)} at 0. Assumed beforehand: one more pair of games for each "
        f"player, its result open, and a spread of {PRIOR:.0f} points."
    )
    for each in result.players:
        if each.score in (0.0, 1.0):
            what, end = ("won", "upper") if each.score else ("lost", "lower")
            yield f"{shown(each.name)} {what} every game: the {end} end of its interval is what was assumed beforehand."
    pairs, distinct = sum(sum(met.pairs) for met in result.met), sum(met.distinct for met in result.met)
    if distinct < pairs:
        yield f"{pairs - distinct} of {pairs} pairs of games repeat others move by move; they count as none."
    if cut := sum(met.cut for met in result.met):
        yield f"{cut} games reached the limit of moves and count as drawn."
    forfeits = [forfeit for met in result.met for forfeit in met.forfeits]
    for name in sorted({forfeit["by"] for forfeit in forfeits}):
        reasons = [forfeit["reason"] for forfeit in forfeits if forfeit["by"] == name]
        yield f"{shown(name)} gave up {len(reasons)} games, the first one: {shown(reasons[0])}"
    if result.until_interval is not None:
        widest = max(each.high - each.low for each in result.players)
        reached = "no interval is wider" if widest <= result.until_interval else "not reached, --games allows no more"
        yield f"Asked for intervals of {result.until_interval:g} points: {reached} (the widest: {widest:.0f})."
    if (test := result.sprt) is not None:
        bounds = " to ".join(f"{bound:.2f}" for bound in test.bounds)
        ratio = f"(log-likelihood ratio {test.ratio:.2f}, it ends at {bounds})"
        likelier, other = (test.elo1, test.elo0) if test.accepted == "elo1" else (test.elo0, test.elo1)
        if test.accepted is None:
            open_ = f"Whether {shown(test.first)} is stronger by {test.elo0:g} or by {test.elo1:g} points"
            yield f"{open_} is undecided, --games allows no more {ratio}."
        else:
            yield f"{shown(test.first)} is stronger by {likelier:g} points rather than {other:g} {ratio}."
    if result.played:
        speed = result.played / max(result.seconds, 1e-9)
        yield f"{result.played} moves in {result.seconds:.1f} s, {speed:.0f} a second."
    if found := sum(met.moves for met in result.met) - result.played:
        yield f"{found} moves were played before, and found in the file of finished games."
