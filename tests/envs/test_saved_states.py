"""Environments that save their state: an unfinished episode is loaded, also one that does not follow from its seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from muzero_wm import envs
from muzero_wm.envs.adapters.stacked import StackedEnv
from muzero_wm.envs.base import BatchedEnv, Step
from muzero_wm.envs.slots.slots import SlotEnv
from tests.envs.toys import Lives, Walk

LIVES = "tests.envs.toys:lives"
FIELDS = ("observation", "legal_actions", "to_play", "reward", "terminated", "truncated", "final_observation")


def play(env: BatchedEnv, steps: int, seed: int) -> list[Step]:
    rng = np.random.default_rng(seed)
    return [env.step(rng.integers(env.spec.num_actions, size=env.num_envs)) for _ in range(steps)]


def assert_same(first: list[Step], second: list[Step]) -> None:
    for one, other in zip(first, second, strict=True):
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field), field)


@pytest.mark.parametrize("name", [LIVES, f"{LIVES}(frame_stack=3)"])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_episode_in_the_middle_of_a_game_is_loaded(name: str, workers: int, seed: int) -> None:
    env = envs.make(name, 4, seed)
    env.reset()
    before = play(env, 11, seed)[-1]  # some slots are in the second or third episode of a game
    snapshot = env.snapshot()
    assert snapshot["action"].size == 0 and (snapshot["state_length"] > 0).all()
    again = envs.make(name, 4, seed, workers=workers)
    try:
        step, goes_on = again.restore(snapshot)
        assert goes_on.all() and again.not_restored == ""
        np.testing.assert_array_equal(step.observation, before.observation)
        assert_same(play(env, 200, seed + 1), play(again, 200, seed + 1))
        for key, array in env.snapshot().items():
            np.testing.assert_array_equal(array, again.snapshot()[key], key)
    finally:
        again.close()


def test_episodes_that_are_given_up_are_followed_by_a_new_game(seed: int) -> None:
    env = envs.make(LIVES, 5, seed)
    env.reset()
    play(env, 8, seed)
    step, goes_on = env.restore(env.snapshot(), keep_episodes=False)
    assert not goes_on.any() and env.not_restored == "unfinished episodes were given up"
    assert not step.observation[:, 1].any()  # steps of the game
    play(env, 8, seed)
    assert not env.reset().observation[:, 1].any()


def test_what_is_no_state_is_told_and_the_next_episode_begins(seed: int) -> None:
    env = envs.make(LIVES, 2, seed)
    env.reset()
    play(env, 3, seed)
    snapshot = env.snapshot()
    bad = snapshot | {"state": np.frombuffer(b"?" * snapshot["state"].size, np.uint8)}
    step, goes_on = env.restore(bad)
    assert not goes_on.any() and env.not_restored == "lives: this is no state of it"
    assert not step.observation[:, 1].any()
    for key in ("state", "state_length", "action"):
        cut = snapshot | {key: np.append(snapshot[key], snapshot[key].dtype.type(1))}
        with pytest.raises(envs.EnvError, match=r"tests.envs.toys:lives: snapshot\['(state|action)'\] must have"):
            env.restore(cut)


def test_a_snapshot_without_states_is_played_again(seed: int) -> None:
    """As those of earlier versions are."""
    name = "gym:CartPole-v1"
    env, other = envs.make(name, 3, seed), envs.make(name, 3, seed)
    env.reset()
    play(env, 5, seed)
    snapshot = {key: array for key, array in env.snapshot().items() if not key.startswith("state")}
    assert other.restore(snapshot)[1].all()
    assert_same(play(env, 30, seed), play(other, 30, seed))


def test_an_environment_that_cannot_be_saved_after_all_says_where() -> None:
    class Broken(Lives):
        def save(self) -> bytes:
            raise RuntimeError("the disk is full")

    env = SlotEnv(Broken, 2, 0)
    env.reset()
    with pytest.raises(envs.EnvError, match=r"lives: save raised RuntimeError: the disk is full \(slot 0, episode 0"):
        env.snapshot()


@pytest.mark.parametrize("how", ["exit", "hang"])
@pytest.mark.parametrize("where", ["save", "load"])
def test_an_environment_that_never_comes_back_from_saving_or_loading_is_named(where: str, how: str) -> None:
    name = f"tests.envs.toys:stuck(where={where}, how={how})"
    quiet = envs.make("tests.envs.toys:lives", 4)
    quiet.reset()
    play(quiet, 1, 0)
    env = envs.make(name, 4, workers=2, timeout=0.5 if how == "hang" else None)
    try:
        env.reset()
        play(env, 1, 0)
        with pytest.raises(envs.EnvError) as caught:
            env.restore(quiet.snapshot()) if where == "load" else env.snapshot()
    finally:
        env.close()
    wrong = f"{where} takes longer than" if how == "hang" else f"slots 0 to 1 ended in {where}: exit code 3"
    assert wrong in str(caught.value) and "(slot 0, episode 0, reset seed " in str(caught.value)
    assert str(caught.value).endswith("step 1)")


def test_two_seats_do_not_see_all_that_a_stack_holds() -> None:
    class Saving(Walk):
        saves_state = True

    assert StackedEnv(Saving(), 2).saves_state
    assert not StackedEnv(Saving(players=2), 2).saves_state


def test_others_say_that_they_cannot_be_saved() -> None:
    env: Any = Walk()
    for call in (env.save, lambda: env.load(b"", np.zeros(2))):
        with pytest.raises(envs.EnvError, match="walk cannot be"):
            call()
