"""MinAtar through our interface against the library run by hand."""

from __future__ import annotations

import numpy as np
import pytest

from muzero_wm import envs
from muzero_wm.envs.adapters.minatar import GAMES, make_minatar
from muzero_wm.envs.naming.naming import parse_name
from muzero_wm.envs.slots.single import SingleEnv

minatar = pytest.importorskip("minatar", reason="the games of MinAtar (extra: minatar)")


def moves(count: int, actions: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(actions, size=count).tolist()


@pytest.mark.parametrize("game", GAMES)
def test_an_episode_is_the_library_s_own(game: str, seed: int) -> None:
    env = make_minatar(parse_name(f"minatar:{game}"))
    rewards = 0.0
    for reset_seed in range(seed, seed + 30):
        theirs = minatar.Environment(game)
        theirs.seed(reset_seed)
        theirs.reset()
        shown = env.reset(reset_seed).observation
        for action in moves(150, env.spec.num_actions, reset_seed):
            np.testing.assert_array_equal(shown, np.moveaxis(theirs.state(), 2, 0))
            reward, over = theirs.act(theirs.minimal_action_set()[action])
            moment = env.step(action)
            assert (moment.reward, moment.terminated, moment.truncated) == (reward, over, False)
            shown, rewards = moment.observation, rewards + reward
            if over:
                break
    assert rewards > 0 or game not in ("breakout", "space_invaders")  # in the others random play earns next to nothing


@pytest.mark.parametrize("game", GAMES)
def test_an_episode_depends_on_its_seed_alone(game: str, seed: int) -> None:
    def episode(env: SingleEnv, reset_seed: int) -> tuple[bytes, ...]:
        frames = [np.array(env.reset(reset_seed).observation)]
        for action in moves(300, env.spec.num_actions, seed):
            moment = env.step(action)
            frames.append(moment.observation)
            if moment.terminated:
                break
        return tuple(frame.tobytes() for frame in frames)

    used, fresh = (make_minatar(parse_name(f"minatar:{game}")) for _ in range(2))
    first = episode(used, seed)
    others = {episode(used, seed + k) for k in range(1, 20)}
    assert episode(used, seed) == first == episode(fresh, seed)
    assert others - {first}


def test_unfinished_episodes_are_played_again(seed: int) -> None:
    name = "minatar:Seaquest"
    env = envs.make(name, 3, seed)
    step = env.reset()
    for action in moves(60, 6, seed):
        step = env.step(np.full(3, action))
    again, goes_on = envs.make(name, 3, seed).restore(env.snapshot())
    assert goes_on.all()
    np.testing.assert_array_equal(again.observation, step.observation)


def test_a_long_episode_is_truncated() -> None:
    env = envs.make("minatar:freeway(max_episode_steps=7)", 2)
    step = env.reset()
    for length in range(1, 15):
        step = env.step(np.zeros(2, int))
        assert step.truncated.tolist() == [length % 7 == 0] * 2
        assert not step.terminated.any()


def test_options_reach_the_game(seed: int) -> None:
    assert envs.spec("minatar:SpaceInvaders").num_actions == 4
    spec = envs.spec("minatar:space_invaders(minimal_actions=False, sticky_action_prob=0)")
    assert (spec.num_actions, spec.num_players, spec.max_episode_steps) == (6, 1, 5000)
    assert (spec.observation_shape, spec.observation_dtype, spec.observation_bounds) == ((6, 10, 10), np.uint8, (0, 1))
    # Without sticky actions the paddle of Breakout (channel 0, last row) goes where it is sent, every time.
    env = make_minatar(parse_name("minatar:breakout(sticky_action_prob=0)"))
    env.reset(seed)
    assert [int(env.step(action).observation[0, 9].argmax()) for action in (1, 1, 2, 0, 1)] == [3, 2, 3, 3, 2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minatar:brekout", "no game 'brekout'.*did you mean 'breakout'"),
        ("minatar:breakout(colour=3)", "unexpected keyword argument 'colour'"),
        ("minatar:breakout(max_episode_steps=0)", "max_episode_steps must be an integer >= 1, got 0"),
        ("minatar:breakout(sticky_action_prob=2)", r"sticky_action_prob must be in \[0, 1\], got 2"),
    ],
)
def test_mistakes_are_said_in_one_line(name: str, message: str) -> None:
    with pytest.raises(envs.EnvError, match=message) as caught:
        envs.make(name, 1)
    assert "\n" not in str(caught.value)
