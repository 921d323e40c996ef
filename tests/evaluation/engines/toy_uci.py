"""An engine that speaks UCI with vertices for moves: plays the first legal move of Connect Four, and talks a lot."""

from __future__ import annotations

import sys

print("Toy 1.0 by nobody", flush=True)
stones: list[str] = []
for line in sys.stdin:
    word, *rest = line.split()
    if word == "uci":
        print("id name Toy\noption name Hash type spin\nuciok", flush=True)
    elif word == "isready":
        print("readyok", flush=True)
    elif word == "position":
        assert rest[0] == "startpos" and rest[1:2] in ([], ["moves"])
        stones = rest[2:]
        columns = [vertex[0] for vertex in stones]
        assert all(vertex[1:] == str(columns[: k + 1].count(vertex[0])) for k, vertex in enumerate(stones)), stones
    elif word == "go":
        columns = [vertex[0] for vertex in stones]
        free = next(column for column in "abcdefg" if columns.count(column) < 6)
        print(
            f"info depth 1 score cp 3\ninfo string thinking\nbestmove {free}{columns.count(free) + 1} ponder a1",
            flush=True,
        )
