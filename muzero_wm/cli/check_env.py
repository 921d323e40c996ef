"""``muzero-wm check-env``."""

from __future__ import annotations

import argparse

from muzero_wm.cli.arguments import BROKEN, Command, CommandParser, integer, json_argument


def _declare(parser: CommandParser) -> None:
    parser.add_argument("env", metavar="ENV", help="name of the environment, as for train --env")
    parser.add_argument("--steps", type=integer(1), default=500, metavar="N", help="random steps (default: 500)")
    parser.add_argument("--seed", type=integer(0), default=0, metavar="N", help="of actions and episodes (default: 0)")
    json_argument(parser)


def _run(args: argparse.Namespace) -> None:
    from muzero_wm.cli.findings import examine, show
    from muzero_wm.cli.reports import check_writable, write_json

    check_writable(args.json)
    report = examine(args.env, args.steps, args.seed)
    show(report)
    write_json(args.json, report.to_dict())
    if report.of("error"):
        raise SystemExit(BROKEN)


COMMAND = Command(
    "try an environment out before training, and say what is wrong with it",
    "muzero-wm check-env gym:CartPole-v1 --steps 2000",
    _declare,
    _run,
)
