"""How long a game or an episode of an evaluation may become."""

from __future__ import annotations

from muzero_wm.basis.errors import UserError
from muzero_wm.envs import EnvSpec

MOST_STEPS = 5000
"""Steps after which an episode is cut where the environment states no limit."""


def step_limit(spec: EnvSpec, max_steps: int | None) -> int:
    """Returns after how many steps an episode is cut, so that an evaluation always comes to its end.

    A policy that walks into a wall for ever never ends an episode of an environment without a time limit.

    Args:
        spec: the environment.
        max_steps: what was asked for; None for the environment's own limit, `MOST_STEPS` where it states none.

    Returns:
        Steps, >= 1.

    Raises:
        UserError: `max_steps` is below 1.
    """
    if max_steps is not None and max_steps < 1:
        raise UserError(f"max_steps must be at least 1, got {max_steps}")
    return (spec.max_episode_steps or MOST_STEPS) if max_steps is None else max_steps
