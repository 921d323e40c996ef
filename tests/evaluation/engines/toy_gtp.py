"""A GTP engine of a few lines, a process of its own: random moves by the rules of OpenSpiel, and every kind of fault.

Run as `toy_gtp.py GAME [FAULT [PLY]]`: from the PLY-th move of a game on (0) it crashes, hangs, ... instead of moving.
It shares no code with ours.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pyspiel

GAME, FAULT, PLY = (*sys.argv[1:], "", "0")[:3] if len(sys.argv) < 4 else sys.argv[1:4]
LETTERS = "abcdefghjklmnopqrst"


def main() -> None:
    game = pyspiel.load_game(GAME)
    size, komi = int(game.get_parameters().get("board_size", 0)), None
    state = game.new_initial_state()
    rng = random.Random(0)
    if FAULT == "mute":
        time.sleep(600)
    if FAULT == "banner":
        print("Welcome to an engine that has not read the protocol", flush=True)
    for line in sys.stdin:
        number, command, *words = line.split()
        if FAULT == "loud":  # more than a pipe holds
            sys.stderr.write("thinking hard\n" * 20_000)
        answer = ""
        if command == "list_commands":
            answer = "list_commands\nboardsize\nclear_board\nkomi\nplay\ngenmove\nquit\nset_random_seed"
        elif command == "boardsize" and size and int(words[0]) != size:
            answer = "?unacceptable size"
        elif command == "komi":
            komi = float(words[0])
        elif command == "clear_board":
            state = game.new_initial_state()
        elif command == "set_random_seed":
            rng = random.Random(int(words[0]))
        elif command == "play":
            # the names of moves in OpenSpiel's Go are a colour and a vertex
            action = next((a for a in state.legal_actions() if name(state, a) == words[1].lower()), None)
            if action is None or state.current_player() != "bw".index(words[0][0]):
                answer = "?illegal move"
            else:
                state.apply_action(action)
        elif command == "genmove":
            if FAULT not in ("", "loud", "dribble") and len(state.history()) >= int(PLY):
                answer = fault(number)
            else:
                action = rng.choice(state.legal_actions())
                answer = name(state, action)
                state.apply_action(action)
        elif command == "komi?":
            answer = str(komi)
        elif command == "quit":
            print(f"={number}\n", flush=True)
            return
        mark, answer = ("?", answer[1:]) if answer.startswith("?") else ("=", answer)
        if FAULT == "dribble":  # legal, and how answers look that were written on Windows
            for byte in f"\r\n{mark}{number}  {answer}\r\n\r\n":
                sys.stdout.write(byte)
                sys.stdout.flush()
        else:
            print(f"{mark}{number} {answer}\n", flush=True)


def name(state: pyspiel.State, action: int) -> str:
    if GAME.startswith("go"):
        return state.action_to_string(action).split()[1].lower()
    if GAME.startswith("connect_four"):
        return LETTERS[action] + str(state.history().count(action) + 1)
    return str(state.action_to_string(state.current_player(), action)).lower()


def fault(number: str) -> str:
    if FAULT == "crash":
        sys.exit("a bug in the engine")
    if FAULT == "killed":
        os.kill(os.getpid(), 9)
    if FAULT in ("hang", "children"):
        if FAULT == "children":
            subprocess.Popen(["sleep", "600"])
        time.sleep(600)
    if FAULT == "half":
        print(f"={number} d", end="", flush=True)
        time.sleep(600)
    if FAULT == "half-and-gone":
        print(f"={number} d", end="", flush=True)
        os._exit(0)
    if FAULT == "garbage":
        print("segmentation fault (core dumped)\n", flush=True)
    if FAULT == "other-id":
        print("=999 d4\n", flush=True)
    if FAULT == "flood":
        while True:
            print("#" * 10_000, end="", flush=True)
    if FAULT == "flood-of-lines":
        print(f"={number} d4", flush=True)
        while True:
            print("info depth 1", flush=True)
    return {"error": "?out of memory", "illegal": "a1", "off-board": "z99", "resign": "resign", "empty": ""}[FAULT]


main()
