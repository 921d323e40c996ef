"""Speed of the built-in board games in random play, beside OpenSpiel's in the same run.

    python benchmarks/speed/games.py --json games.json
    python benchmarks/speed/games.py --only hex go

Of ours 256 games step in lockstep and all of `step` is timed: rules, legal moves, observations, the next games.
OpenSpiel plays one game after the other from Python, in which every move is `legal_actions` and `apply_action`; no
observations are made. The time is that of the processor, one thread; the two take turns, and medians count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from muzero_wm import envs
from muzero_wm.bench.machine import describe

GAMES = {
    "tictactoe": "tic_tac_toe",
    "connect4": "connect_four",
    "othello(board_size=6)": None,
    "othello": "othello",
    "gomoku": "gomoku",
    "hex": "hex",
    "go": "go(board_size=9)",
}


def ours(name: str, games: int, seconds: float, seed: int) -> float:
    """Returns the moves per second of random games in lockstep, choosing the moves left out.

    Args:
        name: of the environment.
        games: n.
        seconds: spent in `step`.
        seed: of the moves.
    """
    rng, env = np.random.default_rng(seed), envs.make(name, games, seed)
    step, spent, rounds = env.reset(), 0.0, 0
    while spent < seconds:
        actions = np.where(step.legal_actions, rng.random(step.legal_actions.shape), -1.0).argmax(axis=1)
        start = time.process_time()
        step = env.step(actions)
        spent += time.process_time() - start
        rounds += 1
    return games * rounds / spent


def openspiels(name: str, seconds: float, seed: int) -> float:
    """Returns the moves per second of random games of OpenSpiel, choosing the moves left out; see `ours`."""
    import pyspiel

    rng, game = np.random.default_rng(seed), pyspiel.load_game(name)
    draws = rng.random(10_000)
    moves, begin, over = 0, time.process_time(), 0.0
    state = game.new_initial_state()
    while (over := time.process_time() - begin) < seconds:
        for draw in draws:
            if state.is_terminal():
                state = game.new_initial_state()
            legal = state.legal_actions()
            state.apply_action(legal[int(draw * len(legal))])
        moves += len(draws)
    return moves / over


def main() -> None:
    """Measures every game and prints one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=GAMES, metavar="GAME", help="these games (default: all)")
    parser.add_argument("--games", type=int, default=256, help="in lockstep (default: 256)")
    parser.add_argument("--rounds", type=int, default=3, help="in which the two take turns (default: 3)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement (default: 0.5)")
    parser.add_argument("--seed", type=int, default=0, help="of the moves (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements there")
    args = parser.parse_args()
    rows = []
    print(f"{'game':22} {'ours':>10} {'OpenSpiel':>10}   moves/s of one thread, medians of {args.rounds}")
    for name in args.only or GAMES:
        theirs, pairs = GAMES[name], []
        for turn in range(args.rounds):
            mine = ours(name, args.games, args.seconds, args.seed + turn)
            pairs.append((mine, openspiels(theirs, args.seconds, args.seed + turn) if theirs else float("nan")))
        mine, other = (statistics.median(speeds) for speeds in zip(*pairs, strict=True))
        rows.append({"game": name, "ours": mine, "openspiel": None if theirs is None else other})
        print(f"{name:22} {mine:10,.0f} {'' if theirs is None else f'{other:,.0f}':>10}", flush=True)
    if args.json:
        record = {"machine": describe(), "games": args.games, "rounds": args.rounds, "seconds": args.seconds}
        args.json.write_text(json.dumps(record | {"seed": args.seed, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
