"""``muzero-wm gtp``."""

from __future__ import annotations

import argparse
import os
import sys

from muzero_wm.cli.arguments import Command, CommandParser, integer, run_argument, run_or_shipped, simulations_argument


def _declare(parser: CommandParser) -> None:
    run_argument(parser)
    simulations_argument(parser)
    parser.add_argument("--seed", type=integer(0), default=0, metavar="N", help="seed of the searches (default: 0)")


def _run(args: argparse.Namespace) -> None:
    word = run_or_shipped(args.run, lambda line: print(line, file=sys.stderr))
    # Standard output belongs to the protocol: what libraries print goes the way of complaints.
    sys.stdout.flush()
    protocol = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    from muzero_wm import agent
    from muzero_wm.evaluation.engines.server import GtpServer

    def write(answer: str) -> None:
        protocol.write(answer)
        protocol.flush()

    try:
        with open(sys.stdin.fileno(), encoding="utf-8", errors="replace", closefd=False) as commands:
            GtpServer(agent.load(word), args.simulations, args.seed).serve(commands, write)
    except BrokenPipeError:  # whoever asked has gone, and closing must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), protocol.fileno())
    finally:
        protocol.close()


COMMAND = Command(
    "let an agent of a board game play in a program that speaks GTP",
    "muzero-wm gtp runs/quickstart --simulations 100",
    _declare,
    _run,
)
