"""``muzero-wm agents``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from muzero_wm.cli.arguments import Command, CommandParser, json_argument


def _declare(parser: CommandParser) -> None:
    json_argument(parser)


def _run(args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from muzero_wm.agents import shipped
    from muzero_wm.cli.reports import check_writable, write_json

    check_writable(args.json)
    cards = [shipped.card(name) for name in shipped.names()]
    table = Table.grid(padding=(0, 3))
    table.add_column(no_wrap=True)
    for card in cards:
        table.add_row(Text(card["name"], "bold"), Text("\n".join(_lines(card))))
    console = Console(highlight=False)
    console.print(table)
    for name in shipped.names():
        if shipped.named(name) is None:
            console.print(shipped.which(name), markup=False)
    write_json(args.json, cards)


def _lines(card: Mapping[str, Any]) -> list[str]:
    """Returns what matters of a card, a line for each thing."""
    trained, weights = card["trained"], card["weights"]
    size = f"{weights['numbers']:,} weights, {weights['bytes'] / 1000:.0f} kB"
    lines = [
        f"plays {card['env']} with {card['simulations']} simulations a move ({card['network']}: {size})",
        f"{trained['updates']:,} updates, {trained['games']:,} games of itself, {trained['minutes']:g} minutes",
    ]
    for match in card["evaluated"]["matches"]:
        low, high = match["ci95"]
        points = f"{100 * match['score']:.0f} % of the points ({100 * low:.0f} to {100 * high:.0f})"
        lines.append(f"against {match['opponent']}: {points} of {match['games']} games")
    if (every := card["evaluated"]["exhaustive"]) is not None:
        lines.append(f"against every sequence of replies: {every['losses']} losses in {every['games']} games")
    return lines


COMMAND = Command("list the agents that come with the package", "muzero-wm agents", _declare, _run)
