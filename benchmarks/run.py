"""Repeats the quick measurements and writes what they print into RESULTS.md, each into its place.

    python benchmarks/run.py                     # all of them, some ten minutes
    python benchmarks/run.py frames learner      # these
    python benchmarks/run.py --list

A place in RESULTS.md begins with `<!-- run: NAME -->` and ends with `<!-- end -->`; what stands between them is
replaced by the command, the machine with its load and the date, and the output. Nothing is written for a command that
fails. Let nothing else run meanwhile: the load that stands beside every figure says whether somebody did.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from muzero_wm.bench.machine import describe

RESULTS = Path(__file__).parent / "RESULTS.md"
QUICK = {
    "search": "muzero-wm bench search --only 256,18,50 --seconds 3",
    "search-network": "muzero-wm bench search --network 16 128 --seconds 3",
    "inference": "muzero-wm bench inference --batch 1 128 --seconds 1",
    "learner": "muzero-wm bench learner --seconds 10",
    "atari": "muzero-wm bench atari Boxing --preset atari-cpu --seconds 10",
    "images": "python benchmarks/speed/images.py --shapes 4x48x48 4x96x96 --widths 32",
    "frames": "python benchmarks/speed/frames.py synthetic",
    "environments": "python benchmarks/speed/env_speed.py",
}


def measure(command: str) -> str:
    """Returns what a command prints.

    Raises:
        SystemExit: it fails.
    """
    program, *arguments = command.split()
    begin = [sys.executable] if program == "python" else [sys.executable, "-m", "muzero_wm"]
    environment = os.environ | {"COLUMNS": "150", "TERM": "dumb"}
    done = subprocess.run([*begin, *arguments], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{command}: ended with {done.returncode}\n{done.stderr.strip()[-2000:]}")
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def put(text: str, name: str, content: str) -> str:
    """Returns a text with other content in the place of a name.

    Raises:
        SystemExit: it has no such place, or more than one.
    """
    place = re.compile(rf"(<!-- run: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if len(place.findall(text)) != 1:
        raise SystemExit(f"{RESULTS.name}: expected one place <!-- run: {name} --> ... <!-- end -->")
    return place.sub(lambda found: found[1] + content + found[2], text)


def main() -> None:
    """Measures, one after the other, and writes after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(QUICK)} (default: all)")
    parser.add_argument("--list", action="store_true", help="say what would be run")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="where to write")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in QUICK]:
        parser.error(f"unknown: {', '.join(unknown)} (known: {', '.join(QUICK)})")
    for name in args.names or QUICK:
        print(f"{name}: {QUICK[name]}", flush=True)
        if args.list:
            continue
        put(args.results.read_text(encoding="utf-8"), name, "")  # there is a place for it
        load = f"load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else "load not known"
        found = f"`{QUICK[name]}`; {describe()}; {load}\n\n```text\n{measure(QUICK[name])}\n```\n"
        args.results.write_text(put(args.results.read_text(encoding="utf-8"), name, found), encoding="utf-8")


if __name__ == "__main__":
    main()
