"""``muzero-wm envs``."""

from __future__ import annotations

import argparse

from muzero_wm.cli.arguments import Command, json_argument


def _run(args: argparse.Namespace) -> None:
    from muzero_wm.cli.reports import check_writable, environments, print_environments, write_json

    check_writable(args.json)
    rows = environments()
    print_environments(rows)
    write_json(args.json, rows)


COMMAND = Command("list the environments", "muzero-wm envs", json_argument, _run)
