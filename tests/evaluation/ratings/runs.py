"""Runs that were never trained: folders with checkpoints of random weights, made in no time."""

from __future__ import annotations

from pathlib import Path

import torch

from muzero_wm import envs
from muzero_wm.agent import Agent
from muzero_wm.config.presets import dump_config, load_config
from muzero_wm.model.world_model import WorldModel
from muzero_wm.storage.checkpoint import save_checkpoint

SMALL = ["model.torso=mlp", "model.width=8", "model.head_width=8", "model.projection_width=8"]
SMALL += ["search.num_simulations=4", "inference.backend=eager"]


def make_agent(env: str = "tictactoe", seed: int = 0) -> Agent:
    torch.manual_seed(seed)
    config, spec = load_config(env=env, overrides=SMALL), envs.spec(env)
    return Agent(config, spec, WorldModel(config.model, spec), 0)


def make_run(folder: Path, env: str = "tictactoe", steps: tuple[int, ...] = (0, 5, 9), seed: int = 0) -> Path:
    """Makes a run folder; the checkpoint before the last is the best by its metric."""
    folder.mkdir(parents=True)
    for step in steps:
        agent = make_agent(env, 100 * seed + step)
        text = dump_config(agent.config)
        (folder / "config.yaml").write_text(text)
        learner = {"teacher": agent.model.state_dict(), "updates": step}
        state = {"learner": learner, "config": text, "env": agent.spec.to_dict()}
        best = len(steps) > 1 and step == steps[-2]
        save_checkpoint(folder / "checkpoints", state, step=step, keep=9, metric=float(best))
    return folder
