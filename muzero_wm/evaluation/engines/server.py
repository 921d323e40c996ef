"""An agent as an engine: what a program that speaks GTP asks, answered.

Source: Farneback, "Specification of the Go Text Protocol, version 2, draft 2" (2002).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from muzero_wm import __version__
from muzero_wm.agent import Agent
from muzero_wm.basis.errors import UserError
from muzero_wm.basis.seeding import stream_keys
from muzero_wm.evaluation.engines.notation import notation_of
from muzero_wm.evaluation.engines.position import first_position, score

NAME = "muzero_wm"
_SEATS = {"b": 0, "black": 0, "w": 1, "white": 1}
_TO_DROP = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class _Refused(Exception):  # noqa: N818 - it is an answer
    """What stands behind the question mark."""


class GtpServer:
    """Answers for an agent, a command at a time.

    Args:
        agent: of a board whose moves have a notation.
        num_simulations: simulations per move, None for the agent's own number.
        seed: of the searches; the same game and seed give the same moves.

    Raises:
        UserError: its environment is not such a board.
    """

    def __init__(self, agent: Agent, num_simulations: int | None = None, seed: int = 0) -> None:
        """Begins a game; see the class for the arguments."""
        if agent.spec.num_players != 2:
            raise UserError(f"gtp: expected an agent of a game for two, {agent.spec.name} is for one player")
        self._agent, self._num_simulations, self._seed = agent, num_simulations, seed
        self._notation = notation_of(agent.spec.name)
        if self._notation.game == "chess":
            raise UserError(f"gtp: {agent.spec.name} is played over UCI elsewhere, GTP has no words for its moves")
        self._komi = self._notation.komi or 0.0
        self._position = first_position(agent.spec.name)
        self._given = set[int]()  # plies of passes that nobody asked for: they gave the turn to who moved next
        self._commands: dict[str, Callable[..., str]] = {
            "protocol_version": lambda: "2",
            "name": lambda: NAME,
            "version": lambda: __version__,
            "known_command": lambda command="": str(command in self._commands).lower(),
            "list_commands": lambda: "\n".join(self._commands),
            "quit": lambda: "",
            "boardsize": self._boardsize,
            "clear_board": self._clear_board,
            "komi": self._set_komi,
            "play": self._play,
            "genmove": lambda colour: self._genmove(colour, play=True),
            "reg_genmove": lambda colour: self._genmove(colour, play=False),
            "undo": self._undo,
            "final_score": self._final_score,
            "showboard": lambda: "\n" + "\n".join(line for line in self._position.board.split("\n") if line.strip()),
            "time_settings": lambda main, byo_yomi, stones: _numbers(main, byo_yomi, stones),
            "time_left": lambda colour, seconds, stones: _numbers(str(_seat(colour)), seconds, stones),
            f"{NAME}-search": self._opinion,
            "lz-genmove_analyze": self._genmove_with_opinion,
        }

    def serve(self, lines: Iterable[str], write: Callable[[str], Any]) -> None:
        """Answers every command until `quit` or the end of the lines.

        Args:
            lines: as they come.
            write: called with each answer, which is to be sent at once.
        """
        for line in lines:
            answer = self.answer(line)
            if answer is not None:
                write(answer)
            if self._words(line)[1][:1] == ["quit"]:
                return

    def answer(self, line: str) -> str | None:
        """Returns the whole answer to a line, with the empty line at its end; None where there was no command."""
        number, words = self._words(line)
        if not words:
            return None if number == "" else f"?{number} syntax error\n\n"
        run = self._commands.get(words[0])
        try:
            if run is None:
                raise _Refused("unknown command")
            try:
                inspect.signature(run).bind(*words[1:])
            except TypeError:  # fewer or more words than it takes
                raise _Refused("syntax error") from None
            text = run(*words[1:])
        except _Refused as refused:
            return f"?{number} {refused}\n\n"
        return f"={number} {text}".rstrip() + "\n\n"

    @staticmethod
    def _words(line: str) -> tuple[str, list[str]]:
        """Returns the number of a command, "" where it has none, and its words; control characters do not count."""
        words = _TO_DROP.sub("", line.partition("#")[0]).split()
        number = words.pop(0) if words and words[0].isascii() and words[0].isdecimal() else ""
        return number, words

    def _boardsize(self, *sizes: str) -> str:
        if not sizes or len(sizes) > 2 or not all(size.isascii() and size.isdecimal() for size in sizes):
            raise _Refused("syntax error")
        width, height = self._notation.width, self._notation.height
        if tuple(map(int, sizes)) not in ((width,), (width, height)):
            raise _Refused("unacceptable size")
        return self._clear_board()

    def _clear_board(self) -> str:
        self._position = first_position(self._agent.spec.name)
        self._given.clear()
        return ""

    def _set_komi(self, komi: str) -> str:
        self._komi = _number(komi)
        return ""

    def _play(self, colour: str, vertex: str) -> str:
        seat = _seat(colour)
        passed = self._take_turn(seat)
        action = self._notation.action(vertex, self._position.moves)
        if action is None or not self._position.legal[action]:
            if passed:
                self._take_back()
            raise _Refused("illegal move")
        self._position.play(action)
        return ""

    def _genmove(self, colour: str, *, play: bool) -> str:
        passed = self._take_turn(_seat(colour))
        if self._position.over:
            raise _Refused("the game is over")
        action = int(self._search().action[0])
        word = self._notation.word(action, self._position.moves)
        if play:
            self._position.play(action)
        elif passed:
            self._take_back()
        return word

    def _take_turn(self, seat: int) -> bool:
        """Makes it this seat's turn, by a pass of the other where there is one; returns whether that was played."""
        position, passing = self._position, self._notation.passing
        if position.over or position.to_play == seat:
            return False
        if passing is None or not position.legal[passing]:
            raise _Refused("illegal move")
        position.play(passing)
        if position.over:  # it was the second pass
            position.undo()
            raise _Refused("illegal move")
        self._given.add(len(position.moves) - 1)
        return True

    def _take_back(self) -> None:
        self._position.undo()
        self._given.discard(len(self._position.moves))

    def _undo(self) -> str:
        if not self._position.moves:
            raise _Refused("cannot undo")
        self._take_back()
        if len(self._position.moves) - 1 in self._given:
            self._take_back()
        return ""

    def _final_score(self) -> str:
        ahead = score(self._position, self._notation, self._komi)
        if ahead is None:
            raise _Refused("cannot score")
        return "0" if ahead == 0 else f"{'B' if ahead > 0 else 'W'}+{abs(ahead):g}"

    def _opinion(self) -> str:
        if self._position.over:
            raise _Refused("the game is over")
        return self._info(self._search())

    def _genmove_with_opinion(self, colour: str, *_: str) -> str:
        self._take_turn(_seat(colour))
        if self._position.over:
            raise _Refused("the game is over")
        result = self._search()
        info, action = self._info(result), int(result.action[0])
        word = self._notation.word(action, self._position.moves)
        self._position.play(action)
        return f"\n{info}\nplay {word}"

    def _search(self) -> Any:
        position = self._position
        keys = stream_keys(self._seed, "gtp/search", [0], len(position.moves))
        return self._agent.search(
            position.observation[None], position.legal[None], self._num_simulations, states=position.state, rng=keys
        )

    def _info(self, result: Any) -> str:
        """Returns what a search thinks of the moves that it looked at, in the words of Leela Zero's `lz-analyze`.

        A winrate is the share of what can be won, in hundredths of a percent, and a prior likewise.
        """
        visits, qvalues = result.visit_counts[0], result.qvalues[0]
        probs, _ = self._agent.policy(self._position.observation[None], self._position.legal[None])
        low, high = self._agent.spec.value_bounds or (-1.0, 1.0)
        parts: Iterator[str] = (
            f"info move {self._notation.word(action, self._position.moves)} visits {int(visits[action])} "
            f"winrate {round(1e4 * float(np.clip((qvalues[action] - low) / (high - low), 0, 1)))} "
            f"prior {round(1e4 * float(probs[0, action]))} order {order} "
            f"pv {self._notation.word(action, self._position.moves)}"
            for order, action in enumerate(_by_preference(visits, int(result.action[0])))
        )
        return " ".join(parts)


def _by_preference(visits: Any, chosen: int) -> list[int]:
    """Returns the actions that were visited, the one that is played first."""
    return sorted(np.flatnonzero(visits).tolist(), key=lambda action: (action != chosen, -visits[action]))


def _seat(colour: str) -> int:
    if colour.lower() not in _SEATS:
        raise _Refused("syntax error")
    return _SEATS[colour.lower()]


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _Refused("syntax error") from None
    if not np.isfinite(value):
        raise _Refused("syntax error")
    return value


def _numbers(*texts: str) -> str:
    for text in texts:
        _number(text)
    return ""
