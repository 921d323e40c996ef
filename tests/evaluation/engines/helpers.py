"""Words for the engines of these tests."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from muzero_wm.evaluation import engines

HERE = Path(__file__).parent
GO = "openspiel:go(board_size=5)"
NO_GNUGO = "GNU Go is not installed"


def toy(game: str, *fault: str) -> str:
    """Returns the word for the toy that plays a game of OpenSpiel."""
    return "gtp:" + shlex.join([sys.executable, str(HERE / "toy_gtp.py"), game, *fault])


def toy_uci() -> str:
    """Returns the word for the toy that plays Connect Four."""
    return "uci:" + shlex.join([sys.executable, str(HERE / "toy_uci.py")])


def has_gnugo() -> bool:
    """Returns whether GNU Go is there."""
    try:
        engines._command("gtp", "gtp:gnugo", "gnugo")
    except ValueError:
        return False
    return True
