"""``muzero-wm play``."""

from __future__ import annotations

import argparse

from muzero_wm.cli.arguments import Command, CommandParser, run_argument, run_folder, simulations_argument


def _declare(parser: CommandParser) -> None:
    run_argument(parser)
    parser.add_argument("--seat", choices=("first", "second"), default="first", help="yours (default: first)")
    simulations_argument(parser)


def _run(args: argparse.Namespace) -> None:
    folder = run_folder(args.run)
    from muzero_wm import agent
    from muzero_wm.cli.game import play

    play(agent.load(folder), seat=args.seat, simulations=args.simulations)


COMMAND = Command(
    "play against an agent in the terminal", "muzero-wm play runs/quickstart --seat second", _declare, _run
)
