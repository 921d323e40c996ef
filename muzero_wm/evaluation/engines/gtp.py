"""Engines that speak the Go Text Protocol, version 2: nearly all of Go, many of other boards.

Source: Farneback, "Specification of the Go Text Protocol, version 2, draft 2" (2002).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from muzero_wm.evaluation.engines.notation import Notation
from muzero_wm.evaluation.engines.process import EngineFailure, EngineProcess, quoted

COLOURS = ("black", "white")
_CLEANUP = "kgs-genmove_cleanup"
_SEED, _CLEAR = "set_random_seed", "clear_cache"
_ANSWER = re.compile(r"([=?])(\d*)(?:\s+(.*))?")


class GtpEngine:
    """One process that is asked for moves in any game of a kind, one after the other.

    Args:
        command: program and arguments.
        notation: of the game.
        seconds: for a move.
        seconds_to_answer: for everything else.

    Raises:
        EngineFailure: it does not begin as the protocol says, or refuses the board.
        OSError: there is no such program, or it cannot be run.
    """

    def __init__(self, command: Sequence[str], notation: Notation, seconds: float, seconds_to_answer: float) -> None:
        """Starts it and tells it the board; see the class for the arguments."""
        self._notation, self._seconds, self._seconds_to_answer = notation, seconds, seconds_to_answer
        self._asked = 0
        self._on_board: list[int] | None = None  # what has been played there, None before `clear_board`
        self.process = EngineProcess(command)
        try:
            self._commands = set(self._ask("list_commands").split())
            self._ask(f"boardsize {_size(notation)}")
            if notation.komi is not None:
                self._ask(f"komi {notation.komi:g}")
        except BaseException:
            self.process.kill()
            self.process.close()
            raise

    def choose(self, moves: list[int], seat: int, seed: int, legal: NDArray[np.bool_]) -> int | None:
        """Returns its move after others.

        Args:
            moves: of the game so far.
            seat: whose turn it is.
            seed: for its random choices, where it takes one.
            legal: [A] bool, what the rules allow.

        Returns:
            A legal action; None: it resigns.

        Raises:
            EngineFailure: it gave none.
        """
        self._set_up(moves)
        if _CLEAR in self._commands:  # what it remembers of other games must not decide this one
            self._ask(_CLEAR)
        if _SEED in self._commands:
            self._ask(f"{_SEED} {seed}")
        # Where stones are counted as they stand, the dead ones of the opponent are to be taken off before a pass.
        clean = self._notation.game == "go" and _CLEANUP in self._commands
        word = self._ask(f"{_CLEANUP if clean else 'genmove'} {COLOURS[seat]}", self._seconds)
        self._on_board = None
        if word.lower() == "resign":
            return None
        action = checked(word, self._notation.action(word, moves), legal)
        self._on_board = [*moves, action]
        return action

    def final_score(self, moves: list[int]) -> str:
        """Returns what it says a game has ended in, "B+3.5" for example.

        Raises:
            EngineFailure: it does not say.
        """
        self._set_up(moves)
        return self._ask("final_score", self._seconds)

    def _set_up(self, moves: list[int]) -> None:
        if self._on_board is None or moves[: len(self._on_board)] != self._on_board:
            self._ask("clear_board")
            self._on_board = []
        words = self._notation.words(moves)
        for ply in range(len(self._on_board), len(moves)):
            self._ask(f"play {COLOURS[ply % 2]} {words[ply]}")
        self._on_board = list(moves)

    def _ask(self, command: str, seconds: float | None = None) -> str:
        """Returns the answer to a command."""
        self._asked += 1
        seconds = seconds or self._seconds_to_answer
        try:
            deadline = self.process.send(f"{self._asked} {command}", seconds)
            while not (first := self.process.line(deadline)):
                pass
            answer, lines = _ANSWER.fullmatch(first), []
            while answer is not None and (line := self.process.line(deadline)):
                lines.append(line)
        except EngineFailure as failure:
            raise EngineFailure(f"{failure} (asked for {command!r}, to be answered in {seconds:g} s)") from None
        if answer is None or answer[2] != str(self._asked):
            raise EngineFailure(f"answered {quoted(first)} to {command!r}, expected ={self._asked} or ?{self._asked}")
        text = "\n".join([answer[3] or "", *lines]).strip()
        if answer[1] == "?":
            raise EngineFailure(f"answered '?' to {command!r}: {quoted(text)}")
        return text


def checked(word: str, action: int | None, legal: NDArray[np.bool_]) -> int:
    """Returns the action that an engine has answered.

    Args:
        word: what it wrote.
        action: what that means, None where it means nothing.
        legal: [A] bool.

    Raises:
        EngineFailure: it is no legal move.
    """
    if action is None:
        raise EngineFailure(f"answered {quoted(word)}, which is no move of this game")
    if not legal[action]:
        raise EngineFailure(f"answered {quoted(word)}, an illegal move")
    return action


def _size(notation: Notation) -> str:
    return f"{notation.width}" + ("" if notation.width == notation.height else f" {notation.height}")
