"""Times searches and updates with learned dynamics and with the rules as the model, and the rules' own share.

    python benchmarks/speed/by_rules.py --preset connect4 --rounds 7

Everything takes turns on one thread; the least CPU time of each counts, so that other work beside matters little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from muzero_wm import envs
from muzero_wm.bench.learner import made_up_games
from muzero_wm.bench.machine import describe
from muzero_wm.config import Config
from muzero_wm.config.presets import load_config
from muzero_wm.envs.boards.expand import expand, settle
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.learning.learner import Learner
from muzero_wm.model.world_model import WorldModel
from muzero_wm.planning.planner import Planner
from muzero_wm.replay.buffer import ReplayBuffer

UPDATES, REPEATS = 2, 20


def update(config: Config) -> Callable[[], object]:
    """Returns what makes `UPDATES` updates on made-up games."""
    spec = envs.spec(config.env)
    learner, buffer = Learner(config, spec), ReplayBuffer(spec, config.replay, config.search.discount)
    buffer.extend(made_up_games(spec, 10 * config.learning.batch_size, config.seed))
    rounds = iter(range(10**9))
    return lambda: learner.run_round(buffer, next(rounds), UPDATES, 0.0)


def search(config: Config, roots: int) -> Callable[[], object]:
    """Returns what searches `roots` positions in one shard."""
    torch.manual_seed(0)
    network = InferenceModel(WorldModel(config.model, envs.spec(config.env)).eval(), batch_size=roots)
    planner = Planner(network, envs.spec(config.env), config.search, 1, roots)
    env = envs.make(config.env, roots, 0, random_openings=1.0, max_random_plies=6)
    step = env.reset()
    return lambda: planner.search(step.observation, step.legal_actions, 0, states=env.states, explore=True, tree=False)


def rules(config: Config, rows: int) -> Callable[[], object]:
    """Returns what does what `REPEATS` simulations of `rows` roots take besides the network."""
    game = envs.board_game(config.env)
    pool = np.repeat(game.first_states(1), 2 * rows, 0)
    parent, action = np.zeros((2, rows), np.int32)
    reward, value, discount = np.zeros((3, rows), np.float32)
    over, legal = np.zeros(rows, np.bool_), np.zeros((rows, game.num_actions), np.bool_)
    seen, logits = game.look(pool[:rows])[0], np.zeros((rows, game.num_actions), np.float32)

    def run() -> None:
        kernels = game.step, game.legal, game.observe
        for _ in range(REPEATS):
            expand(*kernels, pool, parent, action, rows, rows, reward, over, legal, seen)
            settle(over, legal, -1.0, logits, value, discount)

    return run


def main() -> None:
    """Prints the least times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="connect4", help="of a built-in board (default: %(default)s)")
    parser.add_argument("--roots", type=int, default=256, help="of a search (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="of all measurements (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    work: dict[str, tuple[Callable[[], object], int]] = {}
    for model in ("learned", "rules"):
        config = load_config(args.preset, overrides=[f"search.model={model}"])
        work[f"update, {model}"] = update(config), UPDATES
        work[f"evaluation in a search, {model}"] = (
            search(config, args.roots), args.roots * (config.search.num_simulations + 1)
        )  # fmt: skip
    work[f"rules alone, {args.roots} rows"] = rules(config, args.roots), REPEATS
    best = dict.fromkeys(work, float("inf"))
    for run, _ in work.values():
        run()
    for _ in range(args.rounds):
        for name, (run, count) in work.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], (time.process_time() - start) / count)
    print(describe())
    for name, seconds in best.items():
        print(f"{name}: {seconds * 1e3:.3f} ms, {1 / seconds:,.0f} a second")


if __name__ == "__main__":
    main()
