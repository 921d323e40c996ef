"""Players that are outside programs: a few processes, which take the games of a batch in turn.

A hundred games side by side are not a hundred programs. Every process is told the whole game before every move, which
costs an engine of Go a tenth of the time that it thinks; and what it remembers of one game does not matter to another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.seeding import stream_keys
from muzero_wm.envs import BatchedEnv, Step
from muzero_wm.evaluation.engines.process import EngineFailure, EngineProcess
from muzero_wm.evaluation.engines.record import moves_so_far
from muzero_wm.evaluation.players import GIVEN_UP, Forfeit, Rows


class Engine(Protocol):
    """One process that is asked for moves; `GtpEngine` says more."""

    process: EngineProcess

    def choose(self, moves: list[int], seat: int, seed: int, legal: NDArray[np.bool_]) -> int | None:
        """Returns its legal move after others, None where it resigns."""


class EnginePlayer:
    """Plays what an outside program answers.

    A game in which it crashes, hangs, or answers something that is no legal move is given up with the reason, and the
    next one begins with a fresh process.

    Args:
        start: starts a process; raises `EngineFailure` or `OSError` where there is none.
        seed: for the random choices of engines that take one, from game and move.
        processes: at most so many at a time, >= 1.

    Attributes:
        forfeits: games that were given up, in the order of their moves.

    Raises:
        EngineFailure: the first process does not begin as it should.
        OSError: there is no such program, or it cannot be run.
    """

    def __init__(self, start: Callable[[], Engine], seed: int, processes: int) -> None:
        """Starts the first process; see the class for the arguments."""
        self.forfeits: list[Forfeit] = []
        self._start, self._seed = start, seed
        self._engines: list[Engine | None] = [None] * processes
        self._ending = threading.Event()
        self._engines[0] = start()

    def actions(self, env: BatchedEnv, step: Step, rows: Rows) -> NDArray[np.int64]:
        """Returns a legal move for each of the games `rows`, -1 where it is given up.

        Raises:
            UserError: the environment does not say what was played in it.
        """
        moves = [moves_so_far(env, row) for row in rows.tolist()]
        chosen = np.full(len(rows), GIVEN_UP, np.int64)
        reasons = [""] * len(rows)

        def play(lane: int) -> None:
            for k in range(lane, len(rows), len(self._engines)):
                if self._ending.is_set():
                    return
                row = int(rows[k])
                seed = int(stream_keys(self._seed, "opponent/engine", row, len(moves[k]))[0] % 2**31)
                found = self._ask(lane, moves[k], int(step.to_play[row]), seed, step.legal_actions[row])
                if isinstance(found, str):
                    reasons[k] = found
                else:
                    chosen[k] = found

        lanes = range(min(len(rows), len(self._engines)))
        try:
            with ThreadPoolExecutor(len(lanes)) as pool:
                try:
                    for _ in pool.map(play, lanes):
                        pass
                except BaseException:
                    self._kill()  # or the threads would be waited for as long as the engines think
                    raise
        except BaseException:
            self.close()
            raise
        self.forfeits += [
            Forfeit(int(row), len(moves[k]), reasons[k]) for k, row in enumerate(rows) if chosen[k] == GIVEN_UP
        ]
        return chosen

    def close(self) -> None:
        """Ends the processes; may be called again. Who plays on starts new ones."""
        for lane, engine in enumerate(self._engines):
            if engine is not None:
                engine.process.close()
                self._engines[lane] = None
        self._ending.clear()

    def _kill(self) -> None:
        self._ending.set()
        for engine in self._engines:
            if engine is not None:
                engine.process.kill()

    def _ask(self, lane: int, moves: list[int], seat: int, seed: int, legal: NDArray[np.bool_]) -> int | str:
        """Returns a legal move, or why there is none."""
        engine = self._engines[lane]
        try:
            if engine is None:
                engine = self._engines[lane] = self._start()
                if self._ending.is_set():  # it was not there yet when the others were killed
                    engine.process.kill()
            action = engine.choose(moves, seat, seed, legal)
            return "resigned" if action is None else action
        except (EngineFailure, OSError) as failure:
            self._engines[lane] = None
            if engine is not None:
                engine.process.kill()
                engine.process.close()
            return str(failure)
