"""A GTP engine that plays random legal moves of Go, by OpenSpiel's rules: the weakest opponent that is a program.

muzero-wm evaluate RUN --opponent "gtp:python benchmarks/learning/random_gtp.py"
"""

from __future__ import annotations

import random
import sys

import pyspiel

KNOWN = ("list_commands", "boardsize", "clear_board", "komi", "play", "genmove", "set_random_seed", "name", "quit")


def main() -> None:
    """Answers until the end of its input."""
    size, rng = 19, random.Random(0)
    state = start(size)
    for line in sys.stdin:
        number, command, *words = line.split()
        mark, answer = "=", ""
        if command == "list_commands":
            answer = "\n".join(KNOWN)
        elif command == "name":
            answer = "random"
        elif command == "boardsize":
            size = int(words[0])
            state = start(size)
        elif command == "clear_board":
            state = start(size)
        elif command == "set_random_seed":
            rng = random.Random(int(words[0]))
        elif command == "play":
            wanted = words[1].lower()
            action = next((move for move in state.legal_actions() if vertex(state, move) == wanted), None)
            if action is None:
                mark, answer = "?", "illegal move"
            else:
                state.apply_action(action)
        elif command == "genmove":
            action = rng.choice(state.legal_actions())
            answer = vertex(state, action)
            state.apply_action(action)
        elif command not in KNOWN:
            mark, answer = "?", "unknown command"
        print(f"{mark}{number} {answer}\n", flush=True)
        if command == "quit":
            return


def start(size: int) -> pyspiel.State:
    """Returns an empty board; how long a game may become is for the referee to say."""
    return pyspiel.load_game(f"go(board_size={size},max_game_length=100000)").new_initial_state()


def vertex(state: pyspiel.State, action: int) -> str:
    """Returns the vertex of a move, which OpenSpiel names by colour and vertex."""
    return str(state.action_to_string(action)).split()[1].lower()


main()
