"""What an environment tells once it tells always: a mask or a turn that goes missing is an error, in every adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from muzero_wm import envs
from muzero_wm.envs.adapters.gymnasium import GymnasiumEnv
from muzero_wm.envs.adapters.stacked import StackedEnv
from muzero_wm.envs.base import EnvSpec
from muzero_wm.envs.checking.check import check_env
from muzero_wm.envs.slots.single import Moment, SingleEnv
from muzero_wm.envs.slots.slots import SlotEnv

MASK = np.array([1, 0, 1], np.int8)


class Forgets(gymnasium.Env):
    """Nine steps, of which the third forgets to tell `what`; then everything is told again."""

    def __init__(self, what: str = "", where: str = "info", players: int = 1) -> None:
        self._what, self._where, self._players = what, where, players
        seen = spaces.Box(0, 9, (1,), np.float32)
        self.observation_space = seen
        if where == "observation":
            self.observation_space = spaces.Dict(action_mask=spaces.MultiBinary(3), view=seen)
        self.action_space = spaces.Discrete(3)
        self.metadata = {"render_modes": [], "alternating": True}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self.look()

    def step(self, action: int) -> Any:
        assert MASK[action]
        self.t += 1
        observation, info = self.look()
        return observation, 0.0, self.t == 9, False, info

    def look(self) -> Any:
        told: dict[str, Any] = {"action_mask": MASK}
        if self._players == 2:
            told["to_play"] = self.t % 2
        if self.t == 3:
            told.pop(self._what, None)
        view = np.array([self.t], np.float32)
        if self._where == "info":
            return view, told
        mask = {"action_mask": told.pop("action_mask")} if "action_mask" in told else {}
        return {"view": view, **mask}, told


class Own(SingleEnv):
    """The same, written against our own interface."""

    def __init__(self) -> None:
        self.spec = EnvSpec("own", (1,), np.dtype(np.float32), 3, 1)

    def reset(self, seed: int) -> Moment:
        self._t = 0
        return Moment(np.zeros(1), MASK)

    def step(self, action: int) -> Moment:
        self._t += 1
        return Moment(np.full(1, self._t), None if self._t == 3 else MASK, terminated=self._t == 9)


def aec() -> SingleEnv:
    pytest.importorskip("pettingzoo")
    from muzero_wm.envs.adapters.pettingzoo import PettingZooEnv
    from tests.envs.test_pettingzoo import Race

    class Forgetful(Race):
        def step(self, action: int) -> None:
            super().step(action)
            if self.moves == 3:
                for agent in self.agents:
                    del self.infos[agent]["action_mask"]

    game = PettingZooEnv("race that forgets", Forgetful())
    game.spec = EnvSpec(**{**vars(game.spec), "alternating": False})
    return game


MAKERS: dict[str, Callable[[], SingleEnv]] = {
    "info": lambda: GymnasiumEnv("toy", Forgets("action_mask")),
    "observation": lambda: GymnasiumEnv("toy", Forgets("action_mask", "observation")),
    "stacked": lambda: StackedEnv(GymnasiumEnv("toy", Forgets("action_mask")), 2),
    "two players": lambda: GymnasiumEnv("toy of two", Forgets("action_mask", players=2)),
    "PettingZoo": aec,
    "SingleEnv": Own,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_mask_that_goes_missing_is_an_error_that_names_the_step(kind: str) -> None:
    env = SlotEnv(MAKERS[kind], 1)
    env.reset()
    for _ in range(2):
        env.step(np.array([0]))
    with pytest.raises(envs.EnvError, match=r"mask.*missing.*\(slot 0, episode 0, reset seed \d+, step 3\)") as caught:
        env.step(np.array([0]))
    if kind != "observation":
        assert "give it in reset and in every step" in str(caught.value)


@pytest.mark.parametrize("kind", MAKERS)
def test_check_env_tells_it_too(kind: str) -> None:
    errors = check_env(MAKERS[kind], steps=40).of("error")
    assert any("mask" in error.seen and "step 3" in error.seen for error in errors)


def test_a_turn_that_goes_missing_is_an_error_that_names_the_step() -> None:
    env = SlotEnv(lambda: GymnasiumEnv("toy of turns", Forgets("to_play", players=2)), 1)
    env.reset()
    for _ in range(2):
        env.step(np.array([0]))
    with pytest.raises(envs.EnvError, match=r"\['to_play'\] must say in every step .*got None \(slot 0.*step 3\)"):
        env.step(np.array([0]))


def test_a_mask_that_is_forgotten_at_the_next_reset_is_an_error() -> None:
    class AtFirst(Forgets):
        def look(self) -> Any:
            view, told = super().look()
            return view, told if self.t else {}

    env = SlotEnv(lambda: GymnasiumEnv("toy", AtFirst()), 1)
    env.reset()
    for _ in range(8):
        env.step(np.array([0]))
    with pytest.raises(envs.EnvError, match=r"mask.*missing.*episode 1, .*step 0\)"):
        env.step(np.array([0]))


def test_nothing_needs_to_be_told_when_an_episode_is_over() -> None:
    class AtTheEnd(Forgets):
        def look(self) -> Any:
            view, told = super().look()
            return view, {} if self.t == 9 else told

    env = SlotEnv(lambda: GymnasiumEnv("toy", AtTheEnd()), 1)
    env.reset()
    for _ in range(30):
        assert env.step(np.array([0])).legal_actions.tolist() == [[True, False, True]]


def test_random_games_that_probe_an_environment_notice_it() -> None:
    class Probed(Forgets):
        def __init__(self) -> None:
            super().__init__("action_mask", players=2)
            self.metadata = {"render_modes": []}

    with pytest.raises(envs.EnvError, match="the action mask was given before and is missing now"):
        GymnasiumEnv("probed", Probed())
