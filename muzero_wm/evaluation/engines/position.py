"""One game that goes forwards and back, for who is told its moves one by one."""

from __future__ import annotations

import re
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import UserError
from muzero_wm.envs.adapters.openspiel import OpenSpielEnv
from muzero_wm.envs.boards.board import BoardGame
from muzero_wm.envs.registry import find
from muzero_wm.evaluation.engines.notation import Notation

_ROW = re.compile(r"\s*\d+ ((?:[-+xXoO] ?)+)\d*\s*")  # of a board as OpenSpiel draws it


class Position(Protocol):
    """A game and all that has been played in it."""

    @property
    def moves(self) -> list[int]:
        """The actions so far."""

    @property
    def over(self) -> bool:
        """Whether the game has ended."""

    @property
    def to_play(self) -> int:
        """Seat to move."""

    @property
    def observation(self) -> NDArray[Any]:
        """What the player to move sees."""

    @property
    def state(self) -> NDArray[np.int64] | None:
        """[1, W] the true position of a board, None elsewhere."""

    @property
    def legal(self) -> NDArray[np.bool_]:
        """[A] which actions are legal, none where the game is over."""

    @property
    def result(self) -> float:
        """What seat 0 has won so far."""

    @property
    def board(self) -> str:
        """The board as lines of text."""

    @property
    def stones(self) -> NDArray[np.int64]:
        """[H, W] whose stones stand on a built-in board, Go's or Othello's: 0, 1, or -1 for none; the top row first."""

    def play(self, action: int) -> None:
        """Plays a legal action."""

    def undo(self) -> None:
        """Takes the last action back; there is one."""


def first_position(env_name: str) -> Position:
    """Returns a new game.

    Args:
        env_name: a built-in board or a game of OpenSpiel, of two players.

    Raises:
        UserError: it is of another kind.
        EnvError: there is no such environment.
    """
    found = find(env_name)
    if not callable(found):
        return _BoardPosition(found)
    env = found()
    if not isinstance(env, OpenSpielEnv):
        raise UserError(f"{env_name}: expected a built-in board or a game of OpenSpiel")
    return _OpenSpielPosition(env)


class _BoardPosition:
    """A built-in board; see `Position`."""

    def __init__(self, game: BoardGame) -> None:
        self._game, self.moves = game, list[int]()
        self._states = [game.first_states(1)]
        self._look()

    def _look(self) -> None:
        state = self._states[-1]
        observations, _, seats = self._game.look(state)
        self.observation: NDArray[Any] = observations[0]
        self.legal = self._game.legal_actions(state)[0]
        self.to_play = int(seats[0])
        over, result = self._game.outcome(state)  # the result for who moved last
        self.over, last = bool(over[0]), 1 - self.to_play
        self.result = float(result[0]) if last == 0 else -float(result[0])

    def play(self, action: int) -> None:
        self._states.append(self._game.play(self._states[-1], [action]))
        self.moves.append(action)
        self._look()

    def undo(self) -> None:
        self._states.pop()
        self.moves.pop()
        self._look()

    @property
    def state(self) -> NDArray[np.int64]:
        return self._states[-1]

    @property
    def board(self) -> str:
        return "\n".join(" ".join("XO."[seat] for seat in row) for row in self.stones.tolist())

    @property
    def stones(self) -> NDArray[np.int64]:
        seats = np.full(self.observation.shape[1:], -1)
        for plane, seat in enumerate((self.to_play, 1 - self.to_play)):
            seats[self.observation[plane] > 0] = seat
        return seats


class _OpenSpielPosition:
    """A game of OpenSpiel; see `Position`."""

    state = None

    def __init__(self, env: OpenSpielEnv) -> None:
        self._envs = [env]
        self._moments, self._results = [env.reset(0)], [0.0]

    @property
    def moves(self) -> list[int]:
        return self._envs[-1].moves

    @property
    def over(self) -> bool:
        return self._moments[-1].terminated

    @property
    def to_play(self) -> int:
        return self._moments[-1].to_play

    @property
    def observation(self) -> NDArray[Any]:
        return np.asarray(self._moments[-1].observation)

    @property
    def legal(self) -> NDArray[np.bool_]:
        found = self._moments[-1].legal_actions
        return np.zeros(self._envs[-1].spec.num_actions, np.bool_) if found is None else found

    @property
    def result(self) -> float:
        return self._results[-1]

    @property
    def board(self) -> str:
        return self._envs[-1].board

    @property
    def stones(self) -> NDArray[np.int64]:
        rows = [found[1].replace(" ", "") for line in self.board.split("\n") if (found := _ROW.fullmatch(line))]
        return np.array([["-xo".index({"+": "-"}.get(cell, cell.lower())) for cell in row] for row in rows]) - 1

    def play(self, action: int) -> None:
        seat, env = self.to_play, self._envs[-1].clone()
        moment = env.step(action)
        self._envs.append(env)
        self._moments.append(moment)
        self._results.append(self._results[-1] + (moment.reward if seat == 0 else -moment.reward))

    def undo(self) -> None:
        for kept in (self._envs, self._moments, self._results):
            kept.pop()


def area(seats: NDArray[np.int64]) -> int:
    """Returns how much more of a Go board is seat 0's than seat 1's: stones, and empty points that reach only them.

    Source: Tromp and Taylor's rules; every stone on the board is alive.

    Args:
        seats: [H, W] as `Position.stones`.
    """
    height, width = seats.shape
    total, seen = int((seats == 0).sum() - (seats == 1).sum()), seats >= 0
    for start in zip(*np.nonzero(~seen), strict=True):
        if seen[start]:
            continue
        region, reached, waiting = 0, set[int](), [start]
        seen[start] = True
        while waiting:
            row, column = waiting.pop()
            region += 1
            for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if not (0 <= near[0] < height and 0 <= near[1] < width):
                    continue
                if seats[near] >= 0:
                    reached.add(int(seats[near]))
                elif not seen[near]:
                    seen[near] = True
                    waiting.append(near)
        total += region * ((reached == {0}) - (reached == {1}))
    return total


def score(position: Position, notation: Notation, komi: float) -> float | None:
    """Returns by how much seat 0 is ahead as the board stands, None where that is not known.

    Args:
        position: of a game.
        notation: of the game.
        komi: for seat 1, in Go.

    Returns:
        Points in Go, discs in Othello; elsewhere 1, 0 or -1, and None until the game is over.
    """
    if notation.game == "go":
        return area(position.stones) - komi
    if notation.game == "othello":
        seats = position.stones
        return float((seats == 0).sum() - (seats == 1).sum())
    return position.result if position.over else None
