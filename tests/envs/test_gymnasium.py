"""The Gymnasium adapter: nothing off by one, ends told apart, every slot its own seed."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from muzero_wm import envs


class Counting(gymnasium.Env):
    """Step t (from 0) pays t and shows t + 1; `length` steps end the episode."""

    observation_space = spaces.Box(0.0, 100.0, (1,), np.float32)
    action_space = spaces.Discrete(3, start=5)

    def __init__(self, length: int = 4, bad_reward: bool = False, info: dict[str, Any] | None = None) -> None:
        self._length, self._bad_reward, self._info = length, bad_reward, info or {}
        self._t = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t = 0
        return np.zeros(1, np.float32), self._info

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in (5, 6, 7)
        reward = float("nan") if self._bad_reward else float(self._t)
        self._t += 1
        return np.full(1, self._t, np.float32), reward, self._t == self._length, False, self._info


class Continuous(Counting):
    """Has an action space that no discrete planner takes."""

    action_space = spaces.Box(0.0, 1.0, (1,))


VARIANTS: dict[str, dict[str, Any]] = {
    "Counting": {},
    "CountingLimited": {"max_episode_steps": 3},
    "CountingNan": {"kwargs": {"bad_reward": True}},
    "CountingMasked": {"kwargs": {"info": {"action_mask": np.array([1, 0, 1], np.int8)}}},
    "CountingStuck": {"kwargs": {"info": {"action_mask": np.zeros(3, np.int8)}}},
    "CountingTurns": {"kwargs": {"info": {"to_play": 0}}},
}
for name, options in VARIANTS.items():
    gymnasium.register(f"tests/{name}-v0", entry_point=Counting, disable_env_checker=True, **options)
gymnasium.register("tests/Continuous-v0", entry_point=Continuous, disable_env_checker=True)


@pytest.mark.parametrize(("variant", "length"), [("Counting", 4), ("CountingLimited", 3)])
def test_rewards_and_observations_belong_to_the_step_that_made_them(variant: str, length: int) -> None:
    env = envs.make(f"gym:tests/{variant}-v0", 2)
    step = env.reset()
    for t in range(3 * length):
        shown = t % length
        assert step.observation.ravel().tolist() == [shown, shown]
        step = env.step(np.array([0, 2]))
        assert step.reward.tolist() == [shown, shown]
        ended = shown == length - 1
        assert (step.terminated | step.truncated).tolist() == [ended, ended]
        if ended:
            assert step.final_observation.ravel().tolist() == [length, length]
            assert bool(step.truncated[0]) == (variant == "CountingLimited")
            assert bool(step.terminated[0]) == (variant == "Counting")


def test_cartpole_terminates_when_the_pole_falls_and_is_truncated_when_it_does_not(seed: int) -> None:
    env = envs.make("gym:CartPole-v1", 2, seed)
    assert env.spec.max_episode_steps == 500
    assert env.spec.observation_shape == (4,)
    step = env.reset()
    falls = 0
    for t in range(1, 501):
        _, speed, angle, turning = step.observation[0]
        balancing = int(3 * angle + turning + 0.1 * speed > 0)
        step = env.step(np.array([balancing, 0]))
        assert not step.truncated[1]
        falls += int(step.terminated[1])
        if step.terminated[1]:
            assert abs(step.final_observation[1, 2]) > 0.2
            assert abs(step.observation[1, 2]) < 0.06
        assert (bool(step.terminated[0]), bool(step.truncated[0])) == (False, t == 500)
        assert step.to_play.tolist() == [0, 0]
    assert 40 <= falls <= 63  # always pushing left, an episode lasts 8 to 12 steps
    env.close()


def test_slots_are_seeded_apart_and_do_not_depend_on_their_number(seed: int) -> None:
    few, many = envs.make("gym:CartPole-v1", 2, seed), envs.make("gym:CartPole-v1", 5, seed)
    a, b = few.reset(), many.reset()
    assert len(np.unique(b.observation, axis=0)) == 5
    for _ in range(60):  # long enough for second episodes
        np.testing.assert_array_equal(a.observation, b.observation[:2])
        a, b = few.step(np.zeros(2, int)), many.step(np.zeros(5, int))
    other = envs.make("gym:CartPole-v1", 2, seed + 1).reset()
    assert (other.observation != envs.make("gym:CartPole-v1", 2, seed).reset().observation).all()


def test_a_slot_does_not_begin_every_episode_alike(seed: int) -> None:
    env = envs.make("gym:CartPole-v1", 1, seed)
    starts = [env.reset().observation]
    while len(starts) < 4:
        step = env.step(np.zeros(1, int))
        if step.terminated[0]:
            starts.append(step.observation)
    assert len(np.unique(np.concatenate(starts), axis=0)) == 4


def test_masks_are_passed_on_and_kept() -> None:
    env = envs.make("gym:tests/CountingMasked-v0", 2)
    assert env.reset().legal_actions.tolist() == [[True, False, True]] * 2
    with pytest.raises(envs.EnvError, match=r"action 1 in slot 1 is illegal, legal are \[0, 2\]"):
        env.step(np.array([0, 1]))
    assert env.step(np.array([0, 2])).reward.tolist() == [0.0, 0.0]


def test_discrete_observations_become_one_hot() -> None:
    env = envs.make("gym:FrozenLake-v1", 3)
    step = env.reset()
    assert step.observation.dtype == np.float32
    assert step.observation.tolist() == [[1.0] + [0.0] * 15] * 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gym:CartPol-v1", "cannot make 'gym:CartPol-v1'.*CartPole"),
        ("gym:tests/Continuous-v0", "action space must be Discrete"),
        ("gym:Blackjack-v1", "observation space must be Box or Discrete"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(name: str, message: str) -> None:
    for attempt in (envs.spec, lambda wanted: envs.make(wanted, 2)):
        with pytest.raises(envs.EnvError, match=message) as caught:
            attempt(name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("CountingNan", "reward must be finite, got nan .slot 0, "),
        ("CountingStuck", "action mask.*allow an action"),
        ("CountingTurns", "turn-based"),
    ],
)
def test_what_an_environment_does_wrong_is_named(variant: str, message: str) -> None:
    env = envs.make(f"gym:tests/{variant}-v0", 1)

    def play() -> None:
        env.reset()
        env.step(np.array([0]))

    with pytest.raises(envs.EnvError, match=message):
        play()


def test_random_openings_are_for_boards() -> None:
    with pytest.raises(envs.EnvError, match="random_openings are for games of two players"):
        envs.make("gym:CartPole-v1", 1, random_openings=0.5, max_random_plies=3)
