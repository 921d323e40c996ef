"""Engines that speak UCI, the protocol of chess programs, or the same with the moves of another board.

Source: Kahlen and Meyer-Kahlen, "Description of the universal chess interface (UCI)" (2006).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from muzero_wm.evaluation.engines.gtp import checked
from muzero_wm.evaluation.engines.notation import Notation
from muzero_wm.evaluation.engines.process import EngineFailure, EngineProcess, quoted

MILLISECONDS = 100
"""For which an engine thinks about a move: the one limit that all of them know."""

_NONE = ("(none)", "none", "0000", "resign")


class UciEngine:
    """One process that is asked for moves in any game of a kind; see `GtpEngine`, which is used alike."""

    def __init__(self, command: Sequence[str], notation: Notation, seconds: float, seconds_to_answer: float) -> None:
        """Starts it; see `GtpEngine` for the arguments and what is raised."""
        self._notation, self._seconds, self._seconds_to_answer = notation, seconds, seconds_to_answer
        self._last: list[int] = []
        self.process = EngineProcess(command)
        try:
            self._ask("uci", "uciok")
            self._ask("isready", "readyok")
        except BaseException:
            self.process.kill()
            self.process.close()
            raise

    def choose(self, moves: list[int], seat: int, seed: int, legal: NDArray[np.bool_]) -> int | None:
        """Returns its move after others; see `GtpEngine.choose`. UCI knows no seed."""
        if moves[: len(self._last)] != self._last or not moves:  # what it remembers is of another game
            self.process.send("ucinewgame", self._seconds_to_answer)
            self._ask("isready", "readyok")
        self._last = list(moves)
        words = " ".join(word.lower() for word in self._notation.words(moves))
        position = f"position startpos moves {words}" if words else "position startpos"
        self.process.send(position, self._seconds_to_answer)
        word = (self._ask(f"go movetime {MILLISECONDS}", "bestmove", self._seconds).split() or [""])[0]
        if word in _NONE:
            return None
        return checked(word, self._notation.action(word, moves), legal)

    def _ask(self, command: str, expected: str, seconds: float | None = None) -> str:
        """Returns what follows the expected word; lines that begin with others are not for us, as the protocol says."""
        last, seconds = "", seconds or self._seconds_to_answer
        try:
            deadline = self.process.send(command, seconds)
            while True:
                line = self.process.line(deadline)
                word, _, rest = line.partition(" ")
                if word == expected:
                    return rest
                last = line or last
        except EngineFailure as failure:
            wanted = f"asked for {command!r}, expected {expected} in {seconds:g} s"
            wrote = f", wrote {quoted(last)}" if last else ""
            raise EngineFailure(f"{failure} ({wanted}{wrote})") from None
