"""Speed of Atari: `ale:GAME` beside ale-py's own vector environment and EnvPool, and where the time of a step goes.

    python benchmarks/speed/atari_env.py --games Breakout Pong MsPacman --slots 8 --workers 0 1 2 --json atari_env.json

All show the same: four frames a step, the maximum of the last two, grey, 96 x 96 by area, four of them; a life lost
ends an episode, rewards are raw. They play random actions in turns, and medians of steps per second count. EnvPool
runs in the interpreter that `--envpool PYTHON` names, if one is named, since it is no extra of this package.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from muzero_wm import envs
from muzero_wm.bench.machine import describe
from muzero_wm.envs.adapters.atari import make_atari
from muzero_wm.envs.naming.naming import parse_name

ENVPOOL = """
import sys, time
import envpool, numpy as np
game, n, threads, seed = sys.argv[1], *map(int, sys.argv[2:])
env = envpool.make_gymnasium(
    game + "-v5", num_envs=n, num_threads=threads, seed=seed, img_height=96, img_width=96, stack_num=4, frame_skip=4,
    gray_scale=True, noop_max=30, episodic_life=True, repeat_action_probability=0.0, reward_clip=False,
    use_fire_reset=False,
)
env.reset()
rng = np.random.default_rng(seed)
for line in sys.stdin:
    seconds, spent, rounds, cpu = float(line), 0.0, 0, time.process_time()
    while spent < seconds:
        actions = rng.integers(env.action_space.n, size=n)
        start = time.perf_counter()
        env.step(actions)
        spent += time.perf_counter() - start
        rounds += 1
    print(n * rounds / spent, 1e6 * (time.process_time() - cpu) / (n * rounds), flush=True)
"""


class Peer:
    """EnvPool in an interpreter of its own, which measures when it is asked to."""

    def __init__(self, python: str, game: str, slots: int, threads: int, seed: int) -> None:
        """Starts it."""
        command = [python, "-c", ENVPOOL, game, str(slots), str(threads), str(seed)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def measure(self, seconds: float) -> tuple[float, float]:
        """Returns steps per second, and microseconds of all processors for a step."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(seconds, file=self._process.stdin, flush=True)
        speed, cpu = map(float, self._process.stdout.readline().split())
        return speed, cpu

    def close(self) -> None:
        """Ends it."""
        self._process.communicate()


class Player:
    """Random play of whatever has a step."""

    def __init__(
        self, step: Callable[[Any], Any], actions: int, slots: int, seed: int, close: Callable[[], Any]
    ) -> None:
        """Keeps what is needed."""
        self.step, self._actions, self._slots = step, actions, slots
        self._rng, self.close = np.random.default_rng(seed), close

    def measure(self, seconds: float) -> tuple[float, float]:
        """Returns steps per second, and microseconds of this process for a step, its threads together."""
        spent, rounds, cpu = 0.0, 0, time.process_time()
        while spent < seconds:
            actions = self._rng.integers(self._actions, size=self._slots)
            start = time.perf_counter()
            self.step(actions)
            spent += time.perf_counter() - start
            rounds += 1
        steps = self._slots * rounds
        return steps / spent, 1e6 * (time.process_time() - cpu) / steps


def ours(game: str, slots: int, workers: int, seed: int) -> Player:
    """Returns our environment."""
    env = envs.make(f"ale:{game}", slots, seed, workers=workers)
    env.reset()
    return Player(env.step, env.spec.num_actions, slots, seed, env.close)


def vector(game: str, slots: int, threads: int, seed: int) -> Player:
    """Returns ale-py's vector environment, preprocessed as ours."""
    from ale_py.vector_env import AtariVectorEnv

    rom = make_atari(parse_name(f"ale:{game}")).game
    env = AtariVectorEnv(
        rom, slots, num_threads=threads, img_height=96, img_width=96, noop_max=30, life_loss_info=True,
        reward_clipping=False, use_fire_reset=False,
    )  # fmt: skip
    env.reset(seed=seed)
    return Player(env.step, int(env.single_action_space.n), slots, seed, env.close)


def shares(game: str, steps: int, seed: int) -> dict[str, float]:
    """Returns where the time of a step goes, in microseconds of the processor: medians of parts that are timed alone.

    Args:
        game: which.
        steps: how many to time.
        seed: of the actions.

    Returns:
        The parts, and the whole step of one slot.
    """
    import cv2

    player, env = ours(game, 1, 0, seed), make_atari(parse_name(f"ale:{game}"))
    env.reset(seed)
    ale, rng, picture = env.emulator, np.random.default_rng(seed), np.zeros((210, 160), np.uint8)
    other = picture.copy()
    parts: dict[str, Callable[[], Any]] = {
        "four frames": lambda: [ale.act(0) for _ in range(4)],
        "grey, twice": lambda: (ale.getScreenGrayscale(picture), ale.getScreenGrayscale(other)),
        "maximum": lambda: np.maximum(picture, other, out=picture),
        "area": lambda: cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA),
        "whole step": lambda: player.step(rng.integers(env.spec.num_actions, size=1)),
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(steps):
        if ale.game_over():
            env.new_game(seed)
        for name, part in parts.items():
            start = time.thread_time()  # other work on the machine does not count
            part()
            times[name].append(1e6 * (time.thread_time() - start))
    player.close()
    found = {name: statistics.median(values) for name, values in times.items()}
    return found | {"rest": 2 * found["whole step"] - sum(found.values())}


def compared(args: argparse.Namespace, game: str, slots: int) -> dict[str, list[float]]:
    """Returns the median speed and cost of every contestant, which take turns; with workers the cost is elsewhere."""
    contestants: dict[str, Any] = {
        f"ours, {workers} workers" if workers != 1 else "ours, 1 worker": ours(game, slots, workers, args.seed)
        for workers in args.workers
    }
    contestants["AtariVectorEnv"] = vector(game, slots, args.threads, args.seed)
    if args.envpool:
        contestants["EnvPool"] = Peer(args.envpool, game, slots, args.threads, args.seed)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for contestant in contestants.values():
        contestant.measure(args.seconds / 4)  # the first steps wait for memory
    for _ in range(args.rounds):
        for name, contestant in contestants.items():
            found[name].append(contestant.measure(args.seconds))
    for contestant in contestants.values():
        contestant.close()
    return {name: [statistics.median(part) for part in zip(*pairs, strict=True)] for name, pairs in found.items()}


def main() -> None:
    """Measures and prints one line for each contestant, then the parts of a step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=["Breakout"], metavar="GAME", help="(default: Breakout)")
    parser.add_argument("--slots", type=int, nargs="+", default=[8], metavar="N", help="in lockstep (default: 8)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], metavar="W", help="ours (default: 0 1 2)")
    parser.add_argument("--threads", type=int, default=2, metavar="T", help="of the others (default: 2)")
    parser.add_argument("--envpool", metavar="PYTHON", help="an interpreter that has EnvPool")
    parser.add_argument("--rounds", type=int, default=5, help="in which they take turns (default: 5)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement (default: 0.5)")
    parser.add_argument("--seed", type=int, default=0, help="of games and actions (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements there")
    args = parser.parse_args()
    rows = []
    print(describe(), flush=True)
    for game in args.games:
        for slots in args.slots:
            found = compared(args, game, slots)
            rows.append({"game": game, "slots": slots, "steps_per_second_and_cpu_microseconds": found})
            told = "; ".join(f"{name} {speed:,.0f}, {cpu:,.0f}" for name, (speed, cpu) in found.items())
            print(f"{game}, {slots} slots, steps/s and CPU microseconds a step: {told}", flush=True)
    parts = {game: shares(game, 300, args.seed) for game in args.games}
    for game, times in parts.items():
        print(f"{game}, microseconds: {', '.join(f'{name} {value:.0f}' for name, value in times.items())}", flush=True)
    if args.json:
        record = {"machine": describe(), "rounds": args.rounds, "seconds": args.seconds, "seed": args.seed}
        args.json.write_text(json.dumps(record | {"rows": rows, "parts": parts}, indent=2) + "\n")


if __name__ == "__main__":
    main()
