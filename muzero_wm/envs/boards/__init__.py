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
    SCORED,
    STATUS,
    STEP,
    UNIT,
    WON,
    kernel,
)
from muzero_wm.envs.boards.symmetries import (
    diagonal_symmetries,
    mirror_symmetries,
    rectangle_symmetries,
    square_symmetries,
)

__all__ = [
    "DRAWN",
    "IN_PLAY",
    "LEGAL",
    "LOST",
    "OBSERVE",
    "PLIES",
    "RESET",
    "SCORED",
    "STATUS",
    "STEP",
    "UNIT",
    "WON",
    "BoardEnv",
    "BoardGame",
    "diagonal_symmetries",
    "kernel",
    "mirror_symmetries",
    "rectangle_symmetries",
    "square_symmetries",
]
