"""Frames are stored once: every stack that is read is the one that was shown, whatever was cut, evicted or restored."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muzero_wm import envs
from muzero_wm.acting.episodes import OpenEpisodes, Played
from muzero_wm.basis.errors import CheckpointError
from muzero_wm.basis.packs import EpisodePack
from muzero_wm.config import ActingConfig, Config, ReplayConfig
from muzero_wm.envs.base import EnvError, EnvSpec
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.frames import newest
from muzero_wm.replay.reanalyze import fresh_bootstraps, reanalyze
from muzero_wm.replay.room import Room, share_room
from muzero_wm.replay.trajectory import Trajectories
from tests.acting.pools import inline
from tests.acting.test_worker import config_for, play
from tests.replay.helpers import assert_same

SHAPES = {"vector": (2,), "image": (3, 2, 2)}


def spec_of(frames: int, shape: tuple[int, ...] = (2,), dtype: type = np.uint8) -> EnvSpec:
    stacked = (frames * shape[0], *shape[1:])
    return EnvSpec("frames", stacked, np.dtype(dtype), 3, 1, observation_bounds=(0.0, 255.0), frames=frames)


@functools.cache
def frame(shape: tuple[int, ...], tag: int, t: int) -> np.ndarray:
    """Returns what step t of an episode shows: its first two numbers say which one it is, the others differ."""
    shown = np.random.default_rng((tag, t)).integers(0, 256, shape).astype(np.uint8)
    shown.flat[:2] = tag, t
    return shown


@dataclass
class Rounds:
    """What environments play: episodes of lengths drawn from `lengths`, told apart by their tags."""

    shape: tuple[int, ...]
    num_envs: int
    steps: int
    longest: int
    rng: np.random.Generator
    truncated: bool = True

    def __iter__(self) -> Iterator[Played]:
        tags = iter(range(256))
        rows = [self._episode(next(tags)) for _ in range(self.num_envs)]
        while True:
            seen, done, terminated, ends = [], [], [], []
            try:
                for _ in range(self.steps):
                    seen.append(np.stack([frame(self.shape, tag, t) for tag, t, _ in rows]))
                    over = [t + 1 == length for _, t, length in rows]
                    ends += [frame(self.shape, tag, t + 1) for (tag, t, _), end in zip(rows, over, strict=True) if end]
                    done.append(over)
                    terminated.append([end and (not self.truncated or self.rng.random() < 0.5) for end in over])
                    rows = [
                        self._episode(next(tags)) if end else (tag, t + 1, length)
                        for (tag, t, length), end in zip(rows, over, strict=True)
                    ]
            except StopIteration:
                return
            yield self._played(np.stack(seen), np.array(done), np.array(terminated), ends)

    def _episode(self, tag: int) -> tuple[int, int, int]:
        return tag, 0, int(self.rng.integers(1, self.longest + 1))

    def _played(self, seen: np.ndarray, done: np.ndarray, terminated: np.ndarray, ends: list[np.ndarray]) -> Played:
        many = done.shape
        steps: dict[str, Any] = {"observation": seen, "legal_actions": np.ones((*many, 3), np.bool_)}
        steps |= {"to_play": np.zeros(many, np.int8), "action": self.rng.integers(0, 3, many).astype(np.int32)}
        steps |= {name: self.rng.normal(size=many).astype(np.float32) for name in ("reward", "value")}
        steps |= {"policy": self.rng.dirichlet(np.ones(3), many).astype(np.float32)}
        final = np.array(ends, np.uint8).reshape(-1, *self.shape)
        value = np.where(terminated[done], 0.0, 1.0).astype(np.float32)
        return Played(steps, done, terminated, final, value, np.zeros(len(final), np.int8), {})


def expected(spec: EnvSpec, newest_frames: np.ndarray) -> np.ndarray:
    """Returns the stacks that an environment showed, told by what the newest frames say of themselves."""
    shape, k = spec.frame_shape, spec.frames
    keys = newest_frames.reshape(len(newest_frames), math.prod(shape))[:, :2].astype(int)
    stacks = [np.concatenate([frame(shape, tag, max(t - i, 0)) for i in range(k - 1, -1, -1)]) for tag, t in keys]
    return np.array(stacks, np.uint8).reshape(-1, *spec.observation_shape)


def sampled(ring: ReplayBuffer) -> np.ndarray:
    return np.flatnonzero(ring._tree.get(np.arange(ring.capacity)) > 0.0)


def assert_stacks_are_right(ring: ReplayBuffer, spec: EnvSpec) -> None:
    """Compares all that can be read of a ring with what was shown."""
    slots, stored = sampled(ring), ring.ring["observation"]
    keys = stored[slots].reshape(len(slots), math.prod(spec.frame_shape))[:, :2]
    assert len(np.unique(keys, axis=0)) == len(slots) == ring.num_steps, "every step once"
    batch = ring.batch(slots, 0.0, np.random.default_rng(0))
    assert batch.observation.shape == (len(slots), *spec.observation_shape)
    assert np.array_equal(batch.observation, expected(spec, stored[slots]))
    real = batch.targets.next_mask == 1.0
    assert np.array_equal(batch.next_observation[real], expected(spec, stored[batch.targets.slot[:, 1:][real]]))
    ends = ring.bootstrap_slots(slots)
    assert np.array_equal(ring.observations(ends), expected(spec, stored[ends]))


@given(
    st.integers(1, 5), st.sampled_from(list(SHAPES)), st.integers(1, 3), st.integers(0, 4), st.integers(1, 3),
    st.integers(1, 7), st.integers(1, 70), st.integers(0, 150), st.booleans(), st.integers(0, 2**31),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_stack_that_is_read_is_the_one_that_was_shown(
    frames: int, shape: str, unroll: int, n_step: int, num_envs: int, steps: int, longest: int, more: int, early: bool,
    seed: int,
) -> None:  # fmt: skip
    rng, spec = np.random.default_rng(seed), spec_of(frames, SHAPES[shape])
    reach = unroll + n_step if n_step else 0
    least = max(reach, 1) + steps + 1 + frames - 1
    replay_ = ReplayConfig(
        max_steps=least + more, min_steps=20 if early else 10**6, unroll_steps=unroll, n_step=n_step,
        priority_exponent=0.5,
    )  # fmt: skip
    config = Config(acting=ActingConfig(num_envs=num_envs, steps_per_round=steps), replay=replay_)
    room = share_room(spec, config)
    rows, ring, played_steps = OpenEpisodes(spec, num_envs, room), ReplayBuffer(spec, replay_, 0.9), 0
    rounds = Rounds(spec.frame_shape, num_envs, steps, longest, rng)
    for played, _ in zip(rounds, range(40), strict=False):
        if rng.random() < 0.2:
            rows, ring = _reloaded(rows, ring, spec, room)
        handed = rows.absorb(played).trajectories
        played_steps += played.done.size
        if handed is not None:
            if rng.random() < 0.2:
                ring.mark()
                ring.extend(handed)
                ring.rewind()
            ring.extend(handed)
        assert ring.total_steps == played_steps - (rows.length - rows._repeated).sum()
        assert (rows.length <= room.cut_at + frames - 1).all()
    if ring.num_steps:
        assert_stacks_are_right(ring, spec)


def _reloaded(rows: OpenEpisodes, ring: ReplayBuffer, spec: EnvSpec, room: Room) -> tuple[OpenEpisodes, ReplayBuffer]:
    """Returns both as a resumed run has them."""
    again, copy = OpenEpisodes(spec, len(rows.length), room), ReplayBuffer(spec, ring.config, ring.discount)
    again.load_state_dict(rows.state_dict())
    copy.load_state_dict(ring.state_dict())
    assert_same(ring, copy)
    return again, copy


@pytest.mark.parametrize("env", ["vector", "image"])
def test_what_an_environment_shows_is_what_the_learner_reads(env: str, seed: int) -> None:
    """A real world from its reset to a batch, over cuts and ends; what it shows says where it comes from."""
    size = ", size=2" if env == "vector" else ""
    name = f"gym:tests.replay.endless:{'Rare' if env == 'vector' else 'Film'}-v0(frame_stack=3{size})"
    config = config_for(name).model_copy(update={"seed": seed})
    config = config.model_copy(update={"replay": config.replay.model_copy(update={"n_step": 3, "unroll_steps": 2})})
    spec = envs.spec(name)
    assert spec.frames == 3
    ring = ReplayBuffer(spec, config.replay, 0.9)
    for result in play(inline(config), config, rounds=50):  # the pictures count to 255
        if result.trajectories is not None:
            ring.extend(result.trajectories)
    assert ring.ring["cut"].any() and ring.total_episodes
    slots = sampled(ring)
    batch = ring.batch(slots, 0.0, np.random.default_rng(0))
    for shown in (batch.observation, batch.next_observation[batch.targets.next_mask == 1.0]):
        t = shown.reshape(len(shown), 3, -1)[:, :, 0].astype(int)  # a step's number is the first it shows
        assert np.array_equal(t, np.maximum(t[:, 2:] - [2, 1, 0], 0))
    assert (ring.ring["observation"].shape[1:]) == spec.frame_shape


@pytest.mark.parametrize("frames", [1, 5])
def test_a_fifth_of_what_is_handed_over_is_there_twice(frames: int, seed: int) -> None:
    spec = spec_of(frames)
    config = Config(
        acting=ActingConfig(num_envs=1, steps_per_round=1),
        replay=ReplayConfig(max_steps=4000, min_steps=10**6, unroll_steps=2, n_step=1),
    )
    rows = OpenEpisodes(spec, 1, share_room(spec, config))
    handed = []
    for played, _ in zip(Rounds((2,), 1, 1, 10**9, np.random.default_rng(seed)), range(250), strict=False):
        handed += [part] if (part := rows.absorb(played).trajectories) is not None else []
    (repeated,) = {int(part.repeated[0]) for part in handed[1:]}
    assert repeated == 3 + frames - 1 - 1 and len(handed) > 4
    assert {int(part.lengths[0]) for part in handed[1:]} == {5 * (repeated + 1)}


def test_reanalyze_and_bootstraps_see_stacks(seed: int) -> None:
    rng, spec = np.random.default_rng(seed), spec_of(3)
    config = Config(
        acting=ActingConfig(num_envs=2, steps_per_round=5),
        replay=ReplayConfig(max_steps=400, unroll_steps=2, n_step=3, bootstrap="teacher"),
    )
    rows, ring = OpenEpisodes(spec, 2, share_room(spec, config)), ReplayBuffer(spec, config.replay, 0.9)
    for played, _ in zip(Rounds((2,), 2, 5, 120, rng), range(60), strict=False):
        if (handed := rows.absorb(played).trajectories) is not None:
            ring.extend(handed)
    seen: list[np.ndarray] = []

    def search(
        observations: np.ndarray, legal: np.ndarray, keys: np.ndarray, states: None
    ) -> tuple[np.ndarray, np.ndarray]:
        seen.append(observations)
        return np.full((len(observations), 3), 1 / 3, np.float32), np.zeros(len(observations), np.float32)

    def evaluate(observations: np.ndarray) -> np.ndarray:
        seen.append(observations)
        return np.zeros(len(observations), np.float32)

    slots = ring.sample_slots(50, rng).slot
    reanalyze(ring, slots, search, np.arange(1000, dtype=np.uint64))
    fresh_bootstraps(ring, slots, evaluate)
    assert len(seen) == 2
    for stacks in seen:
        assert stacks.shape[1:] == (6,) and np.array_equal(stacks, expected(spec, newest(spec, stacks)))


@pytest.mark.parametrize(("shape", "per_channel"), [("vector", False), ("image", False), ("image", True)])
def test_statistics_fit_the_stack(shape: str, per_channel: bool, seed: int) -> None:
    spec = spec_of(3, SHAPES[shape])
    ring = ReplayBuffer(spec, ReplayConfig(max_steps=300), 1.0)
    ring.extend(_episode(spec, 7, 40))
    found = ring.observation_statistics(per_channel)
    axes = (0, 2, 3) if per_channel else (0,)
    stored = ring.ring["observation"][:41].astype(np.float64)
    for name, once in {"mean": stored.mean(axes, keepdims=True), "high": stored.max(axes, keepdims=True)}.items():
        array = getattr(found, name)
        np.testing.assert_allclose(array, np.concatenate([once[0]] * 3), rtol=1e-12)
        assert array.shape == ((9, 1, 1) if per_channel else spec.observation_shape)


def _episode(spec: EnvSpec, tag: int, steps: int) -> Trajectories:
    policy = np.full((steps + 1, 3), 1 / 3, np.float32)
    policy[-1] = 0.0
    return Trajectories(
        lengths=np.array([steps]),
        terminated=np.array([True]),
        observation=np.stack([frame(spec.frame_shape, tag, t) for t in range(steps + 1)]),
        legal_actions=np.ones((steps + 1, 3), np.bool_),
        to_play=np.zeros(steps + 1, np.int8),
        action=np.append(np.zeros(steps), -1).astype(np.int32),
        reward=np.zeros(steps + 1, np.float32),
        policy=policy,
        value=np.zeros(steps + 1, np.float32),
    )


def test_memory_is_that_of_single_frames() -> None:
    one, four = spec_of(1, (1, 48, 48)), spec_of(4, (1, 48, 48))
    config = ReplayConfig(max_steps=2000, n_step=5)
    rings = [ReplayBuffer(spec, config, 1.0) for spec in (one, four)]
    assert rings[0].capacity == rings[1].capacity == 2000
    assert rings[0].nbytes < rings[1].nbytes < 1.001 * rings[0].nbytes
    rooms = [share_room(spec, Config(replay=config)) for spec in (one, four)]
    assert rooms[0].open_bytes < rooms[1].open_bytes < 1.3 * rooms[0].open_bytes


def test_a_checkpoint_of_stacks_is_refused_in_one_line(seed: int) -> None:
    """As earlier versions stored them."""
    spec, whole = spec_of(3), replace(spec_of(3), frames=1)
    config = ReplayConfig(max_steps=100)
    ring, copy = ReplayBuffer(whole, config, 1.0), ReplayBuffer(spec, config, 1.0)
    ring.extend(_episode(whole, 1, 20))
    with pytest.raises(CheckpointError, match=r"^replay: .*stacks of 3 frames.* begin a new run") as caught:
        copy.load_state_dict(ring.state_dict())
    assert "\n" not in str(caught.value)
    room = share_room(whole, Config(acting=ActingConfig(num_envs=2, steps_per_round=4), replay=config))
    rows = OpenEpisodes(whole, 2, room)
    rows.absorb(next(iter(Rounds((6,), 2, 4, 60, np.random.default_rng(seed)))))
    with pytest.raises(EnvError, match=r"stacks of 3 frames.* begin a new run"):
        OpenEpisodes(spec, 2, room).load_state_dict(rows.state_dict())


def test_what_is_saved_is_single_frames() -> None:
    spec = spec_of(4)
    ring = ReplayBuffer(spec, ReplayConfig(max_steps=100), 1.0)
    ring.extend(_episode(spec, 1, 20))
    (pack,) = ring.state_dict()["packs"]
    assert isinstance(pack, EpisodePack)
    arrays = pack.arrays()
    assert arrays["observation"].shape == (21, 2) and "since" not in arrays
