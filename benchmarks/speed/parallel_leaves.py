"""Strength of a search with several leaves per step against the sequential search, at equal numbers of simulations.

The search knows the true rules of Connect Four, so that nothing but the order of the simulations differs. Values and
priors come from a trained agent's network, or, without a run, from random playouts and no prior. Strength is the share
of solved positions in which the move chosen keeps the game-theoretic outcome; `weight` is the share of the policy
target on such moves, `repeated` the share of evaluations spent on a leaf that was waited for already. Needs bitbully
(pip install muzero-wm[eval]).

    python benchmarks/speed/parallel_leaves.py --run runs/connect4-1 --json leaves.json
    python benchmarks/speed/parallel_leaves.py --simulations 400 --positions 300
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mcts
from muzero_wm.agent import load
from muzero_wm.bench.machine import describe
from muzero_wm.envs import board_game
from muzero_wm.evaluation.solved import solved_positions

LEAVES = (1, 4, 8, 16, 32)
VIRTUAL_LOSSES = (0.0, 1.0, 3.0)
QTRANSFORMS = {
    "min_max": mcts.qtransform_by_min_max(min_value=-1.0, max_value=1.0),
    "siblings": mcts.qtransform_by_parent_and_siblings(),
}
BATCH = 256
PLAYOUTS = 4

Predict = Callable[[NDArray[np.int64]], tuple[NDArray[np.float32], NDArray[np.float32]]]


class TrueRules:
    """The rules of Connect Four as a model: a pool of positions by node, predictions by a given function."""

    def __init__(self, states: NDArray[np.int64], predict: Predict, num_simulations: int) -> None:
        self.game, self.predict = board_game("connect4"), predict
        self.pool = np.empty((num_simulations + 1, *states.shape), np.int64)
        self.pool[0] = states

    def root(self) -> mcts.RootOutput:
        """Predicts the roots."""
        return mcts.RootOutput(*self.predict(self.pool[0]))

    def __call__(
        self, parent_index: NDArray[np.int32], action: NDArray[np.int32], node_index: int
    ) -> mcts.RecurrentOutput:
        """Plays a move in every row; a game that is over stays as it is, without reward."""
        num_roots = self.pool.shape[1]
        leaves = len(action) // num_roots
        states = self.pool[parent_index, np.arange(len(action)) % num_roots]
        playing = ~self.game.outcome(states)[0]
        states[playing] = self.game.play(states[playing], action[playing])
        self.pool[node_index : node_index + leaves] = states.reshape(leaves, num_roots, -1)
        over, result = self.game.outcome(states)
        logits, value = np.zeros((len(action), self.game.num_actions), np.float32), np.zeros(len(action), np.float32)
        if not over.all():
            logits[~over], value[~over] = self.predict(states[~over])
        reward = np.where(playing, result, 0.0).astype(np.float32)
        return mcts.RecurrentOutput(reward, np.where(over, 0.0, -1.0).astype(np.float32), logits, value)


def by_network(run: Path) -> Predict:
    """Makes predictions with a trained agent's network."""
    agent, game = load(run), board_game("connect4")

    def predict(states: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        observations, legal, _ = game.look(states)
        probs, value = agent.policy(observations, legal)
        with np.errstate(divide="ignore"):
            return np.log(probs), value

    return predict


def by_playouts(seed: int) -> Predict:
    """Makes predictions by random playouts from the position, with a flat prior."""
    game, rng = board_game("connect4"), np.random.default_rng(seed)

    def predict(states: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        games = np.repeat(states, PLAYOUTS, axis=0)
        value, sign = np.zeros(len(games), np.float32), 1.0
        going = np.arange(len(games))
        while len(going):
            legal = game.legal_actions(games[going])
            games[going] = game.play(games[going], (rng.random(legal.shape) * legal).argmax(axis=1))
            over, result = game.outcome(games[going])
            value[going] = sign * result
            going, sign = going[~over], -sign
        with np.errstate(divide="ignore"):
            logits = np.log(game.legal_actions(states).astype(np.float32))
        return logits, value.reshape(-1, PLAYOUTS).mean(axis=1)

    return predict


def search(policy: str, model: TrueRules, args: argparse.Namespace, **options: Any) -> mcts.SearchResult:
    """Searches greedily."""
    shared = {"invalid_actions": ~model.game.legal_actions(model.pool[0]), "rng": args.seed, **options}
    if policy == "puct":
        return mcts.muzero_policy(
            model.root(),
            model,
            args.simulations,
            dirichlet_fraction=0.0,
            temperature=0.0,
            qtransform=QTRANSFORMS[args.qtransform],
            **shared,
        )
    return mcts.gumbel_muzero_policy(
        model.root(),
        model,
        args.simulations,
        gumbel_scale=0.0,
        qtransform=mcts.qtransform_completed_by_mix_value(value_scale=0.5, rescale_values=False),
        **shared,
    )


def measure(policy: str, predict: Predict, args: argparse.Namespace, **options: Any) -> dict[str, Any]:
    """Searches all positions with one setting."""
    positions = solved_positions(args.positions, args.seed)
    kept, weight, repeated = [], [], 0
    for begin in range(0, args.positions, BATCH):
        states, keeps = positions.states[begin : begin + BATCH], positions.keeps[begin : begin + BATCH]
        model = TrueRules(states, predict, args.simulations)
        result = search(policy, model, args, **options)
        kept.append(keeps[np.arange(len(keeps)), result.action])
        weight.append((result.action_weights * keeps).sum(axis=1))
        repeated += int((result.tree.node_visits == 0).sum())
    return {
        "policy": policy,
        **options,
        "kept": float(np.concatenate(kept).mean()),
        "weight": float(np.concatenate(weight).mean()),
        "repeated": repeated / (args.positions * args.simulations),
        "calls": math.ceil(args.simulations / options["leaves_per_step"]),
    }


def main() -> None:
    """Runs the settings and prints one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a Connect Four run whose network predicts; else random playouts")
    parser.add_argument("--simulations", type=int, default=200, help="per position")
    parser.add_argument("--positions", type=int, default=1000)
    parser.add_argument("--leaves", type=int, nargs="+", default=LEAVES)
    parser.add_argument("--losses", type=float, nargs="+", default=VIRTUAL_LOSSES, help="virtual losses of PUCT")
    parser.add_argument("--qtransform", choices=QTRANSFORMS, default="min_max", help="of PUCT")
    parser.add_argument("--policies", nargs="+", choices=("puct", "gumbel"), default=("puct", "gumbel"))
    parser.add_argument("--backend", choices=("native", "python"), default="native")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements there")
    args = parser.parse_args()
    settings: list[dict[str, Any]] = []
    for policy in args.policies:
        for leaves in args.leaves:
            losses = args.losses if policy == "puct" and leaves > 1 else [None]
            for loss in losses:
                options = {} if loss is None else {"virtual_loss": loss}
                settings.append({"policy": policy, "leaves_per_step": leaves, "backend": args.backend, **options})
    rows = []
    print(f"{'policy':7} {'leaves':>6} {'loss':>5} {'calls':>6} {'kept':>6} {'weight':>7} {'repeated':>9}")
    for setting in settings:
        predict = by_network(args.run) if args.run else by_playouts(args.seed)
        row = measure(setting.pop("policy"), predict, args, **setting)
        rows.append(row)
        loss = "-" if "virtual_loss" not in row else f"{row['virtual_loss']:g}"
        print(
            f"{row['policy']:7} {row['leaves_per_step']:6d} {loss:>5} {row['calls']:6d} {row['kept']:6.3f} "
            f"{row['weight']:7.3f} {row['repeated']:9.3f}",
            flush=True,
        )
    if args.json:
        record = {name: getattr(args, name) for name in ("simulations", "positions", "qtransform", "seed")}
        evaluator = "network" if args.run else f"{PLAYOUTS} random playouts"
        record |= {"machine": describe(), "evaluator": evaluator, "rows": rows}
        args.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
