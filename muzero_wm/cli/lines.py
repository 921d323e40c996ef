"""Lines that are printed: folded to what can be read, and harmless whoever wrote them."""

from __future__ import annotations

import shutil
import textwrap

_LONGEST = 800


def tell(line: str) -> None:
    """Prints a line, folded to what can be read, at once also into a pipe."""
    width = min(100, shutil.get_terminal_size((100, 24)).columns - 1)
    print(textwrap.fill(line, max(40, width), subsequent_indent="    "), flush=True)


def shown(text: str) -> str:
    """Returns what a stranger may have written as one line of bounded length that does nothing to a terminal."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 3 :]}"
