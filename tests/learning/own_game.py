"""A board game of a user: tic-tac-toe by another name."""

from __future__ import annotations

from muzero_wm.envs import board_game
from muzero_wm.envs.boards.board import BoardGame


def make() -> BoardGame:
    return board_game("tictactoe")
