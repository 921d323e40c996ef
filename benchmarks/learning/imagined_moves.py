"""How long imagination stays right: rewards and values after d imagined random moves in Connect Four.

For example:
    python benchmarks/learning/imagined_moves.py runs/connect4-1
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from muzero_wm.agent import load
from muzero_wm.envs import board_game

DEPTHS = 7
FEWEST_PLIES, MOST_PLIES = 4, 26


def random_moves(legal: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draws one legal action for each row of legal [n, A]."""
    return (rng.random(legal.shape) * legal).argmax(1)


def main() -> None:
    """Prints recall and false alarms of the imagined win, and how imagined and real values agree, for each depth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--positions", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model, game, rng = load(args.run).model, board_game("connect4"), np.random.default_rng(args.seed)

    states = game.first_states(args.positions)
    plies = rng.integers(FEWEST_PLIES, MOST_PLIES, args.positions)
    for ply in range(MOST_PLIES):
        following = game.play(states, random_moves(game.look(states)[1], rng))
        go_on = (ply < plies) & ~game.outcome(following)[0].astype(bool)
        states = np.where(go_on[:, None], following, states)

    playing = np.ones(args.positions, np.bool_)
    print("depth  wins  recall  false alarms  value correlation")
    with torch.no_grad():
        latent = model.represent(torch.from_numpy(game.look(states)[0]))
        for depth in range(1, DEPTHS + 1):
            action = random_moves(game.look(states)[1], rng)
            states[playing] = game.play(states[playing], action[playing])
            over = playing & game.outcome(states)[0].astype(bool)
            playing &= ~over
            latent = model.step(latent, torch.from_numpy(action))
            imagined = model.predict(latent)
            promised = model.reward_support.decode(imagined.reward_logits).numpy() > 0.5
            real = model.predict(model.represent(torch.from_numpy(game.look(states)[0])))
            values = [model.value_support.decode(p.value_logits).numpy()[playing] for p in (imagined, real)]
            print(
                f"{depth:5d}  {over.sum():4d}  {promised[over].mean():6.3f}  {promised[playing].mean():12.4f}  "
                f"{np.corrcoef(*values)[0, 1]:17.3f}"
            )


if __name__ == "__main__":
    main()
