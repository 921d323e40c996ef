"""Any number of actors play as one does: every slot has its own streams, whoever holds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.acting.pool import ActorPool
from muzero_wm.acting.worker import ActorHandle, InlineActor, ProcessActor
from muzero_wm.basis.processes import RemoteTraceback
from muzero_wm.basis.seeding import derive_seed, episode_seeds
from muzero_wm.config import Config, InferenceConfig
from tests.acting.pools import inline
from tests.acting.test_worker import ActingError, assert_same_games, config_for, play

WALK = "gym:tests.acting.faulty:Walk-v0"
PARTS = [range(1), range(1, 4)]


def named(env: str = WALK) -> Config:
    """Returns a configuration whose backend gives the same bits for any batch."""
    config = config_for(env, random_moves=0.5, min_noise=0.2)
    return config.model_copy(update={"inference": InferenceConfig(backend="native")})


@pytest.mark.usefixtures("forked_children")
@pytest.mark.parametrize("kind", [InlineActor, ProcessActor])
def test_several_actors_play_the_games_of_one(kind: type[ActorHandle]) -> None:
    config = named()
    one, several = inline(config), ActorPool(config, kind=kind, ranges=PARTS)
    expected, results = play(one, config, rounds=5), play(several, config, rounds=5)
    assert any(result.trajectories is not None for result in expected)
    assert_same_games(results, expected)
    for result, other in zip(results, expected, strict=True):
        assert result.steps == other.steps == 20
        for name, mean in other.stats.items():
            assert result.stats[name] == pytest.approx(mean, rel=1e-5), name


def test_several_actors_go_on_from_a_state() -> None:
    config = named()
    whole = play(ActorPool(config, kind=InlineActor, ranges=PARTS), config, rounds=6)
    first = ActorPool(config, kind=InlineActor, ranges=PARTS)
    results = play(first, config, rounds=3)
    again = ActorPool(config, first.state_dict(), kind=InlineActor, ranges=PARTS)
    assert_same_games(results + play(again, config, rounds=3), whole)
    with pytest.raises(envs.EnvError, match="actors: the checkpoint holds the states of 2, got 1"):
        inline(config, first.state_dict())


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("length", lambda array: array + 10**12, "expected the steps of"),
        ("length", lambda array: array * 0 + 2**62, "expected the steps of"),
        ("length", lambda array: array - 10**6, "expected the steps of"),
        ("lead", lambda array: array + 10**6, "expected at most"),
        ("lead", lambda array: array - 1, "expected at most"),
        ("repeated", lambda array: array + 10**6, "expected at most"),
        ("lead", lambda array: np.zeros(77, np.int64), "make no sense"),
        ("steps", lambda array: None, "make no sense"),
        ("action", lambda array: array + 99, "expected actions in 0 .. 1"),
        ("to_play", lambda array: array + 1, "expected seats in 0 .. 0"),
        ("reward", lambda array: array + np.nan, "reward: expected finite numbers"),
        ("policy", lambda array: array[:-1], "make no sense"),
    ],
)
def test_what_a_checkpoint_says_of_unfinished_episodes_is_checked(
    name: str, change: Callable[[NDArray[Any]], Any], problem: str
) -> None:
    config = named("gym:CartPole-v1(frame_stack=3)")
    pool = inline(config)
    play(pool, config, rounds=1)
    state = pool.state_dict()
    assert state["open"]["length"].min() > 0
    changed = state | {"open": state["open"] | {name: change(state["open"][name])}}
    with pytest.raises(envs.EnvError, match="the checkpoint's unfinished episodes") as caught:
        inline(config, changed)
    assert problem in str(caught.value) and "\n" not in str(caught.value)


def test_a_failing_slot_is_named_by_its_number_in_the_run() -> None:
    seed = int(episode_seeds(derive_seed(named().seed, "envs"), 2, 0)[0])
    config = named(f"gym:tests.acting.faulty:Walk-v0(fault='raise', once=False, in_seed={seed})")
    with pytest.raises(ActingError, match=r"slot 2, episode 0") as caught:
        play(ActorPool(config, kind=ProcessActor, ranges=PARTS), config)
    assert isinstance(caught.value.__cause__, RemoteTraceback)


def test_the_slots_must_be_all_of_the_run() -> None:
    for parts in ([range(3)], [range(2), range(3, 4)], [range(2, 4), range(2)]):
        with pytest.raises(ValueError, match="ranges: expected all of 4 slots in order"):
            ActorPool(named(), kind=InlineActor, ranges=parts)


def test_every_end_goes_to_its_episode_where_many_come_in_one_round() -> None:
    config = named()
    config = config.model_copy(update={"acting": config.acting.model_copy(update={"steps_per_round": 40})})
    one = play(inline(config), config, rounds=2)
    assert_same_games(play(ActorPool(config, kind=InlineActor, ranges=PARTS), config, rounds=2), one)
    assert all(result.trajectories is not None and len(result.trajectories) > 12 for result in one)
