"""Targets: signs, bootstraps, absorbing states, masks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muzero_wm.basis.errors import UserError
from muzero_wm.config import ReplayConfig
from muzero_wm.replay.buffer import Batch, ReplayBuffer
from muzero_wm.replay.reanalyze import fresh_bootstraps
from muzero_wm.replay.trajectory import Trajectories
from tests.replay.helpers import brute_force_return, make_episode, make_spec


def batch_of(episode: Trajectories, *, players: int, discount: float = 1.0, **settings_: object) -> Batch:
    """Returns the batch of all steps of one episode, in order."""
    config = ReplayConfig(max_steps=200, **settings_)  # type: ignore[arg-type]
    buffer = ReplayBuffer(make_spec(players), config, discount)
    buffer.extend(make_episode([0.0] * 150, players=1))  # makes the ring wrap around
    buffer.extend(make_episode([0.0] * 40, players=1))
    buffer.extend(episode)
    start = (150 + 1 + 40 + 1) % 200
    slots = (start + np.arange(int(episode.lengths[0]))) % 200
    return buffer.batch(slots, 0.0, np.random.default_rng(0))


@pytest.mark.parametrize("plies", [5, 6, 7])
def test_outcome_signs_of_short_games_by_hand(plies: int) -> None:
    """The last mover wins: positions where the winner is to move are worth +1, the others -1."""
    batch = batch_of(make_episode([0.0] * (plies - 1) + [1.0], players=2), players=2, unroll_steps=2)
    by_hand = {5: [1, -1, 1, -1, 1], 6: [-1, 1, -1, 1, -1, 1], 7: [1, -1, 1, -1, 1, -1, 1]}[plies]
    assert batch.targets.value[:, 0].tolist() == by_hand
    # one imagined step further the other player is to move; after the end everything is 0
    assert batch.targets.value[:, 1].tolist() == [*by_hand[1:], 0]
    assert batch.targets.value[:, 2].tolist() == [*by_hand[2:], 0, 0]
    assert batch.targets.reward[:, 0].tolist() == [0] * (plies - 1) + [1]


def test_counting_rewards_are_not_shifted() -> None:
    """Reward of step t is t: the reward target of unroll step k from t is t + k, and actions go with it."""
    batch = batch_of(
        make_episode([float(t) for t in range(8)], players=1), players=1, unroll_steps=3, n_step=1, discount=0.5
    )
    for t in range(8):
        for k in range(3):
            inside = t + k < 8
            assert batch.targets.reward[t, k] == (t + k if inside else 0)
            if inside:
                assert batch.targets.action[t, k] == (t + k) % 3
                assert batch.next_observation[t, k, 1] == t + k + 1
                assert np.argmax(batch.targets.policy[t, k]) == (t + k) % 3
        assert batch.observation[t].tolist() == [0, t]
        assert batch.targets.value[t, 0] == t


def test_masks_past_a_terminal_end() -> None:
    targets = batch_of(make_episode([0.0, 0.0, 1.0], players=2), players=2, unroll_steps=4).targets
    assert targets.policy_mask[1].tolist() == [1, 1, 0, 0, 0]
    assert targets.next_mask[1].tolist() == [1, 1, 0, 0]  # the final observation is real
    assert targets.value_mask[1].tolist() == [1, 1, 1, 1, 1]  # absorbing: value and reward stay 0
    assert targets.reward_mask[1].tolist() == [1, 1, 1, 1]
    assert targets.terminal[1].tolist() == [False, False, True, False, False]
    assert targets.policy[1, 2:].sum() == 0


def test_truncation_bootstraps_and_teaches_nothing_beyond() -> None:
    episode = make_episode([1.0, 1.0, 1.0], players=1, terminated=False, values=[9, 9, 9, 10])
    targets = batch_of(episode, players=1, unroll_steps=3, discount=0.5).targets
    assert targets.value[:, 0] == pytest.approx([1 + 0.5 + 0.25 + 0.125 * 10, 1 + 0.5 + 0.25 * 10, 1 + 0.5 * 10])
    assert targets.value[2].tolist()[:2] == [6, 10]
    assert targets.value_mask[2].tolist() == [1, 1, 0, 0]
    assert targets.reward_mask[2].tolist() == [1, 0, 0]
    assert not targets.terminal.any()


def test_search_value_shares_the_target() -> None:
    episode = make_episode([0.0, 1.0], players=2, values=[0.5, 0.25, 0])
    targets = batch_of(episode, players=2, unroll_steps=1, outcome_weight=0.75).targets
    assert targets.value[:, 0] == pytest.approx([0.75 * -1 + 0.25 * 0.5, 0.75 * 1 + 0.25 * 0.25])


def test_clipped_rewards_by_hand() -> None:
    """Targets are made of the signs of rewards; values are in these units already, what is stored is raw."""
    rewards, values = [5.0, -0.25, 0.0, 200.0], [0.5, 0.25, -2.0, 8.0, 4.0]
    config = ReplayConfig(max_steps=60, n_step=2, unroll_steps=2, outcome_weight=0.75, bootstrap="teacher")
    buffer = ReplayBuffer(make_spec(1), config, 0.5, clip_rewards=True)
    buffer.extend(make_episode(rewards, players=1, terminated=False, values=values))
    targets = buffer.batch(np.arange(4), 0.0, np.random.default_rng(0)).targets
    returns = [1 - 0.5 + 0.25 * -2, -1 + 0 + 0.25 * 8, 0 + 0.5 + 0.25 * 4, 1 + 0.5 * 4]
    expected = [0.75 * z + 0.25 * v for z, v in zip(returns, values, strict=False)]
    assert targets.value[:, 0] == pytest.approx(expected)
    assert targets.value[0].tolist() == pytest.approx(expected[:3])
    assert targets.reward.tolist() == [[1, -1], [-1, 0], [0, 1], [1, 0]]
    assert buffer.ring["reward"][:4].tolist() == rewards
    ends = fresh_bootstraps(buffer, np.array([0]), lambda observations: np.full(len(observations), 6.0, np.float32))
    value = buffer.batch(np.array([0]), 0.0, np.random.default_rng(0), ends=ends).targets.value[0, 0]
    assert value == pytest.approx(0.75 * (1 - 0.5 + 0.25 * 6) + 0.25 * 0.5)


@pytest.mark.parametrize("players", [1, 2])
def test_rewards_that_have_bounds_are_not_clipped(players: int) -> None:
    spec = dataclasses.replace(make_spec(players), value_bounds=(-3.0, 3.0) if players == 1 else None)
    with pytest.raises(UserError, match=r"^learning.clip_rewards: .* one player .*; leave it false") as caught:
        ReplayBuffer(spec, ReplayConfig(max_steps=60), 0.5, clip_rewards=True)
    assert "\n" not in str(caught.value)


@given(st.integers(1, 12), st.integers(0, 6), st.integers(1, 2), st.booleans(), st.floats(0, 1), st.integers(0, 2**31))
@settings(max_examples=80, deadline=None)
def test_returns_match_brute_force(
    steps: int, n_step: int, players: int, terminated: bool, discount: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = [*rng.normal(size=steps), 0.0 if terminated else rng.normal()]
    episode = make_episode(list(rng.normal(size=steps)), players=players, terminated=terminated, values=values)
    targets = batch_of(episode, players=players, discount=discount, unroll_steps=1, n_step=n_step).targets
    expected = [brute_force_return(episode, t, n_step, discount) for t in range(steps)]
    np.testing.assert_allclose(targets.value[:, 0], expected, rtol=1e-4, atol=1e-5)


@given(st.integers(1, 12), st.integers(0, 5), st.integers(0, 4), st.booleans(), st.integers(0, 2**31))
@settings(max_examples=80, deadline=None)
def test_renewed_bootstraps_are_those_of_the_newer_values(
    steps: int, n_step: int, unroll: int, terminated: bool, seed: int
) -> None:
    """The returns are those of an episode that had the new values from the start, and what is stored stays."""
    rng = np.random.default_rng(seed)
    rewards, old = list(rng.normal(size=steps)), list(rng.normal(size=steps + 1))
    new = [*rng.normal(size=steps), 0.0 if terminated else rng.normal()]
    old[-1] = 0.0 if terminated else old[-1]
    config = ReplayConfig(max_steps=60, n_step=n_step, unroll_steps=unroll + 1, bootstrap="teacher")
    buffer = ReplayBuffer(make_spec(1), config, 0.9)
    for _ in range(4):  # the last one goes around the end of the ring
        buffer.extend(make_episode([0.0] * 13, players=1))
    buffer.extend(make_episode(rewards, players=1, terminated=terminated, values=old, tag=1))
    start = (4 * 14) % 60
    slots = (start + rng.integers(steps, size=3)) % 60

    count = 0

    def evaluate(observations: np.ndarray) -> np.ndarray:
        nonlocal count
        count += len(observations)
        assert (observations[:, 0] == 1).all()
        return np.array(new, np.float32)[observations[:, 1].astype(int)]

    before = buffer.ring["value"].copy()
    targets = buffer.batch(slots, 0.0, rng, ends=fresh_bootstraps(buffer, slots, evaluate)).targets
    fresh = make_episode(rewards, players=1, terminated=terminated, values=new)
    ends = set()
    for row, root in enumerate((slots - start) % 60):
        positions = range(root, min(root + config.unroll_steps, steps - 1) + 1)
        expected = [brute_force_return(fresh, t, n_step, 0.9) for t in positions]
        if root + config.unroll_steps >= steps:
            expected.append(new[-1])  # the final observation
        np.testing.assert_allclose(targets.value[row, : len(expected)], expected, rtol=1e-4, atol=1e-5)
        ends |= {min(t + n_step, steps) if n_step else steps for t in positions} - ({steps} if terminated else set())
    assert count == len(ends)
    assert np.array_equal(buffer.ring["value"], before)


def test_the_share_of_the_search_stays_the_search_s() -> None:
    config = ReplayConfig(max_steps=60, n_step=2, unroll_steps=1, bootstrap="teacher", outcome_weight=0.75)
    buffer = ReplayBuffer(make_spec(1), config, 1.0)
    buffer.extend(make_episode([1.0] * 5, players=1, values=[0.5, 0.25, 8.0, 8.0, 8.0, 0.0]))
    slots = np.array([0, 1])
    ends = fresh_bootstraps(buffer, slots, lambda observations: np.full(len(observations), 4.0, np.float32))
    values = buffer.batch(slots, 0.0, np.random.default_rng(0), ends=ends).targets.value
    assert values[:, 0].tolist() == pytest.approx([0.75 * 6 + 0.25 * 0.5, 0.75 * 6 + 0.25 * 0.25])


@pytest.mark.parametrize("terminated", [True, False])
def test_who_moves_twice_in_a_row_by_hand(terminated: bool) -> None:
    """Seats 0 0 1 1 1 0, then 0 again: rewards are the mover's, and the seat at a terminal end means nothing."""
    values = [0, 0, 0, 0, 0, 0, 0 if terminated else 0.5]
    episode = make_episode(
        [0.0, 1.0, 0.0, 2.0, 0.0, 4.0], players=2, terminated=terminated, values=values, to_play=[0, 0, 1, 1, 1, 0, 0]
    )
    targets = batch_of(episode, players=2, unroll_steps=3).targets
    end = values[-1]
    returns = [1 - 2 + 4 + end, 1 - 2 + 4 + end, 2 - 4 - end, 2 - 4 - end, -4 - end, 4 + end]
    assert targets.value[:, 0].tolist() == returns
    assert targets.value[0].tolist() == returns[:4]  # each seen by who is to move there
    assert targets.reward[1].tolist() == [1, 0, 2]
    assert targets.same_player[:, 0].tolist() == [1, 0, 1, 1, 0, 0 if terminated else 1]
    assert targets.same_player_mask[:, 0].tolist() == [1, 1, 1, 1, 1, 0 if terminated else 1]
    assert targets.same_player[4].tolist() == [0, 0 if terminated else 1, 0]
    assert targets.same_player_mask[4].tolist() == [1, 0 if terminated else 1, 0]
    assert targets.same_player_mask[0].tolist() == [1, 1, 1]


@given(st.lists(st.integers(0, 1), min_size=2, max_size=12), st.integers(0, 6), st.booleans(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_returns_of_any_turns_match_brute_force(seats: list[int], n_step: int, terminated: bool, seed: int) -> None:
    rng, steps = np.random.default_rng(seed), len(seats) - 1
    values = [*rng.normal(size=steps), 0.0 if terminated else rng.normal()]
    episode = make_episode(list(rng.normal(size=steps)), players=2, terminated=terminated, values=values, to_play=seats)
    targets = batch_of(episode, players=2, discount=0.9, unroll_steps=2, n_step=n_step).targets
    expected = [brute_force_return(episode, t, n_step, 0.9) for t in range(steps)]
    np.testing.assert_allclose(targets.value[:, 0], expected, rtol=1e-4, atol=1e-5)
    for t in range(steps):
        for k in range(2):
            known = t + k + 1 < steps or (t + k + 1 == steps and not terminated)
            assert targets.same_player_mask[t, k] == known
            assert targets.same_player[t, k] == (known and seats[t + k] == seats[t + k + 1])
