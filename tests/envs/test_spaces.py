"""Spaces: what every kind of observation and action becomes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from muzero_wm.envs import EnvError
from muzero_wm.envs.adapters.spaces import guess_channels, read_action_space, read_observation_space

U8, F4, I4 = np.dtype(np.uint8), np.dtype(np.float32), np.dtype(np.int32)
CAMERA = spaces.Box(0, 255, (2, 3), np.uint8)


@pytest.mark.parametrize(
    ("space", "shape", "dtype", "bounds"),
    [
        (spaces.Box(-1, 2, (5,)), (5,), F4, (-1, 2)),
        (spaces.Box(-1, 2, ()), (1,), F4, (-1, 2)),
        (spaces.Box(0, np.inf, (5,)), (5,), F4, None),
        (spaces.Box(np.float32([0, -3]), np.float32([1, 3.4e38])), (2,), F4, None),
        (spaces.Box(0, 255, (7,), np.uint8), (7,), U8, (0, 255)),
        (spaces.Box(0, 1, (7,), np.bool_), (7,), U8, (0, 1)),
        (spaces.Box(0, 9, (7,), np.int64), (7,), F4, (0, 9)),
        (spaces.Box(0, 2, (6, 7), np.int8), (1, 6, 7), F4, (0, 2)),
        (spaces.Box(0, 2, (2, 7), np.int8), (14,), F4, (0, 2)),
        (spaces.Box(0, 255, (84, 80), np.uint8), (1, 84, 80), U8, (0, 255)),
        (spaces.Box(0, 1, (5, 7)), (35,), F4, (0, 1)),
        (spaces.Box(0, 1, (8, 9)), (1, 8, 9), F4, (0, 1)),
        (spaces.Box(0, 255, (84, 80, 3), np.uint8), (3, 84, 80), U8, (0, 255)),
        (spaces.Box(0, 255, (4, 84, 80), np.uint8), (4, 84, 80), U8, (0, 255)),
        (spaces.Box(0, 1, (10, 10, 4), np.bool_), (4, 10, 10), U8, (0, 1)),
        (spaces.Box(0, 1, (6, 20, 17)), (6, 20, 17), F4, (0, 1)),
        (spaces.Box(0, 255, (2, 84, 80, 3), np.uint8), (6, 84, 80), U8, (0, 255)),
        (spaces.Box(0, 1, (2, 2, 2, 2, 2)), (32,), F4, (0, 1)),
        (spaces.Discrete(4, start=-2), (4,), F4, (0, 1)),
        (spaces.MultiBinary(6), (6,), U8, (0, 1)),
        (spaces.MultiBinary([3, 4]), (1, 3, 4), U8, (0, 1)),
        (spaces.MultiDiscrete([2, 3]), (5,), F4, (0, 1)),
        (spaces.Tuple((spaces.Discrete(32), spaces.Discrete(11), spaces.Discrete(2))), (45,), F4, (0, 1)),
        (spaces.Dict(b=spaces.Box(-7, 5, (2,)), a=spaces.Discrete(3)), (5,), F4, (-7, 5)),
        (spaces.Dict(b=spaces.Box(-7, np.inf, (2,)), a=spaces.Discrete(3)), (5,), F4, None),
        (spaces.Dict(camera=spaces.Box(0, 255, (9, 8, 3), np.uint8)), (3, 9, 8), U8, (0, 255)),
    ],
    ids=str,
)
def test_shape_dtype_and_bounds(
    space: spaces.Space[Any], shape: tuple[int, ...], dtype: np.dtype[Any], bounds: tuple[float, float] | None
) -> None:
    encoder = read_observation_space("toy", space)
    assert (encoder.shape, encoder.dtype, encoder.bounds) == (shape, dtype, bounds)
    space.seed(3)
    for _ in range(5):
        array = encoder.encode(space.sample())
        assert array.shape == shape
        assert array.dtype == dtype
        assert bounds is None or bounds[0] <= array.min() <= array.max() <= bounds[1]


@pytest.mark.parametrize(
    ("space", "raw", "encoded"),
    [
        (spaces.Discrete(4, start=-2), 1, [0, 0, 0, 1]),
        (spaces.Discrete(4), np.int64(0), [1, 0, 0, 0]),
        (spaces.MultiDiscrete([2, 3]), [1, 0], [0, 1, 1, 0, 0]),
        (spaces.MultiDiscrete([2, 3], start=[5, 7]), [5, 9], [1, 0, 0, 0, 1]),
        (spaces.Tuple((spaces.Discrete(2), spaces.Box(-9, 9, (2,)))), (1, [4, -5]), [0, 1, 4, -5]),
        (spaces.Dict(b=spaces.Box(-9, 9, (2,)), a=spaces.Discrete(3)), {"a": 2, "b": [4, -5]}, [4, -5, 0, 0, 1]),
        (spaces.Tuple((CAMERA, spaces.MultiBinary(2))), ([[1, 2, 3], [4, 5, 6]], [1, 0]), [1, 2, 3, 4, 5, 6, 1, 0]),
    ],
    ids=str,
)  # fmt: skip
def test_known_answers(space: spaces.Space[Any], raw: Any, encoded: list[float]) -> None:
    assert read_observation_space("toy", space).encode(raw).tolist() == encoded


@pytest.mark.parametrize(
    ("shape", "where", "sure"),
    [
        ((8, 8, 20), "last", True), ((20, 8, 8), "first", True), ((64, 64, 20), "last", True),
        ((3, 3, 3), "first", False),
        ((3, 3, 2), "last", True), ((3, 3, 210), "last", True), ((6, 7, 2), "last", True), ((2, 6, 7), "first", True),
        ((210, 160, 3), "last", True), ((3, 210, 160), "first", True), ((19, 19, 17), "last", True),
        ((6, 7, 20), "last", False), ((20, 7, 6), "first", False), ((4, 6, 7), "first", False),
        ((1, 1, 1), "first", True), ((6, 1, 6), "first", False), ((4, 6, 9), "first", False),
        ((1, 5, 5), "first", True), ((5, 1, 1), "first", True),
    ],
)  # fmt: skip
def test_where_the_channels_are(shape: tuple[int, int, int], where: str, sure: bool) -> None:
    assert guess_channels(shape) == (where, sure)
    for dtype in (np.uint8, np.float32):
        encoder = read_observation_space("toy", spaces.Box(0, 1, shape, dtype))
        assert encoder.shape == (shape if where == "first" else (shape[2], *shape[:2]))
        assert bool(encoder.doubts) != sure
        other: Any = "last" if where == "first" else "first"
        told = read_observation_space("toy", spaces.Box(0, 1, shape, dtype), other)
        assert told.shape == (shape if other == "first" else (shape[2], *shape[:2]))
        assert told.doubts == ()


def test_a_doubt_says_both_ways_and_the_part() -> None:
    view = spaces.Box(0, 1, (2, 6, 7, 20))
    (doubt,) = read_observation_space("toy", spaces.Dict(view=view)).doubts
    assert doubt.startswith("observation['view'] of shape (2, 6, 7, 20) is read as 40 planes of 6 x 7; ")
    assert doubt.endswith("with channels=first it would be 12 of 7 x 20")
    assert read_observation_space("toy", spaces.Dict(view=view, number=spaces.Discrete(2))).doubts == ()  # one vector


def test_channels_of_what_is_no_image_are_refused() -> None:
    with pytest.raises(EnvError, match=r"toy: channels=last is for arrays of three or four dimensions, .* none in Box"):
        read_observation_space("toy", spaces.Box(0, 1, (3, 4)), "last")


def test_channels_go_first_and_stay_what_they_were() -> None:
    image = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    encoder = read_observation_space("toy", spaces.Box(0, 255, (5, 4, 3), np.uint8))
    for channel in range(3):
        assert np.array_equal(encoder.encode(image)[channel], image[:, :, channel])
    frames = np.stack([image, image + 100])
    stacked = read_observation_space("toy", spaces.Box(0, 255, (2, 5, 4, 3), np.uint8)).encode(frames)
    assert np.array_equal(stacked[4], frames[1, :, :, 1])


@pytest.mark.parametrize("around", [dict, lambda parts: {**parts, "more": spaces.Discrete(2)}])
def test_a_mask_is_no_part_of_the_observation(around: Any) -> None:
    image = spaces.Box(0, 255, (9, 8, 3), np.uint8)
    space = spaces.Dict(around({"action_mask": spaces.MultiBinary(4), "observation": image}))
    encoder = read_observation_space("toy", space)
    assert encoder.observed.mask == ("action_mask",)
    assert encoder.shape == ((3, 9, 8) if len(space) == 2 else (2 + 9 * 8 * 3,))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Text(5), "toy: observation: expected Box, .* got Text"),
        (
            spaces.Dict(a=spaces.Discrete(2), say=spaces.Text(5)),
            r"toy: observation\['say'\]: expected Box, .* got Text",
        ),
        (spaces.Tuple((spaces.Discrete(2), spaces.Sequence(spaces.Discrete(2)))), r"toy: observation\[1\]: .*Sequence"),
        (
            spaces.Dict(a=spaces.Discrete(2), b=spaces.Dict(c=CAMERA)),
            r"toy: observation\['b'\]: .*not nested, got Dict",
        ),
        (spaces.Graph(CAMERA, None), "got Graph"),
        (spaces.Dict(), "toy: observation: there is nothing in it"),
        (spaces.Dict(action_mask=spaces.MultiBinary(3)), "there is nothing in it"),
        (spaces.Box(0, 1, (0,)), r"must have 1 to \d+ numbers, got shape \(0,\)"),
        (spaces.Discrete(2**40), r"must have 1 to 16777216 numbers, got shape \(1099511627776,\)"),
    ],
    ids=str,
)
def test_what_is_not_supported_is_named(space: spaces.Space[Any], message: str) -> None:
    with pytest.raises(EnvError, match=message) as caught:
        read_observation_space("toy", space)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("space", "raw", "message"),
    [
        (spaces.Discrete(4, start=-2), 2, r"toy: observation must be in Discrete\(4, start=-2\), got 2"),
        (spaces.MultiDiscrete([2, 3]), [1, -1], "must be in MultiDiscrete"),
        (spaces.Box(0, 1, (2, 3)), np.zeros(6), r"observation must have shape \(2, 3\), got \(6,\)"),
        (spaces.Box(0, 1, (2,)), ["a", 1], r"must be numbers of shape \(2,\), got \['a', 1\]"),
        (spaces.Box(0, 1, (2,)), [[1], [1, 2]], r"must be numbers of shape \(2,\)"),
        (spaces.Dict(a=spaces.Discrete(2), b=CAMERA), {"a": 1}, r"observation\['b'\] is missing, got {'a': 1}"),
        (spaces.Tuple((spaces.Discrete(2), CAMERA)), 3, r"observation\[0\] is missing, got 3"),
    ],
    ids=str,
)
def test_observations_outside_the_space_are_named(space: spaces.Space[Any], raw: Any, message: str) -> None:
    with pytest.raises(EnvError, match=message):
        read_observation_space("toy", space).encode(raw)


def test_discrete_actions_begin_where_the_space_does() -> None:
    actions = read_action_space("toy", spaces.Discrete(3, start=5))
    assert actions.count == 3
    assert [actions.decode(a) for a in range(3)] == [5, 6, 7]


def test_combined_actions_count_like_digits() -> None:
    actions = read_action_space("toy", spaces.MultiDiscrete([2, 3], start=[0, 10]))
    assert [actions.decode(a).tolist() for a in range(actions.count)] == [
        [0, 10], [0, 11], [0, 12], [1, 10], [1, 11], [1, 12],
    ]  # fmt: skip
    binary = read_action_space("toy", spaces.MultiBinary(3))
    assert [binary.decode(a).tolist() for a in range(8)] == [[a >> 2, a >> 1 & 1, a & 1] for a in range(8)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_every_combined_action_is_in_the_space_once(sizes: list[int]) -> None:
    space = spaces.MultiDiscrete(sizes)
    actions = read_action_space("toy", space)
    decoded = [actions.decode(a) for a in range(actions.count)]
    assert all(space.contains(action) for action in decoded)
    assert len({tuple(action.tolist()) for action in decoded}) == actions.count == int(np.prod(sizes))


def test_who_changes_an_action_changes_his_copy() -> None:
    actions = read_action_space("toy", spaces.MultiDiscrete([2, 3]))
    actions.decode(4)[:] = 9
    assert actions.decode(4).tolist() == [1, 1]


def test_masks_over_all_actions_or_over_their_parts() -> None:
    actions = read_action_space("toy", spaces.MultiDiscrete([2, 3]))
    whole = [0, 1, 1, 0, 0, 1]
    assert actions.allowed(whole).tolist() == whole
    assert actions.allowed(np.reshape(whole, (2, 3))).tolist() == whole
    assert actions.allowed([0, 1, 1, 0, 1]).tolist() == [False, False, False, True, False, True]
    square = read_action_space("toy", spaces.MultiDiscrete([2, 2]))  # 2 + 2 == 2 * 2
    assert square.allowed([1, 0, 0, 1]).tolist() == [1, 0, 0, 1]
    assert square.allowed([1, 0, 0, 1], by_part=True).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(0, 1, (2,)), "toy: continuous actions are not supported"),
        (spaces.MultiDiscrete([64, 65]), "4160 combined actions, at most 4096"),
        (spaces.MultiDiscrete([2] * 100), "combined actions, at most 4096"),
        (spaces.MultiBinary(13), "8192 combined actions, at most 4096"),
        (spaces.Text(3), "must be Discrete, MultiDiscrete or MultiBinary, got Text"),
    ],
    ids=str,
)
def test_actions_that_are_not_supported_are_refused(space: spaces.Space[Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        read_action_space("toy", space)
