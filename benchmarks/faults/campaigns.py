"""Fault campaigns: does anything damaged or mistaken get past without a clear word?

    python benchmarks/faults/campaigns.py corrupt --variants 400 --json corrupt.json
    python benchmarks/faults/campaigns.py inputs --json inputs.json
    python benchmarks/faults/campaigns.py environments --json environments.json

Each prints its counts, names what went wrong, and ends with exit code 1 when anything did.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fault_corrupt
import fault_environments
import fault_inputs

from muzero_wm.bench.machine import describe

CAMPAIGNS: dict[
    str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], dict[str, Any]]]
] = {
    "corrupt": (fault_corrupt.add_arguments, fault_corrupt.run),
    "environments": (fault_environments.add_arguments, fault_environments.run),
    "inputs": (fault_inputs.add_arguments, fault_inputs.run),
}


def main() -> int:
    """Runs one campaign and prints its counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="campaign", required=True)
    for name, (add_arguments, _) in CAMPAIGNS.items():
        command = commands.add_parser(name)
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--json", type=Path, metavar="FILE")
        add_arguments(command)
    args = parser.parse_args()
    report = CAMPAIGNS[args.campaign][1](args)
    for name, value in report.items():
        print(f"{name}: {json.dumps(value) if isinstance(value, dict) else value}")
    if args.json:
        args.json.write_text(json.dumps({**report, "machine": describe()}, indent=2) + "\n")
    return 1 if report["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
