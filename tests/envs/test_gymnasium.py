"""The Gymnasium adapter: nothing off by one, ends told apart, every slot its own seed, two players, masks, copies."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils import EzPickle

from muzero_wm import envs
from muzero_wm.envs.adapters.gymnasium import GymnasiumEnv
from tests.envs.helpers import random_moves
from tests.envs.toys import Counting, Echo, Masked, Nim


class Continuous(Counting):
    """Has an action space that no discrete planner takes."""

    action_space = spaces.Box(0.0, 1.0, (1,))


VARIANTS: dict[str, dict[str, Any]] = {
    "Counting": {},
    "CountingLimited": {"max_episode_steps": 3},
    "CountingBoth": {"max_episode_steps": 4},
    "CountingNan": {"kwargs": {"bad_reward": True}},
    "CountingMasked": {"kwargs": {"info": {"action_mask": np.array([1, 0, 1], np.int8)}}},
    "CountingStuck": {"kwargs": {"info": {"action_mask": np.zeros(3, np.int8)}}},
    "CountingSeat": {"kwargs": {"info": {"to_play": 2}}},
}
for name, options in VARIANTS.items():
    gymnasium.register(f"tests/{name}-v0", entry_point=Counting, disable_env_checker=True, **options)
gymnasium.register("tests/Continuous-v0", entry_point=Continuous, disable_env_checker=True)
gymnasium.register("tests/Nim-v0", entry_point=Nim, disable_env_checker=True)
gymnasium.register("tests/Masked-v0", entry_point=Masked, max_episode_steps=9)


@pytest.mark.parametrize(("variant", "length"), [("Counting", 4), ("CountingLimited", 3), ("CountingBoth", 4)])
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
            assert bool(step.terminated[0]) == (variant != "CountingLimited")


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


def test_discrete_observations_become_one_hot() -> None:
    env = envs.make("gym:FrozenLake-v1", 3)
    step = env.reset()
    assert step.observation.dtype == np.float32
    assert step.observation.tolist() == [[1.0] + [0.0] * 15] * 3


def test_options_reach_the_environment() -> None:
    """On ice that is not slippery this way leads to the goal of the 4x4 lake and no other reward is paid."""
    env = envs.make("gym:FrozenLake-v1(is_slippery=False, map_name='4x4')", 1)
    env.reset()
    rewards = [float(env.step(np.array([action])).reward[0]) for action in (1, 1, 2, 1, 2, 2)]
    assert rewards == [0, 0, 0, 0, 0, 1]
    assert envs.spec("gym:FrozenLake-v1(map_name='8x8')").observation_shape == (64,)


def test_blackjack_shows_three_one_hots(seed: int) -> None:
    env = envs.make("gym:Blackjack-v1", 8, seed)
    step = env.reset()
    assert (env.spec.observation_shape, env.spec.observation_bounds) == ((45,), (0.0, 1.0))
    hands, dealers, aces = step.observation[:, :32], step.observation[:, 32:43], step.observation[:, 43:]
    for part in (hands, dealers, aces):
        assert part.sum(axis=1).tolist() == [1.0] * 8
    assert all(4 <= hand <= 21 for hand in hands.argmax(axis=1))
    assert all(1 <= card <= 10 for card in dealers.argmax(axis=1))


def test_lunar_lander_falls_without_engines(seed: int) -> None:
    pytest.importorskip("Box2D")
    env = envs.make("gym:LunarLander-v3", 1, seed)
    step = env.reset()
    assert (env.spec.observation_shape, env.spec.num_actions, env.spec.max_episode_steps) == ((8,), 4, 1000)
    assert env.spec.observation_bounds == (-10.0, 10.0)
    while not step.terminated[0]:
        step = env.step(np.zeros(1, int))
    assert step.reward[0] == -100.0  # a crash
    env.close()


def test_taxi_forbids_walls_and_empty_calls(seed: int) -> None:
    """Its mask is `info["action_mask"]`: an action is allowed where it changes the state."""
    env = envs.make("gym:Taxi-v4", 4, seed)
    rng = np.random.default_rng(seed)
    rules = gymnasium.make("Taxi-v4").unwrapped.P
    step = env.reset()
    for _ in range(100):
        for row, legal in zip(step.observation, step.legal_actions, strict=True):
            state = int(row.argmax())
            assert legal.tolist() == [rules[state][action][0][1] != state for action in range(6)]
        step = env.step(random_moves(step.legal_actions, rng))


def test_masks_are_passed_on_and_kept() -> None:
    env = envs.make("gym:tests/CountingMasked-v0", 2)
    assert env.reset().legal_actions.tolist() == [[True, False, True]] * 2
    with pytest.raises(envs.EnvError, match=r"action 1 in slot 1 is illegal, legal are \[0, 2\]"):
        env.step(np.array([0, 1]))
    assert env.step(np.array([0, 2])).reward.tolist() == [0.0, 0.0]


def test_the_method_action_masks_is_asked_after_every_step_through_wrappers() -> None:
    env = envs.make("gym:tests/Masked-v0", 1)
    legal = [env.reset().legal_actions[0].tolist()] + [env.step(np.array([3])).legal_actions[0].tolist() for _ in "123"]
    assert legal == [[True] * 4, [False] + [True] * 3, [False] * 2 + [True] * 2, [False] * 3 + [True]]


def test_a_dict_observation_may_hold_the_mask() -> None:
    space = spaces.Dict(observation=spaces.Discrete(3), action_mask=spaces.MultiBinary(4))
    shown = {"observation": 2, "action_mask": np.array([0, 1, 1, 0], np.int8)}
    moment = GymnasiumEnv("toy", Echo(space, spaces.MultiDiscrete([2, 2]), shown)).reset(0)
    assert moment.observation.tolist() == [0, 0, 1]
    assert moment.legal_actions.tolist() == [0, 1, 1, 0]


def test_combined_actions_reach_the_environment() -> None:
    inner = Echo(action_space=spaces.MultiDiscrete([2, 3]))
    env = GymnasiumEnv("toy", inner)
    env.reset(0)
    for action in (5, 1):
        env.step(action)
    assert [got.tolist() for got in inner.got] == [[1, 2], [0, 1]]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gym:CartPol-v1", "cannot make 'gym:CartPol-v1'.*CartPole"),
        ("gym:CartPole-v1(colour=1)", "cannot make .*colour"),
        ("gym:tests/Continuous-v0", "continuous actions are not supported"),
        ("gym:tests/CountingSeat-v0", r"info\['to_play'\] must say .* 0 or 1, got 2"),
        ("gym:tests/Nim-v0(alternating=1)", r"metadata\['alternating'\] must be True or False, got 1"),
        ("gym:tests/Nim-v0(value_bounds=[1, -1])", r"metadata\['value_bounds'\] must be two rising finite numbers"),
        ("gym:tests/Nim-v0(value_bounds=2)", r"metadata\['value_bounds'\] must be two rising finite numbers"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(name: str, message: str) -> None:
    for attempt in (envs.spec, lambda wanted: envs.make(wanted, 2).reset()):
        with pytest.raises(envs.EnvError, match=message) as caught:
            attempt(name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CountingNan-v0", "reward must be finite, got nan .slot 0, "),
        ("CountingStuck-v0", "action mask.*allow an action"),
        ("Nim-v0(quiet=step, alternating=True)", r"info\['to_play'\] must say in every step .* None .slot 0.* step 1"),
        ("Nim-v0(pile=1, prize=3.0, alternating=True)", r"reward 3.0 is outside \[-1, 1\]; declare .*bounds.*slot 0"),
    ],
)  # fmt: skip
def test_what_an_environment_does_wrong_is_named(name: str, message: str) -> None:
    def play() -> None:
        env = envs.make(f"gym:tests/{name}", 1)
        env.reset()
        env.step(np.array([0]))

    with pytest.raises(envs.EnvError, match=message):
        play()


def test_seats_that_come_late_and_wrong_returns_are_named() -> None:
    env = GymnasiumEnv("toy", Echo())
    env.reset(0)
    env._env.step = lambda _: (0, 0.0, False, False, {"to_play": 1})
    with pytest.raises(envs.EnvError, match="must be in reset's info already"):
        env.step(0)
    env._env.step = lambda _: (0, 0.0, False, {})
    with pytest.raises(envs.EnvError, match=r"step must return \(observation, reward, terminated, truncated, info\)"):
        env.step(0)
    env._env.reset = lambda seed: 0
    with pytest.raises(envs.EnvError, match=r"reset must return \(observation, info\), got 0"):
        env.reset(0)


def test_two_players_take_turns_and_the_mover_is_paid() -> None:
    env = envs.make("gym:tests/Nim-v0(pile=4, quiet=end)", 2)
    assert (env.spec.num_players, env.spec.value_bounds, env.spec.alternating) == (2, (-1.0, 1.0), True)
    step = env.reset()
    assert step.to_play.tolist() == [0, 0]
    step = env.step(np.array([0, 2]))
    assert (step.to_play.tolist(), step.observation[:, 0].tolist()) == ([1, 1], [3, 1])
    assert step.legal_actions.tolist() == [[True] * 3, [True, False, False]]
    step = env.step(np.array([2, 0]))  # player 1 takes the last of both
    assert (step.reward.tolist(), step.terminated.tolist()) == ([1.0, 1.0], [True, True])
    assert (step.final_to_play.tolist(), step.to_play.tolist()) == ([0, 0], [0, 0])
    assert step.final_observation.tolist() == [[0, 0], [0, 0]]


def test_games_in_which_a_player_moves_again_are_found_out_or_declared() -> None:
    assert not envs.spec("gym:tests/Nim-v0(again=1)").alternating
    assert not envs.spec("gym:tests/Nim-v0(alternating=False)").alternating
    assert envs.spec("gym:tests/Nim-v0(again=1, alternating=True)").alternating
    env = envs.make("gym:tests/Nim-v0(again=1)", 1)
    env.reset()
    assert [int(env.step(np.array([action])).to_play[0]) for action in (0, 1, 0)] == [0, 1, 1]


def test_a_game_that_is_not_what_it_was_taken_for_is_stopped() -> None:
    env = envs.make("gym:tests/Nim-v0(again=1, alternating=True)", 1)
    env.reset()
    env.step(np.array([1]))
    with pytest.raises(
        envs.EnvError, match=r"player 1 moves twice in a row, .*strictly alternating; declare it.*step 2"
    ):
        env.step(np.array([0]))


def test_the_last_move_of_a_game_may_keep_the_turn() -> None:
    env = envs.make("gym:tests/Nim-v0(pile=1, again=1, alternating=True)", 1)
    env.reset()
    step = env.step(np.array([0]))
    assert step.terminated[0]
    assert step.final_to_play[0] == 0


def test_declared_returns_may_be_larger() -> None:
    env = envs.make("gym:tests/Nim-v0(pile=1, prize=3.0, value_bounds=[-3, 3])", 1)
    assert env.spec.value_bounds == (-3.0, 3.0)
    env.reset()
    assert env.step(np.array([0])).reward.tolist() == [3.0]


def test_the_players_are_asked_for_once() -> None:
    """Every environment after the first is left as it is until its own reset."""
    env = envs.make("gym:tests/Nim-v0(pile=9)", 3)
    resets = [single._env.unwrapped.resets for single in env.envs]
    assert resets[0] > 1
    assert resets[1:] == [0, 0]


def test_a_spec_is_read_anew_when_the_name_is_given_to_something_else() -> None:
    for length in (3, 8):
        gymnasium.register("tests/Again-v0", entry_point=Counting, max_episode_steps=length, disable_env_checker=True)
        assert envs.spec("gym:tests/Again-v0").max_episode_steps == length
        del gymnasium.registry["tests/Again-v0"]


@pytest.mark.parametrize(("name", "moves"), [("CartPole-v1", 5), ("FrozenLake-v1", 1), ("tests/Nim-v0(pile=30)", 4)])
def test_a_copy_goes_its_own_way_from_the_same_place(name: str, moves: int, seed: int) -> None:
    env = envs.make(f"gym:{name}", 1, seed)
    env.reset()
    for _ in range(moves):
        env.step(np.array([0]))
    twin = env.envs[0].clone()
    moments = [twin.step(1)]
    if not moments[0].terminated:
        moments.append(twin.step(0))
    for moment, action in zip(moments, (1, 0), strict=False):
        step = env.step(np.array([action]))
        shown = step.final_observation if moment.terminated else step.observation
        assert np.array_equal(moment.observation, shown[0])
        assert (moment.reward, moment.terminated) == (step.reward[0], step.terminated[0])


def test_a_copy_asks_its_own_masks() -> None:
    env = GymnasiumEnv("toy", Masked())
    env.reset(0)
    twin = env.clone()
    assert twin.step(3).legal_actions.tolist() == [False, True, True, True]
    assert env._env.unwrapped.got == []


def test_what_cannot_be_copied_says_so(tmp_path: Path) -> None:
    inner = Counting()
    inner.log = (tmp_path / "log").open("w")
    with pytest.raises(envs.EnvError, match=r"cannot be copied, .*deepcopy raised TypeError"):
        GymnasiumEnv("toy", inner).clone()
    inner.log.close()


def test_copies_that_would_begin_anew_are_refused() -> None:
    class Pickled(Counting, EzPickle):
        def __init__(self) -> None:
            super().__init__()
            EzPickle.__init__(self)

    env = gymnasium.wrappers.TimeLimit(Pickled(), 9)
    env.reset()
    env.step(5)
    assert copy.deepcopy(env).unwrapped._t == 0 != env.unwrapped._t
    with pytest.raises(envs.EnvError, match=r"copies of Pickled .* begin anew"):
        GymnasiumEnv("toy", env).clone()


def test_wrappers_that_reset_are_refused() -> None:
    wrapped = gymnasium.wrappers.TimeLimit(gymnasium.wrappers.Autoreset(Counting()), 9)
    with pytest.raises(envs.EnvError, match=r"the wrapper Autoreset plays on after an episode's end.*leave it out"):
        GymnasiumEnv("toy", wrapped)


def test_the_shortest_time_limit_counts_and_none_is_none() -> None:
    limited = gymnasium.wrappers.TimeLimit(gymnasium.make("CartPole-v1"), 30)
    assert GymnasiumEnv("toy", limited).spec.max_episode_steps == 30
    assert GymnasiumEnv("bare", copy.deepcopy(limited).unwrapped).spec.max_episode_steps is None


def test_random_openings_are_for_boards() -> None:
    with pytest.raises(envs.EnvError, match="random_openings are for games of two players"):
        envs.make("gym:CartPole-v1", 1, random_openings=0.5, max_random_plies=3)
