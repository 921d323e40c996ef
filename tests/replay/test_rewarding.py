"""A share of every batch among the steps that lead to a reward: which they are, how often they come, what odds say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muzero_wm.config import ReplayConfig
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.room import step_layout
from muzero_wm.replay.stored import Stored, TermError
from muzero_wm.replay.trajectory import Trajectories
from tests.replay.helpers import assert_same, make_episode, make_spec


def segment(rng: np.random.Generator, steps: int, paying: float) -> Trajectories:
    """Returns a segment some of whose steps pay; it may be cut, and its first steps may be there for others only."""
    rewards = np.where(rng.random(steps) < paying, rng.choice([-1.0, 0.5, 9.0], steps), 0.0)
    made = make_episode(rewards.tolist(), players=1, tag=int(rng.integers(1000)))
    made.cut[:] = rng.random() < 0.4
    made.terminated[:] = ~made.cut & (rng.random() < 0.5)
    made.lead[:] = rng.integers(0, min(4, steps)) if rng.random() < 0.4 else 0
    return made


def ring_of(config: ReplayConfig) -> ReplayBuffer:
    return ReplayBuffer(make_spec(1), config, 0.9)


def rewarding(ring: ReplayBuffer) -> np.ndarray:
    """Returns by brute force which slots [capacity] can be drawn and lead to a reward."""
    found = np.zeros(ring.capacity, np.bool_)
    for slot in np.flatnonzero(ring._tree.get(np.arange(ring.capacity)) > 0.0):
        steps = range(min(ring.config.unroll_steps, int(ring.ring["to_end"][slot])))
        found[slot] = any(ring.ring["reward"][(slot + k) % ring.capacity] != 0.0 for k in steps)
    return found


def index(ring: ReplayBuffer) -> np.ndarray:
    assert ring._rewarding is not None
    return ring._rewarding.get(np.arange(ring.capacity))


@given(
    st.integers(1, 6), st.integers(0, 3), st.integers(40, 200), st.integers(1, 30), st.floats(0, 1),
    st.integers(0, 2**31),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_the_index_is_that_of_brute_force(
    unroll: int, n_step: int, capacity: int, longest: int, paying: float, seed: int
) -> None:
    """However much was written, evicted, taken back and restored."""
    rng = np.random.default_rng(seed)
    config = ReplayConfig(
        max_steps=capacity, unroll_steps=unroll, n_step=n_step, reward_fraction=0.5, priority_exponent=0.5
    )
    ring = ring_of(config)
    for _ in range(25):
        data = [segment(rng, int(n), paying) for n in rng.integers(1, longest + 1, rng.integers(1, 4))]
        what = rng.random()
        if what < 0.2:
            before = index(ring)
            ring.mark()
            ring.extend(Trajectories.concatenate(data))
            if ring.num_steps:
                ring.update_priorities(ring.sample_slots(4, rng).slot, rng.normal(size=4).astype(np.float32))
            ring.rewind()
            assert np.array_equal(index(ring), before)
        elif what < 0.3:
            copy = ring_of(config)
            copy.load_state_dict(ring.state_dict())
            assert_same(ring, copy)
            ring = copy
        else:
            ring.extend(Trajectories.concatenate(data))
        assert np.array_equal(index(ring), rewarding(ring))


def filled(seed: int, **settings_: object) -> ReplayBuffer:
    rng = np.random.default_rng(seed)
    ring = ring_of(ReplayConfig(max_steps=150, unroll_steps=3, priority_exponent=1.0, **settings_))  # type: ignore[arg-type]
    for _ in range(30):
        ring.extend(segment(rng, int(rng.integers(4, 20)), 0.03))
    ring.extend(make_episode([0.0] * 6 + [1.0] + [0.0] * 6, players=1))  # chance may have left none that pays
    slots = np.flatnonzero(ring._tree.get(np.arange(ring.capacity)) > 0.0)
    ring.update_priorities(slots, rng.uniform(0.2, 3.0, len(slots)).astype(np.float32))
    return ring


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_draws_and_odds_are_those_of_the_mixture(share: float, seed: int) -> None:
    ring, rng = filled(seed, reward_fraction=share), np.random.default_rng(seed)
    priority, leads = ring._tree.get(np.arange(ring.capacity)), rewarding(ring)
    assert 0 < leads.sum() < ring.num_steps
    chances = (1 - share) * priority / priority.sum() + share * leads / leads.sum()
    draws = ring.sample_slots(40_000, rng)
    np.testing.assert_allclose(draws.odds, priority[draws.slot] / priority.sum() * ring.num_steps, rtol=1e-9)
    np.testing.assert_allclose(draws.odds * draws.favour, chances[draws.slot] * ring.num_steps, rtol=1e-9)
    counts, expected = np.bincount(draws.slot, minlength=ring.capacity), 40_000 * chances
    assert not counts[chances == 0.0].any()
    expected, counts = expected[chances > 0.0], counts[chances > 0.0]
    freedom = len(expected) - 1
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_square - freedom) < 6.0 * np.sqrt(2.0 * freedom)


def test_the_weights_undo_the_share(seed: int) -> None:
    """Every mean over a batch is that of even draws with beta 1, and of priorities with beta 0, but for rewards."""
    ring, rng = filled(seed, reward_fraction=0.5), np.random.default_rng(seed)
    draws = ring.sample_slots(40_000, rng)
    leads, priority = rewarding(ring), ring._tree.get(np.arange(ring.capacity))
    by_priority = leads @ priority / priority.sum()
    for beta, wanted in ((1.0, leads.sum() / ring.num_steps), (0.0, by_priority)):
        batch = ring.batch(draws, beta, rng)
        assert np.average(leads[draws.slot], weights=batch.weight) == pytest.approx(wanted, abs=0.02)
    assert np.average(leads[draws.slot], weights=batch.reward_weight) == pytest.approx(0.5 + by_priority / 2, abs=0.02)


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_rewards_keep_the_share_whatever_the_priorities(beta: float, seed: int) -> None:
    """What weighs on them are priorities as far as beta leaves them, and even draws of the share: nothing else."""
    ring, rng = filled(seed, reward_fraction=0.5), np.random.default_rng(seed)
    leads, priority = rewarding(ring), ring._tree.get(np.arange(ring.capacity))
    slots = np.flatnonzero(priority)
    errors = np.where(leads[slots] & (slots % 2 == 0), 0.01, 1.0)  # well known, and drawn all the same
    ring.update_priorities(slots, errors.astype(np.float32))
    priority[slots] = errors / errors.mean()
    wanted = 0.5 * priority * np.where(priority, priority, 1.0) ** -beta / len(slots) + 0.5 * leads / leads.sum()
    draws = ring.sample_slots(60_000, rng)
    weight = ring.batch(draws, beta, rng).reward_weight.astype(np.float64)
    found = np.bincount(draws.slot, weight, ring.capacity)
    easy, others = leads & (priority < 0.5), ~leads & (priority > 0.0)
    for group in (easy, leads & ~easy):
        assert found[group].sum() / found[others].sum() == pytest.approx(
            wanted[group].sum() / wanted[others].sum(), rel=0.06
        )


def test_where_nothing_pays_the_draws_are_by_priority(seed: int) -> None:
    rings = [ring_of(ReplayConfig(max_steps=100, reward_fraction=share)) for share in (0.0, 0.5)]
    for ring in rings:
        ring.extend(make_episode([0.0] * 30, players=1))
    one, other = (ring.sample_slots(100, np.random.default_rng(seed)) for ring in rings)
    assert np.array_equal(one.slot, other.slot) and np.array_equal(one.odds, other.odds) and (other.favour == 1.0).all()


def test_what_leads_to_a_reward_is_not_moved_to_the_end(seed: int) -> None:
    ring = ring_of(ReplayConfig(max_steps=300, unroll_steps=2, reward_fraction=0.5, terminal_fraction=0.9))
    ring.extend(make_episode([1.0] + [0.0] * 200, players=1))
    draws = ring.sample_slots(4000, np.random.default_rng(seed))
    assert (draws.slot == 0).mean() == pytest.approx(0.5, abs=0.05)


def test_memory_stays_within_its_bound() -> None:
    ring = ReplayBuffer(make_spec(1), ReplayConfig(max_mib=1.0, reward_fraction=0.5, bootstrap="teacher"), 1.0)
    without = ReplayBuffer(make_spec(1), ReplayConfig(max_mib=1.0, bootstrap="teacher"), 1.0)
    assert without.nbytes < ring.nbytes <= 2**20 and ring.capacity == without.capacity


@pytest.mark.parametrize("name", ["priority", "rewarding", "since", "lead"])
def test_what_a_term_stores_takes_no_name_of_ours(name: str) -> None:
    with pytest.raises(TermError, match=f"a term stores '{name}', a name that is taken"):
        step_layout(make_spec(1), [Stored(name, lambda moment: moment.action)])
