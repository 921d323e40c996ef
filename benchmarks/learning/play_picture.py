"""Draws what `muzero-wm play` shows in the middle of a game, as an SVG for the documents.

python benchmarks/learning/play_picture.py shipped:connect4 docs/play.svg --typed 4 4 3 "h 3"
"""

from __future__ import annotations

import argparse
import io
import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME

import muzero_wm
from muzero_wm.cli.game import play


def main() -> None:
    """Reads the words of the command line and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run folder or a shipped agent")
    parser.add_argument("picture", type=Path, help="the SVG to write")
    parser.add_argument("--typed", nargs="+", default=[], metavar="WORD", help="what the person types")
    parser.add_argument("--last", type=int, default=2, help="of what is typed, whose answers are shown (default: 2)")
    parser.add_argument("--width", type=int, default=84, help="columns of the terminal (default: 84)")
    parser.add_argument("--light", action="store_true", help="on a light ground")
    args = parser.parse_args()

    screen = {"force_terminal": True, "force_interactive": False, "highlight": False}
    console = Console(width=args.width, record=True, file=io.StringIO(), **screen)
    waiting = list(args.typed)

    def ask(prompt: str) -> str:
        if not waiting:
            raise EOFError
        if len(waiting) == args.last:
            console.export_text(clear=True)  # forgets what was shown so far
        if len(waiting) < args.last:
            console.print(f"{prompt}{waiting[0]}")
        return waiting.pop(0)

    play(muzero_wm.load(args.run), console=console, ask=ask)
    theme = DEFAULT_TERMINAL_THEME if args.light else SVG_EXPORT_THEME
    picture = console.export_svg(title="muzero-wm play", unique_id="play", theme=theme)
    own_fonts = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)  # a document asks no other machine
    args.picture.write_text(own_fonts, encoding="utf-8")


if __name__ == "__main__":
    main()
