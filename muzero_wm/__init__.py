"""MuZero-style agents: a learned world model planned with a native batched tree search.

    agent = muzero_wm.train("tictactoe", run_dir="runs/mine")
    agent = muzero_wm.load("runs/mine")
    action = agent.act(observation, info=info)

Importing this package is quick: PyTorch and Numba are imported by what needs them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muzero_wm import envs as envs
    from muzero_wm.agent import Agent as Agent
    from muzero_wm.agent import load as load
    from muzero_wm.evaluation.opponents import register_opponent as register_opponent
    from muzero_wm.evaluation.ratings.arena import arena as arena
    from muzero_wm.evaluation.ratings.result import ArenaResult as ArenaResult
    from muzero_wm.learning.registry import register_term as register_term
    from muzero_wm.learning.terms import Part as Part
    from muzero_wm.learning.terms import Term as Term
    from muzero_wm.learning.terms import Unroll as Unroll
    from muzero_wm.model.torsos import Layout as Layout
    from muzero_wm.model.torsos import Slice as Slice
    from muzero_wm.model.torsos import Torso as Torso
    from muzero_wm.model.torsos import register_torso as register_torso
    from muzero_wm.replay.stored import Moment as Moment
    from muzero_wm.replay.stored import Stored as Stored

__all__ = [
    "Agent", "ArenaResult", "Layout", "Moment", "Part", "Slice", "Stored", "Term", "Torso", "Unroll", "__version__",
    "arena", "envs", "load", "register_opponent", "register_term", "register_torso", "train",
]  # fmt: skip

__version__ = "0.1.0"


def train(
    preset_or_file: str | Path | None = None,
    *,
    env: str | Callable[..., Any] | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    max_minutes: float | None = None,
    max_updates: int | None = None,
    max_steps: int | None = None,
) -> Agent:
    """Trains an agent and returns it; the same as ``muzero-wm train``.

    Args:
        preset_or_file: name of a preset or a YAML file; None: it follows from `env` or from the run that is resumed.
        env: environment that replaces the preset's: a name, or a class or function that makes one, defined at the top
            of a module, which means "package.module:factory". One of the program itself is acted in by a process of its
            own only if the program is a script with a main guard; else acting shares the process of the learner.
        run_dir: where the run is kept; ``runs/<name>-<n>`` when None.
        resume: go on from the newest checkpoint in `run_dir`.
        seed: seed that replaces the preset's, >= 0.
        overrides: settings "a.b=value".
        max_minutes: stop after this much time.
        max_updates: stop after this many updates.
        max_steps: stop after this many steps of all environments together.

    Returns:
        The trained agent.

    Raises:
        UserError: the configuration, the environment, the run folder or the checkpoint cannot be used.
    """
    from muzero_wm.basis.planner_package import check_planner
    from muzero_wm.basis.processes import check_may_start

    check_may_start()  # before there is a folder
    check_planner()
    from muzero_wm.config.presets import plan_run
    from muzero_wm.envs.naming.imports import name_of

    config, folder = plan_run(
        preset_or_file,
        env=env if env is None or isinstance(env, str) else name_of(env),
        run_dir=run_dir,
        resume=resume,
        seed=seed,
        overrides=overrides,
        max_minutes=max_minutes,
        max_updates=max_updates,
        max_steps=max_steps,
    )
    from muzero_wm import training

    return training.train(config, folder, resume=resume)


_PLACES = {
    "Agent": "muzero_wm.agent",
    "ArenaResult": "muzero_wm.evaluation.ratings.result",
    "arena": "muzero_wm.evaluation.ratings.arena",
    "load": "muzero_wm.agent",
    "Moment": "muzero_wm.replay.stored",
    "Part": "muzero_wm.learning.terms",
    "Stored": "muzero_wm.replay.stored",
    "Term": "muzero_wm.learning.terms",
    "Unroll": "muzero_wm.learning.terms",
    "register_term": "muzero_wm.learning.registry",
    "Layout": "muzero_wm.model.torsos",
    "Slice": "muzero_wm.model.torsos",
    "Torso": "muzero_wm.model.torsos",
    "register_opponent": "muzero_wm.evaluation.opponents",
    "register_torso": "muzero_wm.model.torsos",
}


def __getattr__(name: str) -> Any:
    """Imports what stands here under a short name when it is first asked for."""
    if name in _PLACES:
        from muzero_wm.basis.planner_package import check_planner

        check_planner()
        return getattr(importlib.import_module(_PLACES[name]), name)
    if name == "envs":
        return importlib.import_module("muzero_wm.envs")
    raise AttributeError(f"module 'muzero_wm' has no attribute {name!r}")
