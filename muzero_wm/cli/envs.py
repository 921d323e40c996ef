"""``muzero-wm envs``."""

from __future__ import annotations

import argparse

from muzero_wm.cli.arguments import Command, CommandParser, json_argument


def _declare(parser: CommandParser) -> None:
    parser.add_argument("kind", metavar="KIND", nargs="?", choices=["ale"], help="ale: list the games of Atari")
    json_argument(parser)


def _run(args: argparse.Namespace) -> None:
    from muzero_wm.cli.reports import atari_games, check_writable, environments, print_environments, write_json

    check_writable(args.json)
    if args.kind == "ale":
        names = atari_games()
        print("\n".join(names))
        write_json(args.json, names)
        return
    rows = environments()
    print_environments(rows)
    write_json(args.json, rows)


COMMAND = Command("list the environments", "muzero-wm envs", _declare, _run)
