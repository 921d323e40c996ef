"""The ring: bounds, eviction, sampling, priorities, state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muzero_wm.basis.errors import UserError
from muzero_wm.config import ReplayConfig
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.packs import contents
from muzero_wm.replay.trajectory import Trajectories
from tests.replay.helpers import assert_same, make_episode, make_spec


def filled(seed: int, **settings: object) -> tuple[ReplayBuffer, list[Trajectories]]:
    rng = np.random.default_rng(seed)
    buffer = ReplayBuffer(make_spec(2), ReplayConfig(max_steps=100, **settings), 1.0)  # type: ignore[arg-type]
    episodes = [make_episode([0.0] * int(n), players=2, tag=i) for i, n in enumerate(rng.integers(1, 30, 60))]
    for first in range(0, 60, 5):
        buffer.extend(Trajectories.concatenate(episodes[first : first + 5]))
    return buffer, episodes


def test_newest_episodes_are_kept_whole(seed: int) -> None:
    buffer, episodes = filled(seed)
    kept, slots = [], 0
    for index in reversed(range(60)):
        slots += int(episodes[index].lengths[0]) + 1
        if slots > 100:
            break
        kept.append(index)
    rng = np.random.default_rng(seed)
    drawn = buffer.sample_slots(4000, rng).slot
    observation = buffer.ring["observation"][drawn]
    assert set(observation[:, 0].astype(int)) == set(kept)
    assert buffer.num_steps == sum(int(episodes[i].lengths[0]) for i in kept)
    assert np.all(buffer.ring["action"][drawn] >= 0), "a final observation was drawn"


@pytest.mark.parametrize("min_steps", [1, 40])
@pytest.mark.parametrize("window", [0.25, 0.5])
def test_a_window_keeps_the_newest_share_of_all_that_was_played(seed: int, window: float, min_steps: int) -> None:
    rng = np.random.default_rng(seed)
    buffer = ReplayBuffer(make_spec(2), ReplayConfig(max_steps=10_000, window=window, min_steps=min_steps), 1.0)
    lengths: list[int] = []
    for tag in range(80):
        lengths.append(int(rng.integers(1, 30)))
        buffer.extend(make_episode([0.0] * lengths[-1], players=2, tag=tag))
        kept, wanted = 0, max(window * sum(lengths), min_steps)
        oldest = len(lengths)
        while oldest and kept < wanted:  # whole episodes, as few of the newest as make up the share
            oldest -= 1
            kept += lengths[oldest]
        assert buffer.num_steps == kept
        drawn = buffer.sample_slots(50, rng).slot
        assert buffer.ring["observation"][drawn][:, 0].min() >= oldest


def searched_in_full(episode: Trajectories, every: int) -> Trajectories:
    """Takes the policies of all steps away but each so-manieth, as quick searches leave none."""
    episode.policy[np.arange(len(episode.policy)) % every != 0] = 0
    return episode


@pytest.mark.parametrize("window", [0.1, 0.25, 0.5])
def test_a_window_counts_steps_that_are_not_drawn(window: float) -> None:
    buffer = ReplayBuffer(make_spec(2), ReplayConfig(max_steps=10_000, window=window, min_steps=10), 1.0)
    for tag in range(100):
        buffer.extend(searched_in_full(make_episode([0.0] * 20, players=2, tag=tag), 4))
    assert buffer.total_steps == 2000
    assert buffer.num_steps == window * 2000 / 4
    again = ReplayBuffer(make_spec(2), buffer.config, 1.0)
    again.load_state_dict(buffer.state_dict())
    for each in (buffer, again):
        each.extend(searched_in_full(make_episode([0.0] * 500, players=2, tag=100), 4))
    assert_same(buffer, again)


def test_steps_that_are_not_drawn_get_no_priority(seed: int) -> None:
    """Samples that are moved to the end of an episode may be of moves that were searched quickly."""
    config = ReplayConfig(max_steps=1000, min_steps=10, terminal_fraction=0.5, priority_exponent=0.6)
    buffer, rng = ReplayBuffer(make_spec(2), config, 1.0), np.random.default_rng(seed)
    for tag in range(20):
        buffer.extend(searched_in_full(make_episode([0.0] * 20, players=2, tag=tag), 4))
    for _ in range(20):
        slots = buffer.sample_slots(32, rng).slot
        buffer.update_priorities(slots, rng.normal(size=32).astype(np.float32))
    again = ReplayBuffer(make_spec(2), config, 1.0)
    again.load_state_dict(buffer.state_dict())
    assert again.num_steps == buffer.num_steps == 100


def test_every_step_is_drawn_equally_often(seed: int) -> None:
    buffer, _ = filled(seed)
    drawn = buffer.sample_slots(50 * buffer.num_steps, np.random.default_rng(seed)).slot
    counts = np.bincount(drawn)[np.unique(drawn)]
    assert len(counts) == buffer.num_steps
    assert abs(counts.mean() - 50) < 1e-9 and counts.std() < 9


def test_bytes_stay_below_the_bound(seed: int) -> None:
    config = ReplayConfig(max_mib=0.25)
    buffer = ReplayBuffer(make_spec(2), config, 1.0)
    assert 0.5 * 0.25 * 2**20 < buffer.nbytes <= 0.25 * 2**20
    before = buffer.nbytes
    for tag in range(200):
        buffer.extend(make_episode([0.0] * 50, players=2, tag=tag))
    assert buffer.nbytes == before


def test_terminal_fraction_moves_samples_to_the_end(seed: int) -> None:
    buffer, _ = filled(seed, terminal_fraction=0.5, unroll_steps=3)
    drawn = buffer.sample_slots(4000, np.random.default_rng(seed)).slot
    near = (buffer.ring["to_end"][drawn] <= 3).mean()
    plain, _ = filled(seed, unroll_steps=3)
    base = (plain.ring["to_end"][plain.sample_slots(4000, np.random.default_rng(seed)).slot] <= 3).mean()
    assert near == pytest.approx(0.5 + 0.5 * base, abs=0.04)
    assert np.all(buffer.ring["action"][drawn] >= 0)


def test_priorities_steer_the_draws_and_the_weights_undo_it(seed: int) -> None:
    buffer, _ = filled(seed, priority_exponent=1.0)
    rng = np.random.default_rng(seed)
    slots = np.unique(buffer.sample_slots(5000, rng).slot)
    errors = np.where(np.arange(len(slots)) % 2 == 0, 3.0, 1.0).astype(np.float32)
    buffer.update_priorities(slots, errors)
    draws = buffer.sample_slots(40_000, rng)
    drawn = draws.slot
    high = np.isin(drawn, slots[::2])
    assert high.mean() == pytest.approx(errors[::2].sum() / errors.sum(), abs=0.02)
    weight = buffer.batch(draws, 1.0, rng).weight
    assert weight[high].max() == pytest.approx(1 / 3, rel=1e-4) and weight[~high].min() == pytest.approx(1.0)
    assert buffer.batch(draws, 0.0, rng).weight.tolist() == [1.0] * len(drawn)


def test_new_data_enters_at_the_highest_priority(seed: int) -> None:
    buffer, _ = filled(seed, priority_exponent=1.0)
    slots = np.unique(buffer.sample_slots(5000, np.random.default_rng(seed)).slot)
    buffer.update_priorities(slots, np.full(len(slots), 7.0, np.float32))
    buffer.extend(make_episode([0.0] * 5, players=2, tag=999))
    fresh = np.flatnonzero((buffer.ring["observation"][:, 0] == 999) & (buffer.ring["action"] >= 0))
    assert buffer._tree.get(fresh) == pytest.approx([7.0] * 5)


def test_new_data_follows_the_highest_priority_down(seed: int) -> None:
    """One large error is not remembered when nothing stored has it any more, nor when a run is resumed."""
    buffer, _ = filled(seed, priority_exponent=1.0)
    slots = np.unique(buffer.sample_slots(5000, np.random.default_rng(seed)).slot)
    for largest in (682.0, 0.25):
        buffer.update_priorities(slots, np.full(len(slots), largest, np.float32))
    again = ReplayBuffer(make_spec(2), buffer.config, 1.0)
    again.load_state_dict(buffer.state_dict())
    for ring in (buffer, again):
        for tag in (998, 999):
            ring.extend(make_episode([0.0] * 5, players=2, tag=tag))
            fresh = np.flatnonzero((ring.ring["observation"][:, 0] == tag) & (ring.ring["action"] >= 0))
            assert ring._tree.get(fresh) == pytest.approx([0.25] * 5, rel=1e-4)


def test_weighted_draws_are_equal_draws_of_which_a_share_is_moved_to_the_end(seed: int) -> None:
    """The weights undo the priorities, and leave what `terminal_fraction` is there for."""
    rng, share, unroll = np.random.default_rng(seed), 0.5, 3
    config = ReplayConfig(max_steps=100, priority_exponent=1.0, terminal_fraction=share, unroll_steps=unroll)
    buffer = ReplayBuffer(make_spec(1), config, 1.0)
    lengths = [9, 2, 5]
    buffer.extend(Trajectories.concatenate([make_episode([0.0] * n, players=1) for n in lengths]))
    slots = np.flatnonzero(buffer.ring["to_end"] > 0)
    buffer.update_priorities(slots, rng.uniform(0.5, 3.0, len(slots)).astype(np.float32))
    expected, begin = np.zeros(buffer.capacity), 0
    for length in lengths:
        for t in range(length):  # every step is as likely, and moved to one of the last ones it can be moved to
            expected[begin + t] += 1 - share
            ends = [begin + u for u in range(t, length) if u >= length - unroll]
            expected[ends] += share / len(ends)
        begin += length + 1
    draws = buffer.sample_slots(400_000, rng)
    weight = buffer.batch(draws, 1.0, rng).weight.astype(np.float64)
    found = np.bincount(draws.slot, weight, buffer.capacity)
    assert found[slots] / found.sum() == pytest.approx(expected[slots] / expected.sum(), rel=0.1)


def test_state_round_trip(seed: int) -> None:
    buffer, _ = filled(seed, priority_exponent=0.6)
    copy = ReplayBuffer(make_spec(2), buffer.config, 1.0)
    copy.load_state_dict(buffer.state_dict())
    episode = make_episode([0.0] * 20, players=2, tag=77)
    for each in (buffer, copy):
        each.extend(episode)
    assert buffer.num_steps == copy.num_steps and buffer.total_steps == copy.total_steps
    assert_same(buffer, copy)


@pytest.mark.parametrize("field", ["reward", "value", "policy"])
def test_nan_is_refused_by_name_and_nothing_is_stored(field: str) -> None:
    buffer = ReplayBuffer(make_spec(1), ReplayConfig(max_steps=100), 1.0)
    episode = make_episode([0.0] * 5, players=1)
    getattr(episode, field)[2] = np.nan
    with pytest.raises(ValueError, match=field):
        buffer.extend(episode)
    assert buffer.num_steps == 0


def test_an_episode_longer_than_the_ring_is_refused() -> None:
    buffer = ReplayBuffer(make_spec(1), ReplayConfig(max_steps=20), 1.0)
    with pytest.raises(UserError, match="does not fit"):
        buffer.extend(make_episode([0.0] * 20, players=1))
    buffer.extend(make_episode([0.0] * 19, players=1))
    assert buffer.num_steps == 19


def same(first: dict, second: dict) -> bool:
    first, second = contents(first), contents(second)
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_a_loaded_ring_draws_the_same_slots(seed: int) -> None:
    buffer, _ = filled(seed, priority_exponent=0.6)
    rng = np.random.default_rng(seed)
    slots = buffer.sample_slots(30, rng).slot
    buffer.update_priorities(slots, rng.normal(size=30).astype(np.float32))
    again = ReplayBuffer(make_spec(2), buffer.config, 1.0)
    again.load_state_dict(buffer.state_dict())
    for _ in range(3):
        first, second = (b.sample_slots(200, np.random.default_rng(seed)).slot for b in (buffer, again))
        assert np.array_equal(first, second)
        for ring in (buffer, again):
            ring.extend(make_episode([0.5] * 40, players=2))
    assert same(buffer.state_dict(), again.state_dict())


def test_a_ring_of_an_earlier_version_loses_nothing() -> None:
    """Its state does not say how many steps each segment holds."""
    config = ReplayConfig(max_steps=1000, min_steps=1)
    buffer, loaded = (ReplayBuffer(make_spec(2), config, 1.0) for _ in range(2))
    for tag in range(20):
        buffer.extend(make_episode([0.0] * 3, players=2, tag=tag))
    state = buffer.state_dict()
    del state["played"]
    loaded.load_state_dict(state)
    for ring in (buffer, loaded):
        ring.extend(make_episode([0.0] * 3, players=2, tag=20))
    assert loaded.num_steps == buffer.num_steps == 63
    assert same(loaded.state_dict(), buffer.state_dict())


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 30),
    st.lists(st.sampled_from("epr"), max_size=8),
    st.sampled_from([1.0, 0.2]),
)
@settings(deadline=None, max_examples=60)
def test_rewind_undoes_whatever_happened_since_the_mark(
    seed: int, before: int, changes: list[str], window: float
) -> None:
    rng = np.random.default_rng(seed)
    config = ReplayConfig(max_steps=64, priority_exponent=0.6, window=window, min_steps=10)
    buffer = ReplayBuffer(make_spec(2), config, 1.0)
    for tag in range(before):
        buffer.extend(make_episode([0.0] * int(rng.integers(1, 9)), players=2, tag=tag))
    buffer.mark()
    state, tree, steps = buffer.state_dict(), buffer._tree._tree.copy(), buffer.num_steps
    for change in changes:
        if change == "e":
            episode = make_episode([1.0] * int(rng.integers(1, 60)), players=2, tag=99)
            episode.cut[:] = rng.random() < 0.5
            buffer.extend(episode)
        elif buffer.num_steps:
            slots = buffer.sample_slots(5, rng).slot
            if change == "p":
                buffer.update_priorities(slots, rng.normal(0, 3, 5).astype(np.float32))
            else:
                slots = np.unique(slots)
                buffer.renew(slots, rng.random((len(slots), 3)), rng.random(len(slots)))
    buffer.rewind()
    assert same(buffer.state_dict(), state)
    assert np.array_equal(buffer._tree._tree, tree) and buffer.num_steps == steps
    with pytest.raises(RuntimeError, match="nothing was marked"):
        buffer.rewind()


@given(st.floats(0.001, 0.2), st.lists(st.integers(1, 40), max_size=60))
@settings(deadline=None, max_examples=40)
def test_the_byte_budget_is_never_exceeded(mib: float, lengths: list[int]) -> None:
    try:
        buffer = ReplayBuffer(make_spec(2), ReplayConfig(max_mib=mib), 1.0)
    except ValueError:
        return
    for length in lengths:
        if length + 1 <= buffer.capacity:
            buffer.extend(make_episode([0.0] * length, players=2))
        assert buffer.nbytes <= mib * 2**20
        assert buffer.num_steps <= buffer.capacity
