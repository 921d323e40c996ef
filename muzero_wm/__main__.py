"""Runs the command line: ``python -m muzero_wm``."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # `python -m` searches the current folder first; a torch.py in a stranger's run folder must not become ours. Only
    # the folder of a checkout stays, because the planner is found through it.
    if not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(os.path.abspath(__file__))):
        del sys.path[0]
    from muzero_wm.cli.main import main

    sys.exit(main())
