"""Board games in lockstep: what a file of rules needs, and what plays many of them at once."""

from muzero_wm.envs.boards.board import BoardEnv, BoardGame
from muzero_wm.envs.boards.kernels import (
    DRAWN,
    IN_PLAY,
    LEGAL,
    LOST,
    OBSERVE,
    PLIES,
    RESET,
    STATUS,
    STEP,
    WON,
    kernel,
)
from muzero_wm.envs.boards.symmetries import mirror_symmetries, square_symmetries

__all__ = [
    "DRAWN",
    "IN_PLAY",
    "LEGAL",
    "LOST",
    "OBSERVE",
    "PLIES",
    "RESET",
    "STATUS",
    "STEP",
    "WON",
    "BoardEnv",
    "BoardGame",
    "kernel",
    "mirror_symmetries",
    "square_symmetries",
]
