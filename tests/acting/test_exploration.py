"""Who explores how much: the ladder over the environments, random moves that last, and whose episodes count."""

from __future__ import annotations

import numpy as np
import pytest

from muzero_wm.acting.episodes import RECENT, RecentEpisodes
from muzero_wm.acting.exploration import LONGEST, Exploration, counted_slots, random_shares
from muzero_wm.config import ActingConfig

SEARCHED = -1  # stands for what the search found


def watch(exploration: Exploration, moves: int, num_envs: int, actions: int = 50) -> np.ndarray:
    """Returns the actions [moves, n] where everything is legal; SEARCHED where none was replaced."""
    legal, searched = np.ones((num_envs, actions), np.bool_), np.full(num_envs, SEARCHED, np.int32)
    return np.stack([exploration.choose(searched, legal, t) for t in range(moves)])


def test_the_ladder_rises_steeply_to_the_last_environment() -> None:
    shares = random_shares(0.4, 64)
    assert (np.diff(shares) > 0).all()
    assert shares[-1] == pytest.approx(0.4) and shares[0] == pytest.approx(0.4**8)
    assert np.median(shares) < 0.02
    assert random_shares(0.4, 1).tolist() == pytest.approx([0.4])  # a single one explores
    assert Exploration(ActingConfig(num_envs=1, min_noise=0.2), 0).noise.tolist() == [1.0]
    assert Exploration(ActingConfig(num_envs=3, min_noise=0.2), 0).noise.tolist() == pytest.approx([0.2, 0.6, 1.0])
    assert not random_shares(0.0, 5).any()


@pytest.mark.parametrize(("largest", "noise"), [(0.1, 0.7), (0.4, 0.2), (0.9, 0.05)])
def test_random_moves_make_up_their_share(largest: float, noise: float, seed: int) -> None:
    """The noise is that of some hundred runs of very different lengths, at more than four standard deviations."""
    played = watch(Exploration(ActingConfig(num_envs=64, random_moves=largest), seed), 3000, 64)
    assert (played != SEARCHED).mean() == pytest.approx(random_shares(largest, 64).mean(), rel=noise)


def test_random_moves_last_for_times_with_a_heavy_tail(seed: int) -> None:
    """L or longer with a probability of 1 / L; never longer than the longest."""
    exploration = Exploration(ActingConfig(num_envs=100, random_moves=0.9), seed)
    legal, searched = np.ones((100, 7), np.bool_), np.full(100, SEARCHED, np.int32)
    drawn = []
    for t in range(1200):
        free = exploration._repeat == 0
        explores = exploration.choose(searched, legal, t) != SEARCHED
        drawn.append(exploration._repeat[free & explores] + 1)
    lengths = np.concatenate(drawn)
    assert lengths.min() == 1 and lengths.max() == LONGEST
    for least in (2, 4, 10):
        assert (lengths >= least).mean() == pytest.approx(1 / least, rel=0.15)


def test_only_legal_moves_are_made(seed: int) -> None:
    rng = np.random.default_rng(seed)
    exploration = Exploration(ActingConfig(num_envs=8, random_moves=0.9), seed)
    for t in range(400):
        legal = rng.random((8, 4)) < 0.5
        legal[:, 3] = True
        chosen = exploration.choose(np.full(8, 3, np.int32), legal, t)
        assert legal[np.arange(8), chosen].all()


def test_no_random_move_outlives_its_episode(seed: int) -> None:
    """What is repeated for long goes on over a step, but not over an end."""
    exploration = Exploration(ActingConfig(num_envs=4000, random_moves=0.9), seed)
    legal, searched = np.ones((4000, 1000), np.bool_), np.full(4000, SEARCHED, np.int32)
    first = exploration.choose(searched, legal, 0)
    done = np.arange(4000) % 2 == 0
    long = exploration._repeat > 2
    exploration.forget(done)
    second = exploration.choose(searched, legal, 1)
    assert (second[long & ~done] == first[long & ~done]).all() and (long & ~done).sum() > 100
    assert (second[long & done] == first[long & done]).mean() < 0.05


def test_without_random_moves_the_search_decides() -> None:
    assert (watch(Exploration(ActingConfig(num_envs=3), 0), 50, 3) == SEARCHED).all()


def test_exploration_goes_on_from_its_state(seed: int) -> None:
    config = ActingConfig(num_envs=8, random_moves=0.9)
    exploration = Exploration(config, seed)
    watch(exploration, 100, 8)
    other = Exploration(config, seed)
    other.load_state_dict(exploration.state_dict())
    assert np.array_equal(watch(other, 100, 8), watch(exploration, 100, 8))


def test_episodes_count_where_little_is_explored() -> None:
    assert counted_slots(ActingConfig(num_envs=5)).all()
    assert counted_slots(ActingConfig(num_envs=5, random_moves=0.4)).tolist() == [True, True, True, False, False]
    assert counted_slots(ActingConfig(num_envs=4, min_noise=0.0)).tolist() == [True, True, False, False]


def test_the_last_hundred_episodes_that_count() -> None:
    recent = RecentEpisodes(np.array([True, False]), num_players=1)
    assert recent.stats() == {}
    for i in range(RECENT + 20):
        recent.add(np.array([2, 1]), np.array([i + 1.0, 1000.0]), np.array([0, 1]))
    assert recent.stats() == {"episode/length": 2.0, "episode/return": np.mean(np.arange(20, RECENT + 20)) + 1.0}
    again = RecentEpisodes(np.array([True, False]), num_players=1)
    again.load_state_dict(recent.state_dict())
    assert again.stats() == recent.stats()


def test_results_of_two_players_are_those_of_the_first() -> None:
    recent = RecentEpisodes(np.ones(3, np.bool_), num_players=2)
    recent.add(np.array([3, 2, 2]), np.array([1.0, -1.0, 0.0]), np.arange(3))  # won by the first, the second, drawn
    assert recent.stats() == pytest.approx(
        {"episode/length": 7 / 3, "episode/first_player_score": 0.5, "episode/draws": 1 / 3}
    )


def test_rewards_on_the_way_and_other_bounds_count_by_who_has_more() -> None:
    recent = RecentEpisodes(np.ones(4, np.bool_), num_players=2)
    recent.add(np.array([3, 2, 2, 4]), np.array([24.0, -0.5, 0.1 + 0.2 - 0.3, 3.0]), np.arange(4))
    assert recent.stats() == pytest.approx(
        {"episode/length": 11 / 4, "episode/first_player_score": 2.5 / 4, "episode/draws": 1 / 4}
    )
