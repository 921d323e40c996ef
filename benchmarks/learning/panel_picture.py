"""Draws the progress panel of a run as it stood at some moment, from its metrics.jsonl, as an SVG for the documents.

python benchmarks/learning/panel_picture.py runs/quickstart docs/panel-two.svg --at 0.6
"""

from __future__ import annotations

import argparse
import io
import json
import re
from pathlib import Path

from rich.console import Console

from muzero_wm.config.presets import load_config
from muzero_wm.run.panel import RunPanel


def main() -> None:
    """Reads the words of the command line and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("picture", type=Path, help="the SVG to write")
    parser.add_argument("--at", type=float, default=0.6, help="share of the budget used by then (default: 0.6)")
    parser.add_argument("--width", type=int, default=86, help="columns of the terminal (default: 86)")
    args = parser.parse_args()

    budget = load_config(args.run / "config.yaml").learning
    panel = RunPanel(f"{args.run}: {budget.max_minutes:g} minutes")
    for line in (args.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["fraction"] > args.at:
            break
        panel.update(row, {name: value for name, value in row.items() if "/" in name and value is not None})
    console = Console(width=args.width, record=True, file=io.StringIO(), force_terminal=True)
    console.print(panel)
    picture = console.export_svg(title="muzero-wm train", unique_id="panel")
    own_fonts = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)  # a document asks no other machine
    args.picture.write_text(own_fonts, encoding="utf-8")


if __name__ == "__main__":
    main()
