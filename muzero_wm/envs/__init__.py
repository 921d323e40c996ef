"""Environments by name, all of them games in lockstep.

Example:
    >>> from muzero_wm import envs
    >>> env = envs.make("connect4", num_envs=2, seed=0)
    >>> step = env.reset()
    >>> step = env.step([3, 0])
    >>> step.to_play.tolist(), step.legal_actions.shape
    ([1, 1], (2, 7))
"""

from muzero_wm.envs.base import BatchedEnv, EnvError, EnvSpec, Step, Symmetry
from muzero_wm.envs.registry import board_game, is_built_in, make, names, spec

__all__ = [
    "BatchedEnv",
    "EnvError",
    "EnvSpec",
    "Step",
    "Symmetry",
    "board_game",
    "is_built_in",
    "make",
    "names",
    "spec",
]
