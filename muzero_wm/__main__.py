"""Runs the command line: ``python -m muzero_wm``."""

from __future__ import annotations

import sys

from muzero_wm.cli import main

if __name__ == "__main__":
    sys.exit(main())
