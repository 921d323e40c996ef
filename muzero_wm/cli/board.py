"""A board as text: stones, coordinates, the last move, what has won, and hints.

What is marked is marked by signs as well as by colour, so that nothing is lost where there is none: (X) is the last
move, [X] has won, a number is a hint. On large boards cells share the places of these marks: [X X] have won both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from muzero_wm.basis.errors import UserError
from muzero_wm.envs.boards.board import BoardGame
from muzero_wm.evaluation.engines.notation import BoardNotation, Notation, notation_of

Cell = tuple[int, int]
STYLES = ("", "bold #d75f00", "bold #0087ff")
"""Of an empty cell, of the first player's stones and of the second's; both can be read on dark and on light."""
_HINT, _WON, _FAINT = "bold green", "reverse", "dim"
_CLOSING = {" ": " ", "(": ")", "[": "]"}
_MOST_LETTERS = 25
_LARGEST_GRID = 8
_FEW_ACTIONS = 9


@dataclass(frozen=True)
class Signs:
    """What stands for what.

    Attributes:
        stones: an empty cell, a stone of the first player and one of the second.
        corners: of a grid, for its top, a line in between and its bottom: left, middle, right.
        across: along these lines.
        upright: between cells.
        steps: of a small curve, from low to high.
        bar: the full and the empty part of a bar.
    """

    stones: str
    corners: tuple[str, str, str]
    across: str
    upright: str
    steps: str
    bar: str


_UNICODE = Signs("·●○", ("┌┬┐", "├┼┤", "└┴┘"), "─", "│", "▁▂▃▄▅▆▇█", "█░")
_ASCII = Signs(".XO", ("+++", "+++", "+++"), "-", "|", "0123456789", "#-")


def signs_for(shape: Shape, ascii_only: bool) -> Signs:
    """Returns the signs for a game on a terminal.

    Args:
        shape: of its board.
        ascii_only: the terminal has no other characters.
    """
    if ascii_only:
        return _ASCII
    noughts = shape.height == shape.width == 3 and not shape.falling
    return Signs("·XO" if noughts else _UNICODE.stones, *list(vars(_UNICODE).values())[1:])


@dataclass(frozen=True)
class Shape:
    """How the moves of a game lie on its board.

    Attributes:
        height: rows.
        width: columns.
        num_actions: A.
        falling: an action is a column, and its stone comes to lie on the highest of it.
        slanted: every row begins half a cell further right, so that a cell touches six others.
        lines: whoever has enough stones in line wins.
        notation: of moves; None where the board has more columns than there are letters.
    """

    height: int
    width: int
    num_actions: int
    falling: bool
    slanted: bool
    lines: bool
    notation: Notation | None

    @property
    def numbered(self) -> bool:
        """Whether the numbers of moves are shown."""
        return self.falling or self.num_actions <= _FEW_ACTIONS or self.notation is None

    def cell(self, action: int, stones: NDArray[np.int8]) -> Cell | None:
        """Returns where the stone of a move comes to lie, None for a move that sets none.

        Args:
            action: legal.
            stones: [H, W] before it.
        """
        if self.falling:
            free = np.flatnonzero(stones[:, action] == 0)
            return (int(free[-1]), action) if len(free) else None
        return divmod(action, self.width) if action < self.height * self.width else None

    def word(self, action: int, before: list[int]) -> str:
        """Returns what a move is called."""
        return str(action + 1) if self.notation is None else self.notation.word(action, before).lower()

    def action(self, word: str, before: list[int]) -> int | None:
        """Returns the move of a name, which may be illegal; None where it is no name."""
        return None if self.notation is None else self.notation.action(word, before)


def shape_of(game: BoardGame) -> Shape:
    """Returns how the moves of a game lie on its board.

    Args:
        game: whose moves are cells row by row, perhaps with a pass behind them, or columns.
    """
    falling = game.num_actions == game.width != game.height * game.width
    notation: Notation | None
    try:
        notation, lines = notation_of(game.name), True
    except UserError:
        passing = game.height * game.width if game.num_actions > game.height * game.width else None
        notation = BoardNotation("board", game.width, game.height, from_below=True, falling=falling, passing=passing)
        lines = False
    if game.width > _MOST_LETTERS:
        return Shape(game.height, game.width, game.num_actions, falling, False, False, None)
    kind = notation.game
    lines = lines and kind in ("line", "connect four")
    return Shape(game.height, game.width, game.num_actions, falling, kind == "hex", lines, notation)


def stones_of(observation: NDArray[Any], mover: int) -> NDArray[np.int8]:
    """Returns whose stones lie where.

    Args:
        observation: [C, H, W], the stones of the player to move and those of the opponent first.
        mover: seat of the player to move.

    Returns:
        [H, W] int8: 0 nobody's, 1 the first player's, 2 the second's.
    """
    mine, theirs = (1, 2) if mover == 0 else (2, 1)
    return np.select([observation[0] != 0, observation[1] != 0], [mine, theirs], 0).astype(np.int8)


@dataclass(frozen=True)
class Position:
    """What is to be seen of a position.

    Attributes:
        stones: [H, W], see `stones_of`.
        free: [H, W] bool, the empty cells that can be played at.
        last: where the last stone was set.
        won: the cells that have won.
        hints: what to write on empty cells.
    """

    stones: NDArray[np.int8]
    free: NDArray[np.bool_]
    last: Cell | None = None
    won: frozenset[Cell] = frozenset()
    hints: Mapping[Cell, str] = field(default_factory=dict)


def draw(shape: Shape, position: Position, signs: Signs) -> Text:
    """Returns the board as text.

    Args:
        shape: of the board.
        position: what stands on it.
        signs: for it.
    """
    small = max(shape.height, shape.width) <= _LARGEST_GRID and not shape.slanted
    pitch, left = (4, 3) if small else (2, 3)
    text = Text()
    names = _column_names(shape, pitch, left + (2 if small else 1))
    above = not shape.falling and _row_name(shape, 0) == "1"
    if above:
        text.append(names, _FAINT)
    if small:
        text.append(_rule(signs, 0, shape.width, left), _FAINT)
    for row in range(shape.height):
        text.append(_row_name(shape, row).rjust(left - 1) + " " + " " * (row if shape.slanted else 0), _FAINT)
        cells = [(row, column) for column in range(shape.width)]
        _add_row(
            text,
            [_face(position, signs, shape, cell, " " if small else signs.stones[0]) for cell in cells],
            signs,
            small,
        )
        if small and row < shape.height - 1:
            text.append(_rule(signs, 1, shape.width, left), _FAINT)
    if small:
        text.append(_rule(signs, 2, shape.width, left), _FAINT)
    if not above:
        text.append(names, _FAINT)
    text.right_crop(1)  # the end of the last line
    return text


def _face(position: Position, signs: Signs, shape: Shape, cell: Cell, nothing: str) -> tuple[str, str, str]:
    """Returns the sign of a cell, its style and the mark on both sides of it; `nothing` is the sign of an empty one."""
    stone = int(position.stones[cell])
    style = STYLES[stone]
    if stone:
        if cell in position.won:
            return signs.stones[stone], f"{style} {_WON}", "["
        return signs.stones[stone], style, "(" if cell == position.last else " "
    if cell in position.hints:
        return position.hints[cell], _HINT, " "
    empty, free = int((position.stones == 0).sum()), int(position.free.sum())
    if position.free[cell] and shape.num_actions <= _FEW_ACTIONS and not position.hints:
        return str(cell[0] * shape.width + cell[1] + 1), _FAINT, " "
    # where few empty cells can be played at, it is these that one looks for
    return ("+", "", " ") if position.free[cell] and 2 * free <= empty else (nothing, _FAINT, " ")


def _add_row(text: Text, faces: list[tuple[str, str, str]], signs: Signs, small: bool) -> None:
    for i, (sign, style, mark) in enumerate(faces):
        if small:
            text.append(signs.upright, _FAINT)
            text.append(f"{mark}{sign}{_CLOSING[mark]}", style)
            continue
        before = faces[i - 1][2] if i else " "
        text.append(" " if mark == before else _CLOSING[before] if mark == " " else mark, "bold")
        text.append(sign, style)
    text.append(signs.upright if small else _CLOSING[faces[-1][2]], _FAINT if small else "bold")
    text.append("\n")


def _rule(signs: Signs, which: int, width: int, left: int) -> str:
    corners = signs.corners[which]
    return " " * left + corners[0] + corners[1].join([signs.across * 3] * width) + corners[2] + "\n"


def _column_names(shape: Shape, pitch: int, left: int) -> str:
    """Returns the lines with the letters of the columns and, where moves are columns, their numbers."""
    lines = []
    if shape.notation is not None:
        lines.append([shape.word(column, [])[0] for column in range(shape.width)])
    if shape.falling or shape.notation is None:
        lines.append([str(column + 1)[-1] for column in range(shape.width)])
    return "".join(" " * left + (" " * (pitch - 1)).join(line) + "\n" for line in lines)


def _row_name(shape: Shape, row: int) -> str:
    if shape.notation is None or shape.falling:
        return str(shape.height - row)
    return shape.word(row * shape.width, [])[1:]
