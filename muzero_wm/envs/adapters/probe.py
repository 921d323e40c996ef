"""What an environment does not say about itself and a few random games show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from muzero_wm.basis.seeding import derive_seed, episode_seeds
from muzero_wm.envs.base import EnvError
from muzero_wm.envs.slots.single import SingleEnv

_Answer = TypeVar("_Answer")
_ANSWERS: dict[tuple[str, int], tuple[object, Any]] = {}


def once(question: str, source: object, read: Callable[[], _Answer]) -> _Answer:
    """Returns what `read` returned when the question was first asked in this process.

    Args:
        question: what is asked, and of which environment.
        source: what the environment's name stands for, for example a registered factory; another object is asked anew.
        read: finds the answer.

    Returns:
        The answer.
    """
    key = (question, id(source))
    if key not in _ANSWERS:
        _ANSWERS[key] = (source, read())  # what is kept keeps its id
    answer: _Answer = _ANSWERS[key][1]
    return answer


def alternates(env: SingleEnv, seed: int = 0, games: int = 20, max_moves: int = 2000) -> bool:
    """Plays random games and tells whether every move passed the turn.

    That none was seen is no proof that no player ever moves twice in a row: `SlotEnv` goes on watching.

    Args:
        env: of two players; it stands somewhere in an episode afterwards.
        seed: of the episodes and of the moves.
        games: most games to play.
        max_moves: most moves to play in all of them.

    Returns:
        False if a player moved twice in a row.

    Raises:
        EnvError: the environment allows no action though the episode is not over.
    """
    rng = np.random.default_rng(derive_seed(seed, "probe"))
    moves = 0
    for reset_seed in episode_seeds(seed, 0, np.arange(games)):
        moment = env.reset(int(reset_seed))
        while not (moment.terminated or moment.truncated):
            if moves == max_moves:
                return True
            moves, mover = moves + 1, moment.to_play
            moment = env.step(_random_action(env, moment.legal_actions, rng))
            if moment.to_play == mover and not (moment.terminated or moment.truncated):
                return False
    return True


def _random_action(env: SingleEnv, legal_actions: Any, rng: np.random.Generator) -> int:
    if legal_actions is None:
        return int(rng.integers(env.spec.num_actions))
    legal = np.flatnonzero(legal_actions)
    if len(legal) == 0:
        raise EnvError(f"{env.spec.name}: no action is allowed though the episode is not over")
    return int(rng.choice(legal))
