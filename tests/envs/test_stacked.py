"""Stacked frames: oldest first, each seat its own, nothing shared with the environment or a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from muzero_wm import envs
from muzero_wm.envs.adapters.gymnasium import GymnasiumEnv
from muzero_wm.envs.adapters.stacked import StackedEnv
from tests.envs.toys import Echo, Walk


def test_frames_are_oldest_first_and_begin_with_the_first() -> None:
    env = StackedEnv(Walk(), 3)
    assert (env.spec.observation_shape, env.spec.frames, env.spec.frame_shape) == ((6,), 3, (2,))
    shown = [env.reset(2).observation] + [env.step(action).observation for action in (1, 2, 3)]
    assert [row[::2].tolist() for row in shown] == [[2, 2, 2], [2, 2, 3], [2, 3, 5], [3, 5, 8]]
    assert env.reset(4).observation[::2].tolist() == [4, 4, 4]


def test_a_seat_sees_what_it_saw_itself() -> None:
    env = StackedEnv(Walk(players=2), 2)
    assert (env.spec.frames, env.spec.frame_shape) == (1, (4,)), "two histories cannot be told from one row of frames"
    shown = [env.reset(0).observation] + [env.step(action).observation for action in (1, 2, 3)]
    assert [row.reshape(2, 2).tolist() for row in shown] == [
        [[0, 0], [0, 0]], [[1, 1], [1, 1]], [[0, 0], [3, 0]], [[1, 1], [6, 1]],
    ]  # fmt: skip


def test_images_are_stacked_by_channels() -> None:
    inner = Echo(spaces.Box(0, 255, (6, 5, 2), np.uint8))
    inner.shown = np.full((6, 5, 2), 1, np.uint8) * np.array([1, 2], np.uint8)
    env = StackedEnv(GymnasiumEnv("toy", inner), 2)
    assert (env.spec.observation_shape, env.spec.observation_dtype) == ((4, 6, 5), np.uint8)
    assert (env.spec.frames, env.spec.frame_shape) == (2, (2, 6, 5))
    env.reset(0)
    inner.shown = inner.shown + np.uint8(10)
    assert env.step(0).observation[:, 3, 3].tolist() == [1, 2, 11, 12]


def test_slots_stack_and_show_the_end(seed: int) -> None:
    """Against the plain environment, frame by frame."""
    plain, stacked = envs.make("gym:CartPole-v1", 2, seed), envs.make("gym:CartPole-v1(frame_stack=3)", 2, seed)
    a, b = plain.reset(), stacked.reset()
    assert stacked.spec.observation_shape == (12,)
    frames: list[list[Any]] = [[row] * 3 for row in a.observation]
    for t in range(60):
        assert np.array_equal(b.observation, [np.concatenate(rows[-3:]) for rows in frames])
        a, b = plain.step(np.full(2, t % 3 == 0, int)), stacked.step(np.full(2, t % 3 == 0, int))
        for i in range(2):
            if a.terminated[i]:
                assert np.array_equal(b.final_observation[i], np.concatenate([*frames[i][-2:], a.final_observation[i]]))
            frames[i] = [a.observation[i]] * 3 if a.terminated[i] else [*frames[i], a.observation[i]]


def test_an_unfinished_stacked_episode_goes_on(seed: int) -> None:
    name = "tests.envs.toys:walk(players=2, frame_stack=4)"
    env, other = envs.make(name, 3, seed), envs.make(name, 3, seed)
    env.reset()
    for _ in range(5):
        before = env.step(np.array([0, 1, 2]))
    step, goes_on = other.restore(env.snapshot())
    assert goes_on.all()
    assert np.array_equal(step.observation, before.observation)
    assert np.array_equal(env.step(np.array([3, 2, 1])).observation, other.step(np.array([3, 2, 1])).observation)


def test_a_copy_has_its_own_frames() -> None:
    env = StackedEnv(Walk(), 2)
    env.reset(0)
    env.step(1)
    twin = env.clone()
    assert twin.step(2).observation[::2].tolist() == [1, 3]
    assert env.step(3).observation[::2].tolist() == [1, 4]
    assert twin.step(4).observation[::2].tolist() == [3, 7]


def test_what_cannot_be_stacked_is_refused() -> None:
    env = Walk()
    env.spec = envs.EnvSpec("walk", (2, 2), np.dtype(np.float32), 5, 1)
    with pytest.raises(envs.EnvError, match="frame_stack is for vectors and"):
        StackedEnv(env, 2)
    env = Walk()
    env.spec = envs.EnvSpec("walk", (3,), np.dtype(np.float32), 5, 1)
    with pytest.raises(envs.EnvError, match=r"observation must have shape \(3,\), got \(2,\)"):
        StackedEnv(env, 2).reset(0)
