"""What a run may expect: known answers for numbers that were measured elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from muzero_wm.bench.forecast import expect, judge_images, workers
from muzero_wm.envs.adapters.gymnasium import GymnasiumEnv
from muzero_wm.envs.base import EnvSpec
from tests.envs.toys import Echo

SPEED = {"steps_per_second": 1000.0, "searches_per_second": 1000.0, "share": 0.5, "num_envs": 64, "max_minutes": 20.0}
RETURNS = {"mean": 3.0, "min": 1.0, "max": 9.0}


def facts(**others: Any) -> dict[str, Any]:
    return {"speed": SPEED, "returns": RETURNS, "episodes": 9, "chance_share": None, **others}


@pytest.mark.parametrize(
    ("changes", "built_in", "cores", "told"),
    [
        ({}, False, 8, "would help where cores are free, 8 there are: a step of all 64 environments takes 64 ms"),
        ({}, False, 2, "would not pay on two cores: search and learner need them"),
        ({}, False, 1, "would not pay on one core"),
        ({"steps_per_second": 20_000.0}, False, 8, "would not pay: a step of all 64 environments takes 3.2 ms"),
        ({"share": 0.3}, False, 8, None),
        ({"share": None}, False, 8, None),
        ({}, True, 8, None),
    ],
)
def test_workers_are_recommended_where_they_pay(
    changes: dict[str, Any], built_in: bool, cores: int, told: str | None
) -> None:
    line = workers(SPEED | changes, built_in, cores)
    assert line is None if told is None else told in str(line)


def test_the_speed_is_that_of_environment_and_search_in_turn() -> None:
    assert expect(facts(), True, 2)[0].startswith("some 500 steps a second, at most 600,000 in its 20 minutes; ")
    assert "minutes" not in expect(facts(speed=SPEED | {"max_minutes": None}), True, 2)[0]
    assert not any("steps a second" in line for line in expect(facts(speed=SPEED | {"share": None}), True, 2))


def test_what_random_play_earns_is_what_to_compare_with() -> None:
    assert any("random play earns 3 an episode" in line for line in expect(facts(), True, 2))
    same = facts(returns={"mean": -200.0, "min": -200.0, "max": -200.0}, episodes=2)
    assert any(line.startswith("all 2 random episodes earn -200: ") for line in expect(same, True, 2))
    assert not any("random" in line for line in expect({**facts(), "returns": None}, True, 2))


def test_chance_is_foreseen_where_it_decides_something() -> None:
    assert any("chance decides 60% of what a step changes" in line for line in expect(facts(chance_share=0.6), True, 2))
    assert not any("chance decides" in line for line in expect(facts(chance_share=0.01), True, 2))


def spec_of(space: spaces.Space[Any]) -> EnvSpec:
    return GymnasiumEnv(f"toy {space}", Echo(space, shown=space.sample())).spec


@pytest.mark.parametrize(
    ("space", "torso", "seen"),
    [
        (
            spaces.Box(0, 255, (84, 80, 3), np.uint8),
            "mlp",
            "an image of 84 x 80 is given to the network mlp: it would be learnt as 20,160 numbers",
        ),
        (spaces.Box(0, 255, (84, 80, 3), np.uint8), "conv", None),
        (spaces.Box(0, 255, (84, 80, 3), np.uint8), "pixels", None),
        (spaces.Box(0, 255, (84, 80), np.uint8), "mlp", "an image of 84 x 80"),
        (spaces.Box(0, 255, (84, 300, 3), np.uint8), "pixels", "an image of 84 x 300, and the network pixels needs "),
        (spaces.Box(0, 1, (3, 3, 3)), "mlp", None),
        (spaces.Box(0, 1, (2000,)), "mlp", None),
        (
            spaces.Dict(camera=spaces.Box(0, 255, (20, 30, 3), np.uint8), speed=spaces.Box(-1, 1, (2,))),
            "mlp",
            "'camera', an image of 20 x 30, is put beside other parts: it would be learnt as 1,800 numbers",
        ),
        (spaces.Dict(board=spaces.Box(0, 1, (6, 7, 3)), move=spaces.Discrete(9)), "mlp", None),
    ],
    ids=str,
)
def test_a_large_image_that_would_be_learnt_as_flat_numbers_or_not_at_all_is_told(
    space: spaces.Space[Any], torso: str, seen: str | None
) -> None:
    finding = judge_images(spec_of(space), torso)
    assert (finding is None) == (seen is None)
    if finding is not None:
        assert seen is not None and seen in finding.seen
        assert finding.severity == ("error" if "300" in seen else "warning")
