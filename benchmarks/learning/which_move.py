"""Plays the two moves that a Gumbel search can mean against each other.

Without noise the survivor of sequential halving is the action with the most visits and, among those, the best score;
the improved policy also ranks actions that were visited less. One agent plays both sides, in pairs of games with one
random opening. For example:

    python benchmarks/learning/which_move.py runs/quickstart runs/connect4-1 --games 400 --simulations 16 64

Tic-tac-toe tells the losses against every sequence of replies too. Where a run is for one player, both play the same
number of episodes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from muzero_wm.agent import Agent, load
from muzero_wm.bench.machine import describe
from muzero_wm.envs import BatchedEnv, Step
from muzero_wm.evaluation import play_episodes, play_every_reply, play_match, plies_for
from muzero_wm.evaluation.evaluate import EXHAUSTIVE_ENVS


class Mover:
    """Plays by the survivor or by the improved policy, and counts how often they differ."""

    def __init__(self, agent: Agent, simulations: int, improved: bool, seed: int) -> None:
        self._agent, self._simulations, self._improved, self._seed = agent, simulations, improved, seed
        self.moves = self.differ = 0

    def actions(self, env: BatchedEnv, step: Step, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns a move for each of the games `rows`."""
        states = None if env.states is None else env.states[rows]
        return self.choose(step.observation[rows], step.legal_actions[rows], states=states)

    def choose(
        self, observations: NDArray[Any], legal_actions: NDArray[np.bool_], *, states: NDArray[np.int64] | None
    ) -> NDArray[np.int64]:
        """Returns a move for each observation."""
        result = self._agent.search(observations, legal_actions, self._simulations, states=states, rng=self._seed)
        survivor = result.action.astype(np.int64)
        best = result.action_weights.argmax(1)
        self.moves += len(best)
        self.differ += int((survivor != best).sum())
        return best if self._improved else survivor


def compare(agent: Agent, simulations: int, games: int, seed: int) -> tuple[str, Mover]:
    """Returns what came out, from the view of the improved policy, and the player that counted."""
    improved, survivor = (Mover(agent, simulations, flag, seed) for flag in (True, False))
    name = agent.spec.name
    if agent.spec.num_players == 1:
        means: list[dict[str, Any]] = [play_episodes(name, p, games, seed).summary() for p in (improved, survivor)]
        return " against ".join(f"{mean['mean_return']:.1f}" for mean in means), improved
    result = play_match(name, improved, survivor, games, seed, opening_plies=plies_for(name, games))
    total, report = result.total, result.to_dict()
    low, high = report["ci95"]
    counts = f"{total.wins} / {total.draws} / {total.losses}, {report['distinct_games']} distinct"
    return f"{counts}: {total.score:.1%} ({low:.1%} to {high:.1%})", improved


def lines_lost(agent: Agent, simulations: int) -> str:
    """Returns how many sequences of replies either loses, where a game is small enough for all of them."""
    if agent.spec.name not in EXHAUSTIVE_ENVS:
        return ""
    movers = (Mover(agent, simulations, flag, 0) for flag in (True, False))
    return " / ".join(str(play_every_reply(agent.spec.name, mover.choose)["losses"]) for mover in movers)


def main() -> None:
    """Prints a row for each run and number of simulations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--games", type=int, default=400)
    parser.add_argument("--simulations", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    lost = "lines lost, improved / survivor"
    table = Table("run", "simulations", "moves that differ", "the improved policy's, against the survivor", lost)
    table.caption = describe()
    for run in args.runs:
        agent = load(run)
        for simulations in args.simulations:
            text, mover = compare(agent, simulations, args.games, args.seed)
            differ = f"{mover.differ / mover.moves:.1%}"
            table.add_row(str(run), str(simulations), differ, text, lines_lost(agent, simulations))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
