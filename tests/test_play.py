"""A person against the agent: what is typed, what is shown, on terminals of all kinds."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from muzero_wm import envs
from muzero_wm.agent import Agent
from muzero_wm.cli.board import Position, Shape, draw, shape_of, signs_for, stones_of
from muzero_wm.cli.game import PlayError, play
from muzero_wm.cli.winning import chain_across, line_through
from muzero_wm.config.presets import load_config
from muzero_wm.evaluation.engines.notation import BoardNotation
from muzero_wm.model.world_model import WorldModel

EAGER = ["inference.backend=eager"]


@pytest.fixture(scope="module")
def agent() -> Agent:
    """An agent that has learnt nothing, which is enough to talk to."""
    config, spec = load_config("debug", overrides=EAGER), envs.spec("tictactoe")
    return Agent(config, spec, WorldModel(config.model, spec), 0)


def game(
    agent: Agent, answers: Iterable[str], width: int = 100, encoding: str = "utf-8", **options: object
) -> tuple[str, str]:
    """Plays with typed answers until they are used up; returns the result and the screen."""
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    console = Console(width=width, highlight=False, file=screen)
    typed = iter(answers)

    def ask(prompt: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    result = play(agent, console=console, ask=ask, simulations=2, **options)  # type: ignore[arg-type]
    return result, screen.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


def cells(screen: str) -> list[list[str]]:
    """Returns the signs on the last board that is shown."""
    rows = [line for line in screen.splitlines() if line[1:2].isdigit() and "│" in line]
    return [[cell.strip(" ()[]") for cell in row.split("│")[1:4]] for row in rows[-3:]]


@pytest.mark.parametrize("seat", ["first", "second"])
@pytest.mark.parametrize("width", [40, 60, 100])
def test_a_game_runs_to_its_end(agent: Agent, seat: str, width: int) -> None:
    result, screen = game(agent, [str(move) for _ in range(5) for move in range(1, 10)], width, seat=seat)
    assert result in ("win", "draw", "loss")
    assert {"win": "You win.", "draw": "A draw.", "loss": "The agent wins."}[result] in screen
    board = cells(screen)
    lines = [*board, *map(list, zip(*board, strict=True)), [board[i][i] for i in range(3)]]
    lines.append([board[i][2 - i] for i in range(3)])
    person = "X" if seat == "first" else "O"
    winner = {"win": person, "loss": "XO".replace(person, ""), "draw": None}[result]
    assert {line[0] for line in lines if len(set(line)) == 1} - {""} == ({winner} if winner else set())
    assert screen.count("[") >= 3 * (winner is not None)  # what has won is marked, and the last line of text names it


def test_what_a_person_types_is_checked(agent: Agent) -> None:
    typed = ["", "0", "10", "-1", "1.5", "d1", "9" * 5000, "\x1b[2J", "5", "5", "h", "h 0", "h x", "q"]
    result, screen = game(agent, typed)
    assert result == "quit" and screen.rstrip().endswith("You left the game.")
    assert screen.count("Expected a move such as 1, h, u") == 6
    assert "0 is not a legal move; legal are 1, 2, 3" in screen
    assert "10 is not a legal move" in screen and "5 is not a legal move" in screen
    assert screen.count("Expected h, or h and a number from 1 to 9.") == 2
    assert "The agent plays" in screen and "In your place the agent plays" in screen
    assert "\x1b[2J" not in screen


def test_numbers_and_vertices_are_the_same_moves(agent: Agent) -> None:
    boards = [cells(game(agent, [word])[1]) for word in ("1", "a3", "A3")]
    assert boards[0][0][0] == "X" and boards[0] == boards[1] == boards[2]


def test_moves_are_taken_back_with_their_answers(agent: Agent) -> None:
    _, screen = game(agent, ["u", "5", "u", "s", "5", "s"])
    assert "There is nothing to take back." in screen
    assert "No move yet." in screen
    assert "1. b2 " in screen
    played, again = (cells(game(agent, typed)[1]) for typed in (["5"], ["5", "u", "5"]))
    assert played == again


def test_a_game_that_is_over_can_be_taken_back_or_played_again(agent: Agent) -> None:
    moves = [str(move) for _ in range(5) for move in range(1, 10)]
    result, screen = game(agent, [*moves, "5", "x", "q"])
    assert result == "quit" and screen.count("The game is over") >= 1 and "and move second" in screen
    result, screen = game(agent, [*moves, "u"])
    assert result == "quit"
    assert game(agent, [*moves, ""])[0] in ("win", "draw", "loss")


def test_hints_are_marked_on_the_board(agent: Agent) -> None:
    _, screen = game(agent, ["5", "h 3"])
    board = [cell for row in cells(screen) for cell in row]
    assert sorted(cell for cell in board if cell.isdigit()) == ["1", "2", "3"]


def test_ascii_is_enough(agent: Agent) -> None:
    typed = ["é", "?", "s", "h", "5", "h 2", *(str(move) for _ in range(5) for move in range(1, 10))]
    _, screen = game(agent, typed, encoding="ascii")
    assert "(O)" in screen or "(X)" in screen
    assert "'\\xe9'" in screen


def untrained(name: str) -> Agent:
    """Returns an agent of a game that has learnt nothing."""
    config, spec = load_config("debug", overrides=EAGER), envs.spec(name)
    return Agent(config, spec, WorldModel(config.model, spec), 0)


def test_moves_that_are_no_cells_are_named() -> None:
    """A pass and a swap can be found out about, and the short word is enough."""
    _, screen = game(untrained("hex(board_size=3, swap=true)"), ["?", "z", "swap", "s"], seat="second")
    assert "You may also play swap-pieces." in screen
    assert "A move is " in screen and screen.count(", swap-pieces, ") == 2
    assert " swap-pieces  2. " in screen
    _, screen = game(untrained("go(board_size=3)"), ["z", "z9", "pass"])
    assert "Expected a move such as a3, pass, h" in screen and "You may also" not in screen


@pytest.mark.parametrize(
    ("name", "typed", "ending"),
    [
        # the first player has all nine points, for every stone of it was set while the other passed
        ("go(board_size=3, komi=5.5)", ["b2", "pass"], "You win by 3.5 points, all stones alive."),
        ("go(board_size=3, komi=10.5)", ["b2", "pass"], "The agent wins by 1.5 points, all stones alive."),
        ("go(board_size=3, komi=9)", ["b2", "pass"], "A draw."),
    ],
)
def test_go_ends_with_the_margin(name: str, typed: list[str], ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = untrained(name)
    search = agent.search

    def passing(observation: NDArray[np.float32], legal: NDArray[np.bool_], *args: object, **options: object) -> object:
        only = np.zeros_like(legal)
        only[:, -1] = True
        return search(observation, only, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(agent, "search", passing)
    _, screen = game(agent, typed)
    assert ending in screen


def test_othello_ends_with_the_margin() -> None:
    _, screen = game(untrained("othello(board_size=4)"), [str(move) for _ in range(17) for move in range(1, 18)])
    found = re.search(r"(You win|The agent wins) by (\d+) discs\.|A draw\.", screen)
    assert found is not None
    rows = [line.split("│")[1:5] for line in screen.splitlines() if re.match(r" \d │", line)][-4:]
    discs = "".join(cell for row in rows for cell in row)
    assert int(found[2] or 0) == abs(discs.count("●") - discs.count("○"))


def test_the_end_of_the_input_and_ctrl_c_leave(agent: Agent) -> None:
    def stopped(prompt: str) -> str:
        raise KeyboardInterrupt

    assert game(agent, [])[0] == "quit"
    assert play(agent, console=Console(quiet=True), ask=stopped) == "quit"


def test_bytes_that_are_no_text_are_no_move(agent: Agent) -> None:
    told = iter([UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), EOFError()])

    def ask(prompt: str) -> str:
        raise next(told)

    assert play(agent, console=Console(quiet=True), ask=ask) == "quit"


def test_only_boards_with_rules_of_ours_are_drawn() -> None:
    # Three planes of another kind of board need not be stones.
    config, spec = load_config("debug"), replace(envs.spec("tictactoe"), name="openspiel:othello")
    other = Agent(config, spec, WorldModel(config.model, spec), 0)
    with pytest.raises(PlayError, match="openspiel:othello is no board game whose rules are here"):
        play(other, console=Console(quiet=True))


def test_a_board_of_a_user_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples"))
    name = "connect3_numba:make"
    config, spec = load_config("debug", env=name, overrides=EAGER), envs.spec(name)
    _, screen = game(Agent(config, spec, WorldModel(config.model, spec), 0), ["1", "s", "u"])
    assert "●" in screen


BOARDS = {
    "othello": Shape(8, 8, 65, False, False, False, BoardNotation("othello", 8, 8, passing=64)),
    "hex": Shape(11, 11, 121, False, True, False, BoardNotation("hex", 11, 11, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")),
    "go": Shape(19, 19, 362, False, False, False, BoardNotation("go", 19, 19, from_below=True, passing=361)),
    "wide": Shape(3, 30, 90, False, False, False, None),
    "falling": Shape(6, 7, 7, True, False, True, BoardNotation("connect four", 7, 6, falling=True)),
}


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_every_stone_stands_at_its_coordinates(name: str, ascii_only: bool, seed: int) -> None:
    """Reads the drawing back by its coordinates alone."""
    shape = BOARDS[name]
    stones = np.random.default_rng(seed).integers(0, 3, (shape.height, shape.width)).astype(np.int8)
    signs = signs_for(shape, ascii_only)
    text = draw(shape, Position(stones, np.zeros_like(stones, np.bool_)), signs).plain
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert text.isascii() or not ascii_only
    rows = [line for line in lines if line[:3].strip().isdigit()]
    stones_of_row = [[c for c in row[3:] if c in signs.stones[1:]] for row in rows]
    assert stones_of_row == [[signs.stones[stone] for stone in row if stone] for row in stones]
    if shape.notation is None or shape.slanted:
        return
    letters = next(line for line in lines if line.split()[0].isalpha())
    for column in range(shape.width):
        letter = shape.word(column, [])[0]
        for row, line in zip(stones, rows, strict=True):
            if row[column]:
                assert line[letters.index(letter)] == signs.stones[row[column]]


def test_rows_are_named_as_moves_are() -> None:
    for shape in (BOARDS["othello"], BOARDS["go"], BOARDS["hex"]):
        stones = np.zeros((shape.height, shape.width), np.int8)
        text = draw(shape, Position(stones, np.zeros_like(stones, np.bool_)), signs_for(shape, True)).plain
        names = [line[:3].strip() for line in text.splitlines() if line[:3].strip().isdigit()]
        assert names == [shape.word(row * shape.width, [])[1:] for row in range(shape.height)]


def test_marks_stand_around_their_stones() -> None:
    for shape in BOARDS.values():
        stones = np.ones((shape.height, shape.width), np.int8)
        won = frozenset({(1, 0), (1, 1)})
        text = draw(shape, Position(stones, stones == 0, (0, 2), won), signs_for(shape, True)).plain
        small = max(shape.height, shape.width) <= 8
        assert text.count("(X)") == 1 and text.count("[X]" if small else " [X X]X") == 2 - (not small)


def test_few_legal_cells_are_pointed_out() -> None:
    shape = BOARDS["othello"]
    stones, free = np.zeros((8, 8), np.int8), np.zeros((8, 8), np.bool_)
    free[2, 3] = free[3, 2] = True
    assert draw(shape, Position(stones, free), signs_for(shape, False)).plain.count("+") == 2
    assert draw(shape, Position(stones, ~free), signs_for(shape, False)).plain.count("+") == 0


@pytest.mark.parametrize("name", ["tictactoe", "connect4"])
def test_stones_of_both_players_are_told_apart(name: str, seed: int) -> None:
    """Follows random games by the moves alone."""
    rules, rng = envs.board_game(name), np.random.default_rng(seed)
    shape, states, expected = shape_of(rules), rules.first_states(1), np.zeros((rules.height, rules.width), np.int8)
    for ply in range(rules.max_plies):
        move = int(rng.choice(np.flatnonzero(rules.legal_actions(states)[0])))
        cell = shape.cell(move, expected)
        assert cell is not None
        expected[cell] = 1 + ply % 2
        states = rules.play(states, [move])
        assert np.array_equal(stones_of(rules.look(states)[0][0], (ply + 1) % 2), expected)
        if rules.outcome(states)[0][0]:
            if rules.outcome(states)[1][0] > 0:
                assert len(line_through(expected, cell)) >= {"tictactoe": 3, "connect4": 4}[name]
            break


@pytest.mark.parametrize("size", [3, 5, 8])
def test_a_full_board_of_hexagons_has_one_winner(size: int, seed: int) -> None:
    """Hex has no draws: where the first player does not join top and bottom, the second joins left and right."""
    rng = np.random.default_rng(seed)
    for _ in range(20):
        stones: NDArray[np.int8] = rng.integers(1, 3, (size, size)).astype(np.int8)
        stones[0, 0], stones[size - 1, 0] = 1, 2
        chains = [chain_across(stones, last) for last in ((0, 0), (size - 1, 0))]
        assert [bool(chain) for chain in chains] == [_joined(stones == 1), not _joined(stones == 1)]
        for who, chain in enumerate(chains, 1):
            assert all(stones[cell] == who for cell in chain)
            assert not chain or {0, size - 1} <= {cell[who - 1] for cell in chain}


def _joined(mine: NDArray[np.bool_]) -> bool:
    """Returns whether stones join top and bottom, by spreading from the top until nothing changes."""
    reached = np.zeros_like(mine)
    reached[0] = mine[0]
    for _ in range(mine.size):
        wider = reached.copy()
        wider[1:] |= reached[:-1]
        wider[:-1] |= reached[1:]
        wider[:, 1:] |= reached[:, :-1]
        wider[:, :-1] |= reached[:, 1:]
        wider[1:, :-1] |= reached[:-1, 1:]
        wider[:-1, 1:] |= reached[1:, :-1]
        reached = wider & mine
    return bool(reached[-1].any())
