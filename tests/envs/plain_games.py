"""The rules of board games as plain as they can be written, with sets and lists: oracles that share no code."""

from __future__ import annotations

from abc import ABC, abstractmethod

Cell = tuple[int, int]
EIGHT = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
FOUR = [(-1, 0), (1, 0), (0, -1), (0, 1)]
SIX = [(0, -1), (0, 1), (-1, 0), (-1, 1), (1, 0), (1, -1)]


class Plain(ABC):
    """A game of two seats; `board` maps cells to seats, `winner` is 0, 1, "draw", or None while the game goes on."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.board: dict[Cell, int] = {}
        self.to_play = 0
        self.winner: int | str | None = None

    def cells(self) -> list[Cell]:
        return [(y, x) for y in range(self.height) for x in range(self.width)]

    def near(self, cell: Cell, steps: list[Cell]) -> list[Cell]:
        found = [(cell[0] + dy, cell[1] + dx) for dy, dx in steps]
        return [(y, x) for y, x in found if 0 <= y < self.height and 0 <= x < self.width]

    def legal(self) -> list[int]:
        """Returns the numbers of the legal moves, in order."""
        return [number for number in range(len(self.cells()) + 1) if self.is_legal(number)]

    def reached(self, start: Cell, steps: list[Cell]) -> set[Cell]:
        """Returns all cells of the same content that are connected to a cell."""
        seen, waiting = {start}, [start]
        while waiting:
            for other in self.near(waiting.pop(), steps):
                if other not in seen and self.board.get(other) == self.board.get(start):
                    seen.add(other)
                    waiting.append(other)
        return seen

    @abstractmethod
    def is_legal(self, number: int) -> bool:
        """Returns whether a move is legal."""

    @abstractmethod
    def play(self, number: int) -> None:
        """Plays a legal move and passes the turn."""


class Gomoku(Plain):
    def __init__(self, height: int, width: int, k: int) -> None:
        super().__init__(height, width)
        self.k = k

    def is_legal(self, number: int) -> bool:
        return number < len(self.cells()) and divmod(number, self.width) not in self.board

    def play(self, number: int) -> None:
        self.board[divmod(number, self.width)] = self.to_play
        for y, x in self.cells():
            for dy, dx in EIGHT:
                if all(self.board.get((y + i * dy, x + i * dx)) == self.to_play for i in range(self.k)):
                    self.winner = self.to_play
        if self.winner is None and len(self.board) == len(self.cells()):
            self.winner = "draw"
        self.to_play = 1 - self.to_play


class Hex(Plain):
    """`turned`: the first player joins left and right."""

    def __init__(self, size: int, swap: bool = False, turned: bool = False) -> None:
        super().__init__(size, size)
        self.swap, self.turned, self.played = swap, turned, 0

    def is_legal(self, number: int) -> bool:
        if number == len(self.cells()):
            return self.swap and self.played == 1
        return divmod(number, self.width) not in self.board

    def play(self, number: int) -> None:
        if number == len(self.cells()):
            ((y, x),) = self.board
            self.board = {(x, y): 1}
        else:
            cell = divmod(number, self.width)
            self.board[cell] = self.to_play
            axis = 0 if (self.to_play == 0) != self.turned else 1
            along = {found[axis] for found in self.reached(cell, SIX)}
            if {0, self.height - 1} <= along:
                self.winner = self.to_play
        self.played += 1
        self.to_play = 1 - self.to_play


class Othello(Plain):
    def __init__(self, size: int) -> None:
        super().__init__(size, size)
        half = size // 2
        self.board = {(half - 1, half): 0, (half, half - 1): 0, (half - 1, half - 1): 1, (half, half): 1}

    def turned(self, cell: Cell, seat: int) -> list[Cell]:
        found = []
        for dy, dx in EIGHT if cell not in self.board else []:
            line, (y, x) = [], (cell[0] + dy, cell[1] + dx)
            while self.board.get((y, x)) == 1 - seat:
                line.append((y, x))
                y, x = y + dy, x + dx
            if self.board.get((y, x)) == seat:
                found += line
        return found

    def can_move(self, seat: int) -> bool:
        return any(self.turned(cell, seat) for cell in self.cells())

    def is_legal(self, number: int) -> bool:
        if number == len(self.cells()):
            return not self.can_move(self.to_play)
        return bool(self.turned(divmod(number, self.width), self.to_play))

    def play(self, number: int) -> None:
        if number < len(self.cells()):
            cell = divmod(number, self.width)
            for other in [*self.turned(cell, self.to_play), cell]:
                self.board[other] = self.to_play
        self.to_play = 1 - self.to_play
        if not self.can_move(0) and not self.can_move(1):
            first = sum(1 if seat == 0 else -1 for seat in self.board.values())
            self.winner = "draw" if first == 0 else 0 if first > 0 else 1


class Go(Plain):
    def __init__(self, size: int, komi: float) -> None:
        super().__init__(size, size)
        self.komi, self.plies, self.passed = komi, 0, False
        self.seen = [dict(self.board)]
        self.boards = [dict(self.board)]  # of every ply

    def after(self, cell: Cell) -> dict[Cell, int] | None:
        """Returns the board after a stone at a free point, None where the stone would be without liberties."""
        kept, self.board = self.board, {**self.board, cell: self.to_play}
        try:
            for seat in (1 - self.to_play, self.to_play):
                for other in [cell, *self.near(cell, FOUR)]:
                    if self.board.get(other) != seat:
                        continue
                    chain = self.reached(other, FOUR)
                    if all(free in self.board for stone in chain for free in self.near(stone, FOUR)):
                        if seat == self.to_play:
                            return None
                        for stone in chain:
                            del self.board[stone]
            return self.board
        finally:
            self.board = kept

    def is_legal(self, number: int) -> bool:
        if number == len(self.cells()):
            return True
        cell = divmod(number, self.width)
        after = None if cell in self.board else self.after(cell)
        return after is not None and after not in self.seen

    def play(self, number: int) -> None:
        passes = number == len(self.cells())
        if not passes:
            after = self.after(divmod(number, self.width))
            assert after is not None
            self.board = after
            self.seen.append(dict(after))
        over, self.passed = passes and self.passed, passes
        self.plies, self.to_play = self.plies + 1, 1 - self.to_play
        self.boards.append(dict(self.board))
        if over or self.plies == 2 * len(self.cells()):
            ahead = self.area() - self.komi
            self.winner = "draw" if ahead == 0 else 0 if ahead > 0 else 1

    def area(self) -> int:
        """Returns by how many points the first player is ahead before komi."""
        total = 0
        for cell in self.cells():
            borders = {self.board[cell]} if cell in self.board else set()
            if cell not in self.board:
                region = self.reached(cell, FOUR)
                borders = {self.board[n] for free in region for n in self.near(free, FOUR) if n in self.board}
            total += (borders == {0}) - (borders == {1})
        return total
