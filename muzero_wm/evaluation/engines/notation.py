"""How moves are written for other programs: vertices such as D4 on boards, e2e4 in chess."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from muzero_wm.basis.errors import UserError
from muzero_wm.envs.naming.naming import EnvName, parse_name
from muzero_wm.envs.registry import is_built_in, option_values

_WITHOUT_I = "ABCDEFGHJKLMNOPQRSTUVWXYZ"  # as GTP has it
_WITH_I = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_VERTEX = re.compile(r"([A-Z])([1-9][0-9]?)?")
_KNOWN = "the built-in boards and openspiel:go, othello, hex, connect_four, tic_tac_toe, gomoku, mnk and chess"
_SWAP = "swap-pieces"  # as the Hex Text Protocol has it: the stone changes colour and is mirrored
_SWAPS = (_SWAP.upper(), "SWAP")  # people and some programs leave the kind out


class Notation(Protocol):
    """Translates moves between a game and the words of other programs."""

    @property
    def game(self) -> str:
        """What is played: "go", "othello", "hex", "connect four", "line" (tic-tac-toe and its like) or "chess"."""

    @property
    def width(self) -> int:
        """Columns of the board."""

    @property
    def height(self) -> int:
        """Rows of the board."""

    @property
    def komi(self) -> float | None:
        """Points for the second player; None where the game has none."""

    @property
    def passing(self) -> int | None:
        """The action that passes; None where there is none."""

    def word(self, action: int, before: Sequence[int]) -> str:
        """Returns the word for an action that is played after others."""

    def words(self, moves: Sequence[int]) -> list[str]:
        """Returns the words for the actions of a game from its first position on."""

    def action(self, word: str, before: Sequence[int]) -> int | None:
        """Returns the action that a word means after others, which may be illegal; None where it means none."""


@dataclass(frozen=True)
class BoardNotation:
    """Vertices: a letter for the column, a number for the row.

    Attributes:
        game: what is played; see `Notation`, also for what is not named here.
        letters: of the columns.
        from_below: row 1 is the last row of the actions, not the first.
        falling: an action is a column, and the number of the row follows from the stones in it.
        swapping: the action that takes over the first stone; None where there is none.
    """

    game: str
    width: int
    height: int
    letters: str = _WITHOUT_I
    from_below: bool = False
    falling: bool = False
    komi: float | None = None
    passing: int | None = None
    swapping: int | None = None

    def word(self, action: int, before: Sequence[int]) -> str:
        """Returns the vertex of an action, or "pass", or "swap-pieces"."""
        if action == self.passing:
            return "pass"
        if action == self.swapping:
            return _SWAP
        if self.falling:
            return f"{self.letters[action]}{list(before).count(action) + 1}"
        row, column = divmod(action, self.width)
        return f"{self.letters[column]}{self.height - row if self.from_below else row + 1}"

    def words(self, moves: Sequence[int]) -> list[str]:
        """Returns the vertices of a game's actions."""
        return [self.word(action, moves[:ply]) for ply, action in enumerate(moves)]

    def action(self, word: str, before: Sequence[int]) -> int | None:
        """Returns the action of a vertex in upper or lower case, of "pass" or of "swap-pieces", "swap" for short.

        Where stones fall the column alone is enough, and a vertex at which no stone comes to lie is none.
        """
        word = word.upper()
        if word == "PASS":
            return self.passing
        if word in _SWAPS:
            return self.swapping
        found = _VERTEX.fullmatch(word)
        if found is None or found[1] not in self.letters[: self.width]:
            return None
        column = self.letters.index(found[1])
        if self.falling:
            return column if found[2] in (None, str(list(before).count(column) + 1)) else None
        if found[2] is None or int(found[2]) > self.height:
            return None
        number = int(found[2])
        return (self.height - number if self.from_below else number - 1) * self.width + column


class ChessNotation:
    """The long algebraic notation of UCI: e2e4, e1g1 to castle, e7e8q to promote; see `Notation`."""

    game, width, height = "chess", 8, 8
    komi: float | None = None
    passing: int | None = None

    def __init__(self) -> None:
        """Loads the rules, which the words follow from."""
        import pyspiel

        self._game, self._moves = pyspiel.load_game("chess"), pyspiel.chess

    def word(self, action: int, before: Sequence[int]) -> str:
        """Returns the word of a legal action."""
        return self._word(action, self._after(before))

    def words(self, moves: Sequence[int]) -> list[str]:
        """Returns the words of a game's actions."""
        state, words = self._game.new_initial_state(), []
        for action in moves:
            words.append(self._word(action, state))
            state.apply_action(action)
        return words

    def action(self, word: str, before: Sequence[int]) -> int | None:
        """Returns the legal action of a word."""
        state = self._after(before)
        return next((action for action in state.legal_actions() if self._word(action, state) == word.lower()), None)

    def _after(self, moves: Sequence[int]) -> Any:
        state = self._game.new_initial_state()
        for action in moves:
            state.apply_action(action)
        return state

    def _word(self, action: int, state: Any) -> str:
        return str(self._moves.action_to_move(action, state.board()).to_lan())


def notation_of(env_name: str) -> Notation:
    """Returns how the moves of an environment are written.

    Args:
        env_name: of a two-player board.

    Returns:
        Its notation.

    Raises:
        UserError: none is known for it, or the board has more columns than there are letters.
        EnvError: there is no such environment.
    """
    name = parse_name(env_name)
    notation = _built_in(name) if is_built_in(env_name) else _openspiel(name) if name.kind == "openspiel" else None
    if notation is None:
        raise UserError(f"{env_name}: no notation of its moves is known, so engines cannot play it (known: {_KNOWN})")
    if isinstance(notation, BoardNotation) and notation.width > len(notation.letters):
        raise UserError(
            f"{env_name}: expected at most {len(notation.letters)} columns, which have letters, got {notation.width}"
        )
    return notation


def _built_in(name: EnvName) -> Notation | None:
    known = option_values(name.text)
    match name.target:
        case "tictactoe":
            return _line(3, 3)
        case "connect4":
            return _falling(7, 6)
        case "gomoku":
            return _line(known["columns"], known["rows"])
        case "othello":
            size = known["board_size"]
            return BoardNotation("othello", size, size, passing=size * size)
        case "hex":
            size = known["board_size"]
            return BoardNotation("hex", size, size, _WITH_I, swapping=size * size if known["swap"] else None)
        case "go":
            size = known["board_size"]
            return BoardNotation("go", size, size, from_below=True, komi=known["komi"], passing=size * size)
    return None


def _openspiel(name: EnvName) -> Notation | None:
    from muzero_wm.envs.adapters.openspiel import parameters

    known = parameters(name)
    match name.target:
        case "go":
            if known["handicap"] > 1:
                raise UserError(f"{name.text}: engines play no handicap, take the parameter handicap away")
            size = known["board_size"]
            return BoardNotation("go", size, size, komi=float(known["komi"]), passing=size * size)
        case "othello":
            return BoardNotation("othello", 8, 8, passing=64)
        case "hex":
            if known.get("swap"):
                raise UserError(f"{name.text}: engines do not swap, take the parameter swap away")
            square = known["board_size"]
            columns, rows = (known.get(side) or square for side in ("num_cols", "num_rows"))
            return BoardNotation("hex", columns, rows, _WITH_I)
        case "connect_four":
            return _falling(known["columns"], known["rows"])
        case "tic_tac_toe":
            return _line(3, 3)
        case "gomoku":
            return _line(known["size"], known["size"]) if known["dims"] == 2 and not known["wrap"] else None
        case "mnk":
            return _line(known["m"], known["n"])
        case "chess":
            return ChessNotation() if set(known) <= {"chess960"} and not known.get("chess960") else None
    return None


def _line(width: int, height: int) -> Notation:
    return BoardNotation("line", width, height, from_below=True)


def _falling(width: int, height: int) -> Notation:
    return BoardNotation("connect four", width, height, falling=True)
