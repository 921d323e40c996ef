"""MinAtar: five small games in the manner of Atari, 10x10 cells in a few channels of bits.

Used without MinAtar's own Gymnasium classes: they keep the last action over a reset, and as actions stick, an episode
would depend on the one before. The package is GPL and imported only when one of its games is asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import did_you_mean
from muzero_wm.envs.base import EnvError, EnvSpec
from muzero_wm.envs.language import Acted, Language, Observed, Part
from muzero_wm.envs.naming.naming import EnvName
from muzero_wm.envs.slots.single import Moment, SingleEnv

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")


class MinAtarEnv(SingleEnv):
    """One game of MinAtar; an episode that has gone on for `max_episode_steps` is truncated."""

    def __init__(
        self,
        name: str,
        game: str,
        *,
        minimal_actions: bool = True,
        max_episode_steps: int = 5000,
        sticky_action_prob: float = 0.1,
        difficulty_ramping: bool = True,
    ) -> None:
        """Makes the game once to learn its sizes.

        Args:
            name: what the environment is called.
            game: one of `GAMES`.
            minimal_actions: only the actions that do something in this game, in MinAtar's order; False: all six.
            max_episode_steps: most steps of an episode.
            sticky_action_prob: probability that the action before is played instead.
            difficulty_ramping: the game becomes harder as it goes on.

        Raises:
            EnvError: MinAtar is not installed, or an option is impossible.
        """
        if type(max_episode_steps) is not int or max_episode_steps < 1:
            raise EnvError(f"{name}: max_episode_steps must be an integer >= 1, got {max_episode_steps!r}")
        if not 0.0 <= sticky_action_prob <= 1.0:
            raise EnvError(f"{name}: sticky_action_prob must be in [0, 1], got {sticky_action_prob!r}")
        self._game = game
        self._options = {"sticky_action_prob": sticky_action_prob, "difficulty_ramping": difficulty_ramping}
        self._env = self._new(name)
        self._actions = self._env.minimal_action_set() if minimal_actions else range(self._env.num_actions())
        self._left = 0
        height, width, channels = self._env.state_shape()
        self.spec = EnvSpec(
            name=name,
            observation_shape=(channels, height, width),
            observation_dtype=np.dtype(np.uint8),
            num_actions=len(self._actions),
            num_players=1,
            max_episode_steps=max_episode_steps,
            observation_bounds=(0.0, 1.0),
            language=_language((height, width, channels), len(self._actions)),
        )

    def reset(self, seed: int) -> Moment:
        """Begins an episode in a new game: the library keeps the last action from one episode to the next."""
        self._env = self._new(self.spec.name)
        self._env.seed(seed)
        self._env.reset()
        self._left = self.spec.max_episode_steps or 0
        return Moment(self._observation())

    def step(self, action: int) -> Moment:
        """Plays an action."""
        reward, terminated = self._env.act(self._actions[action])
        self._left -= 1
        return Moment(
            self._observation(),
            reward=float(reward),
            terminated=bool(terminated),
            truncated=self._left == 0 and not terminated,
        )

    def stir(self, seed: int) -> bool:
        """Draws anew what chance decides from here on."""
        self._env.seed(seed)
        return True

    def _new(self, name: str) -> Any:
        try:
            from minatar import Environment
        except ImportError:
            raise EnvError(f'{name} needs MinAtar: pip install "muzero-wm[minatar]"') from None
        return Environment(self._game, **self._options)

    def _observation(self) -> NDArray[np.uint8]:
        return np.asarray(self._env.state(), np.uint8).transpose(2, 0, 1)


def _language(shape: tuple[int, int, int], num_actions: int) -> Language:
    """Returns the language of MinAtar's own Gymnasium classes: channels last, actions of the same numbers as here."""
    height, width, channels = (int(size) for size in shape)
    seen = Part((), f"bits of {(height, width, channels)}", (height, width, channels), "uint8", (2, 0, 1),
                (channels, height, width))  # fmt: skip
    return Language(Observed((seen,)), Acted(f"Discrete({num_actions})", (num_actions,), (0,)))


def make_minatar(name: EnvName) -> MinAtarEnv:
    """Makes a game of MinAtar.

    Args:
        name: "minatar:breakout(option=value)"; capitals and underscores in the game's name do not matter.

    Returns:
        The environment.

    Raises:
        EnvError: there is no such game or option, or MinAtar is not installed.
    """
    games = {game.replace("_", ""): game for game in GAMES}
    wanted = name.target.lower().replace("_", "").replace("-", "")
    if wanted not in games:
        known = ", ".join(GAMES)
        raise EnvError(
            f"MinAtar has no game {name.target!r} (known: {known}){did_you_mean(name.target.lower(), GAMES)}"
        )
    try:
        return MinAtarEnv(name.text, games[wanted], **name.options)
    except TypeError as error:
        raise EnvError(f"cannot make {name.text!r}: {error}") from error
