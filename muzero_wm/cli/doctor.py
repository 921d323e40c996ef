"""``muzero-wm doctor``."""

from __future__ import annotations

import argparse

from muzero_wm.cli.arguments import BROKEN, Command, json_argument


def _run(args: argparse.Namespace) -> None:
    from muzero_wm.cli.reports import check_writable, write_json

    check_writable(args.json)
    from muzero_wm.cli.examination import examine, show

    report = examine()
    show(report)
    write_json(args.json, report)
    if not report["healthy"]:
        raise SystemExit(BROKEN)


COMMAND = Command(
    "show what this machine offers and test the installation",
    "muzero-wm doctor --json doctor.json",
    json_argument,
    _run,
)
