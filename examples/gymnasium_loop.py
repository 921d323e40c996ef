"""A trained agent in an ordinary Gymnasium loop: `python examples/gymnasium_loop.py runs/lake FrozenLake-v1`."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium

import muzero_wm


def play(agent: muzero_wm.Agent, env: gymnasium.Env[Any, Any], seed: int) -> float:
    """Plays one episode and returns what it earned."""
    observation, info = env.reset(seed=seed)
    earned, over = 0.0, False
    while not over:
        action = agent.act(observation, info=info)  # takes what `env` shows and gives what it takes
        observation, reward, terminated, truncated, info = env.step(action)
        earned, over = earned + float(reward), terminated or truncated
    return earned


if __name__ == "__main__":
    run, name = sys.argv[1:]
    print("return", play(muzero_wm.load(run), gymnasium.make(name), seed=0))
