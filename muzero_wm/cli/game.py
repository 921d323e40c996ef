"""A person against the agent, in the terminal, with the search's opinion beside the board."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.table import Table

from muzero_wm import envs
from muzero_wm.agent import Agent
from muzero_wm.basis.errors import UserError
from muzero_wm.cli.board import Cell, Position, draw, shape_of, signs_for, stones_of
from muzero_wm.cli.lines import shown as harmless
from muzero_wm.cli.opinion import Opinion, ask_search, shown, standing
from muzero_wm.cli.winning import chain_across, line_through
from muzero_wm.envs import EnvError
from muzero_wm.envs.boards.board import BoardGame
from muzero_wm.envs.boards.kernels import PLIES
from muzero_wm.envs.naming.naming import parse_name
from muzero_wm.evaluation.engines.notation import BoardNotation
from muzero_wm.evaluation.engines.position import area

SEATS = ("first", "second")
_LIBRARIES = ("gym", "openspiel", "pettingzoo", "minatar", "ale")  # their boards may be shown in any way
_OPINION_WIDTH = 44
_MOST_HINTS = 9
_MOST_LISTED = 12
_COMMANDS = """\
h    what the search would do in your place; h 3 marks its best three moves
u    take back your last move and the answer
s    the moves so far
n    a new game; x one with seats swapped
?    this help
q    leave"""


class PlayError(UserError):
    """Says why this agent cannot be played against."""


def play(
    agent: Agent,
    *,
    seat: str = "first",
    simulations: int | None = None,
    console: Console | None = None,
    ask: Callable[[str], str] = input,
) -> str:
    """Plays until the person has enough.

    Args:
        agent: of a board game whose rules are here.
        seat: "first" or "second", the person's.
        simulations: of the agent, per move; as it was trained when None.
        console: where to draw; standard output when None.
        ask: shows a prompt and returns what the person typed.

    Returns:
        "win", "draw" or "loss", for the person, of the last game; or "quit" where it was left before its end.

    Raises:
        PlayError: the environment is no board game whose rules are here.
    """
    console = console or Console(highlight=False)
    table = _Game(agent, _rules(agent), SEATS.index(seat), simulations, console, ask)
    try:
        while table.turn():
            pass
    except (KeyboardInterrupt, EOFError):
        console.print()
    if not table.over:
        console.print("You left the game.")
        return "quit"
    return {1: "win", 0: "draw", -1: "loss"}[table.result]


def _rules(agent: Agent) -> BoardGame:
    name = agent.spec.name
    try:
        if parse_name(name).kind not in _LIBRARIES:
            return envs.board_game(name)
    except EnvError:
        pass
    raise PlayError(f"play: {name} is no board game whose rules are here; try `muzero-wm evaluate`")


class _Game:
    """One table: positions, whose turn it is, and what is said.

    Attributes:
        person: seat of the person.
        states: [1, W] rows of all positions, the present one last.
        moves: that led to it.
        values: what the searches so far gave the person, by the ply they were made at.
    """

    def __init__(
        self,
        agent: Agent,
        game: BoardGame,
        person: int,
        simulations: int | None,
        console: Console,
        ask: Callable[[str], str],
    ) -> None:
        self.agent, self.game, self.person, self.simulations = agent, game, person, simulations
        self.console, self.ask = console, ask
        self.shape = shape_of(game)
        self.signs = signs_for(self.shape, console.options.ascii_only)
        self.begin(person)

    def begin(self, person: int) -> None:
        """Sets up a new game."""
        self.person = person
        self.states, self.moves = [self.game.first_states(1)], list[int]()
        self.values, self.panel = dict[int, float](), list[RenderableType]()
        you, other = (self.signs.stones[1 + each] for each in (person, 1 - person))
        self.say(f"You are {you} and move {SEATS[person]}, the agent is {other}. ? lists what you can type.")
        self.fresh = True

    @property
    def over(self) -> bool:
        """Whether the game has ended."""
        return bool(self.game.outcome(self.states[-1])[0][0])

    @property
    def result(self) -> int:
        """1, 0 or -1 for the person, of a game that is over."""
        moved_last = 1 - int(self.states[-1][0, PLIES]) % 2
        sign = int(np.sign(self.game.outcome(self.states[-1])[1][0]))
        return sign if moved_last == self.person else -sign

    @property
    def mover(self) -> int:
        """Seat of the player to move."""
        return int(self.states[-1][0, PLIES]) % 2

    def turn(self) -> bool:
        """Lets one of them move, or asks whether to play on; returns whether to go on."""
        if not self.over and self.mover != self.person:
            opinion = self.search()
            self.panel = [shown(opinion, "The agent", self.word)]
            self.play(opinion.action)
            self.fresh = True
            return True
        if self.fresh:
            self.show()
            if self.over:
                self.say({1: "You win{}.", 0: "A draw.", -1: "The agent wins{}."}[self.result].format(self.margin()))
            elif not self.legal[: self.cells].any():
                self.say(f"There is only {self.word(int(self.legal.argmax()))}.")
            elif others := [word for word in self.others if word != "pass"]:
                self.say(f"You may also play {' or '.join(others)}.")
            self.fresh = False
        prompt = "n, x, u, s or ? (Enter leaves): " if self.over else "Your move: "
        try:
            text = self.ask(prompt).strip()
        except UnicodeDecodeError:
            text = "?" * 3  # no characters at all
        return self.obey(text)

    def obey(self, text: str) -> bool:
        """Does what was typed; returns whether to go on."""
        command, _, rest = text.lower().partition(" ")
        if command in ("q", "quit", "exit") or (self.over and not text):
            return False
        match command:
            case "h" if not self.over:
                self.hint(rest.strip())
            case "u":
                self.take_back()
            case "s":
                words = [self.shape.word(move, self.moves[:ply]) for ply, move in enumerate(self.moves)]
                pairs = [" ".join(words[i : i + 2]) for i in range(0, len(words), 2)]
                self.say("  ".join(f"{i}. {pair}" for i, pair in enumerate(pairs, 1)) or "No move yet.")
            case "n":
                self.begin(self.person)
            case "x":
                self.begin(1 - self.person)
            case "?" | "help":
                self.help()
            case _:
                self.move(text)
        return True

    def move(self, text: str) -> None:
        """Plays a move of the person, or says why not."""
        told = harmless(text)[:40]
        told = ascii(told) if self.console.options.ascii_only else repr(told)
        number = text.isdecimal() and len(text) < 7
        action = int(text) - 1 if number else self.shape.action(text, self.moves)
        if self.over:
            self.say(f"The game is over: n is a new one, x one with seats swapped, Enter leaves. Got {told}.")
        elif action is None:
            self.say(f"Expected a move such as {self.listed(1)}, h, u, n, x, s, ? or q, got {told}.")
        elif not 0 <= action < len(self.legal) or not self.legal[action]:
            self.say(f"{text} is not a legal move; legal are {self.listed(_MOST_LISTED)}.")
        else:
            self.play(action)

    def listed(self, most: int) -> str:
        """Returns some legal moves as one types them."""
        moves = np.flatnonzero(self.legal).tolist()
        words = [str(move + 1) if self.shape.numbered else self.word(move) for move in moves if move < self.cells]
        listed = ", ".join(words[:most]) + (f" and {len(words) - most} more" if 1 < most < len(words) else "")
        return ", ".join([listed] * bool(words) + self.others)

    @property
    def cells(self) -> int:
        """How many cells there are; moves with higher numbers set no stone of their own."""
        return self.shape.height * self.shape.width

    @property
    def others(self) -> list[str]:
        """The legal moves that are no cells, such as the pass, as one types them."""
        return [self.word(move) for move in np.flatnonzero(self.legal).tolist() if move >= self.cells]

    def margin(self) -> str:
        """Returns by how much the game was won, where that is counted."""
        seats = self.stones.astype(np.int64) - 1
        match self.shape.notation:
            case BoardNotation(game="go", komi=float(komi)):
                return f" by {abs(area(seats) - komi):g} points, all stones alive"
            case BoardNotation(game="othello"):
                return f" by {abs(int((seats == 0).sum() - (seats == 1).sum()))} discs"
        return ""

    @property
    def legal(self) -> np.ndarray:
        """[A], the legal moves."""
        legal: np.ndarray = self.game.legal_actions(self.states[-1])[0]
        return legal

    def word(self, action: int) -> str:
        """Returns what a move is called now."""
        return self.shape.word(action, self.moves)

    def play(self, action: int) -> None:
        """Plays a legal move."""
        self.states.append(self.game.play(self.states[-1], [action]))
        self.moves.append(action)
        self.fresh = self.over

    def take_back(self) -> None:
        """Goes back to the person's last decision."""
        before = [ply for ply in range(len(self.moves)) if ply % 2 == self.person]
        if not before:
            self.say("There is nothing to take back.")
            return
        del self.states[before[-1] + 1 :], self.moves[before[-1] :]
        self.values = {ply: value for ply, value in self.values.items() if ply <= before[-1]}
        self.panel, self.fresh = [], True

    def search(self) -> Opinion:
        """Returns what the agent thinks of the present position."""
        observation, legal, _ = self.game.look(self.states[-1])
        with self.console.status("The agent thinks ...") if self.console.is_interactive else nullcontext():
            opinion = ask_search(self.agent, observation, legal, self.simulations, states=self.states[-1])
        self.values[len(self.moves)] = opinion.value if self.mover == self.person else -opinion.value
        return opinion

    def hint(self, text: str) -> None:
        """Shows what the search would do for the person, with marks on the board where they are asked for."""
        count = int(text) if text.isdecimal() and len(text) < 3 else 0
        if text and not 1 <= count <= _MOST_HINTS:
            self.say(f"Expected h, or h and a number from 1 to {_MOST_HINTS}.")
            return
        opinion = self.search()
        if not text:
            self.console.print(shown(opinion, "In your place the agent", self.word))
            return
        marks: dict[Cell, str] = {}
        for rank, action in enumerate(opinion.order[:count], 1):
            if (cell := self.shape.cell(action, self.stones)) is not None:
                marks[cell] = str(rank)
        self.panel = [shown(opinion, "In your place the agent", self.word, count)]
        self.show(marks)

    @property
    def stones(self) -> np.ndarray:
        """[H, W], whose stones lie where."""
        return stones_of(self.game.look(self.states[-1])[0][0], self.mover)

    def show(self, hints: dict[Cell, str] | None = None) -> None:
        """Draws the board, with what the agent said beside it, or above where there is no room."""
        shape, stones, last, won = self.shape, self.stones, None, frozenset[Cell]()
        if self.moves:
            observation = self.game.look(self.states[-2])[0][0]
            last = shape.cell(self.moves[-1], stones_of(observation, 1 - self.mover))
        if self.over and last is not None and self.result:
            won = line_through(stones, last) if shape.lines else chain_across(stones, last) if shape.slanted else won
        free = np.zeros(stones.shape, np.bool_)
        for action in np.flatnonzero(self.legal).tolist():
            if not shape.falling and (cell := shape.cell(action, stones)) is not None:
                free[cell] = True
        board = draw(shape, Position(stones, free, last, won, hints or {}), self.signs)
        if self.values:
            self.panel.append(standing([self.values[ply] for ply in sorted(self.values)], self.signs))
        width = max(map(len, board.plain.splitlines()))
        if self.console.width >= width + 3 + _OPINION_WIDTH and self.panel:
            beside = Table.grid(padding=(0, 3, 0, 0))
            beside.add_column(no_wrap=True)
            beside.add_row(board, Group(*self.panel))
            self.console.print(beside)
        else:
            self.console.print(Group(*self.panel, board))
        self.panel = []

    def help(self) -> None:
        """Says what can be typed, and what the game is about."""
        name = parse_name(self.game.name)
        if not name.kind:
            about = importlib.import_module(f"muzero_wm.envs.games.{name.target}").__doc__ or ""
            self.say(" ".join(about.split("\n\n")[0].split()))
        said = f"A move is {self.listed(1)}"
        if self.shape.notation is not None:
            first = int(np.flatnonzero(self.legal)[0]) if self.legal.any() else 0
            said += f" or {self.word(first)}" if self.shape.numbered else f", or a number such as {first + 1}"
        self.say(f"{said}. (X) on the board is the last move, [X] has won, + can be played at, 1 is the best hint.")
        self.say(_COMMANDS)

    def say(self, line: str) -> None:
        """Prints a line of ours."""
        self.console.print(line, markup=False)
