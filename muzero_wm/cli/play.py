"""``muzero-wm play``."""

from __future__ import annotations

import argparse

from muzero_wm.cli.arguments import Command, CommandParser, integer, run_argument, run_or_shipped


def _declare(parser: CommandParser) -> None:
    run_argument(parser)
    parser.add_argument("--seat", choices=("first", "second"), default="first", help="yours (default: first)")
    parser.add_argument(
        "--simulations",
        type=integer(1),
        metavar="S",
        help="of the agent, per move; fewer make it weaker (default: as it was trained)",
    )


def _run(args: argparse.Namespace) -> None:
    word = run_or_shipped(args.run)
    from muzero_wm import agent
    from muzero_wm.cli.game import play

    play(agent.load(word), seat=args.seat, simulations=args.simulations)


COMMAND = Command("play against an agent in the terminal", "muzero-wm play connect4 --seat second", _declare, _run)
