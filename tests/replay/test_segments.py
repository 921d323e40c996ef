"""Long episodes in parts: the targets of every step are those of the whole episode, and memory is bounded."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from muzero_wm.acting.episodes import OpenEpisodes, Played
from muzero_wm.basis.errors import UserError
from muzero_wm.config import ActingConfig, Config, ReplayConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.reanalyze import ValueFn, fresh_bootstraps
from muzero_wm.replay.room import share_room
from muzero_wm.replay.targets import Targets
from muzero_wm.replay.trajectory import Trajectories
from tests.replay.helpers import assert_same, make_spec


def configure(envs: int = 3, steps: int = 4, **replay: object) -> Config:
    replay = {"max_steps": 4000, "min_steps": 10**6, "unroll_steps": 2, "n_step": 3} | replay
    return Config(acting=ActingConfig(num_envs=envs, steps_per_round=steps), replay=ReplayConfig(**replay))  # type: ignore[arg-type]


def play(episodes: list[list[Trajectories]], steps: int) -> list[Played]:
    """Returns the rounds in which every environment plays its episodes, one after the other, as long as all can."""
    rows = [[(e, t) for e in mine for t in range(int(e.lengths[0]))] for mine in episodes]
    names = ("observation", "legal_actions", "to_play", "action", "reward", "policy", "value")
    rounds = []
    for begin in range(0, min(len(row) for row in rows) - steps + 1, steps):
        grid = [[row[begin + t] for row in rows] for t in range(steps)]
        ends = [(e, t) for line in grid for e, t in line if t + 1 == e.lengths[0]]
        last = [e for e, _ in ends]
        rounds.append(
            Played(
                steps={n: np.stack([np.stack([getattr(e, n)[t] for e, t in line]) for line in grid]) for n in names},
                done=np.array([[t + 1 == e.lengths[0] for e, t in line] for line in grid]),
                terminated=np.array([[t + 1 == e.lengths[0] and e.terminated[0] for e, t in line] for line in grid]),
                final_observation=np.array([e.observation[-1] for e in last]).reshape(-1, 2),
                final_value=np.array([e.value[-1] for e in last], np.float32),
                final_to_play=np.array([e.to_play[-1] for e in last], np.int8),
                stats={},
            )
        )
    return rounds


def random_episode(rng: np.random.Generator, players: int, steps: int, tag: int) -> Trajectories:
    """Returns an episode in which every number tells where it comes from; observation = (tag, t)."""
    terminated = bool(rng.random() < 0.5)
    policy = rng.dirichlet(np.ones(3), steps + 1).astype(np.float32)
    policy[-1] = 0.0
    value = rng.normal(size=steps + 1).astype(np.float32)
    return Trajectories(
        lengths=np.array([steps]),
        terminated=np.array([terminated]),
        observation=np.stack([np.full(steps + 1, tag), np.arange(steps + 1)], 1).astype(np.float32),
        legal_actions=np.ones((steps + 1, 3), np.bool_),
        to_play=rng.integers(0, players, steps + 1).astype(np.int8),
        action=np.append(rng.integers(0, 3, steps), -1).astype(np.int32),
        reward=np.append(rng.normal(size=steps), 0.0).astype(np.float32),
        policy=policy,
        value=np.where((np.arange(steps + 1) == steps) & terminated, 0.0, value).astype(np.float32),
    )


def stored(ring: ReplayBuffer) -> dict[tuple[int, int], int]:
    """Returns the slots that can be sampled by (tag, t)."""
    slots = np.flatnonzero(ring._tree.get(np.arange(ring.capacity)) > 0.0)
    keys = [tuple(key) for key in ring.ring["observation"][slots].astype(int).tolist()]
    assert len(set(keys)) == len(keys) == ring.num_steps, "every step once"
    return dict(zip(keys, slots.tolist(), strict=True))


def slots_of(ring: ReplayBuffer, keys: list[tuple[int, int]]) -> np.ndarray:
    where = stored(ring)
    return np.array([where[key] for key in keys])


def targets_of(ring: ReplayBuffer, slots: np.ndarray, evaluate: ValueFn | None) -> tuple[Targets, np.ndarray]:
    ends = None if evaluate is None else fresh_bootstraps(ring, slots, evaluate)
    batch = ring.batch(slots, 0.0, np.random.default_rng(0), ends=ends)
    batch.next_observation[batch.targets.next_mask == 0.0] = 0.0  # past the end, not used
    return batch.targets, batch.next_observation


def assert_equal_targets(
    first: ReplayBuffer, second: ReplayBuffer, keys: list[tuple[int, int]], evaluate: ValueFn | None = None
) -> None:
    (one, seen), (other, seen_there) = (targets_of(ring, slots_of(ring, keys), evaluate) for ring in (first, second))
    for name in (field.name for field in fields(Targets) if field.name != "slot"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert np.array_equal(seen, seen_there)


@given(
    st.integers(1, 2), st.integers(1, 4), st.integers(1, 6), st.integers(1, 9), st.booleans(), st.integers(1, 4),
    st.integers(0, 2**31),
)  # fmt: skip
@example(1, 1, 1, 1, True, 2, 0)  # what stacks of frames repeat is no new step, or a window of all drops some
@settings(max_examples=60, deadline=None)
def test_targets_are_those_of_the_whole_episode_position_by_position(
    players: int, unroll: int, n_step: int, steps: int, early: bool, frames: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    config = configure(steps=steps, unroll_steps=unroll, n_step=n_step, min_steps=30 if early else 10**6)
    frames = frames if players == 1 else 1
    spec = replace(make_spec(players), observation_shape=(2 * frames,), frames=frames)
    room = share_room(spec, config)
    episodes = [[random_episode(rng, players, int(n), 10 * row + i) for i, n in enumerate(rng.integers(1, 120, 6))]
                for row in range(3)]  # fmt: skip
    whole, parts = (ReplayBuffer(spec, config.replay, 0.9) for _ in range(2))
    rows = OpenEpisodes(spec, 3, room)
    known: dict[int, int] = {}
    for played in play(episodes, steps):
        absorbed = rows.absorb(played)
        if absorbed.trajectories is not None:
            parts.extend(absorbed.trajectories)
        assert rows.length.max() <= room.cut_at + room.lead
        assert not len(absorbed.lengths) or absorbed.lengths.max() >= 1
        for tag, t in played.steps["observation"].reshape(-1, 2).astype(int).tolist():
            known[tag] = t + 1
    for mine in episodes:
        whole.extend(Trajectories.concatenate(mine))
    have = stored(parts)
    for tag, count in known.items():
        length = int(episodes[tag // 10][tag % 10].lengths[0])
        missing = [t for t in range(count) if (tag, t) not in have]
        if count == length:
            assert not missing, "an episode that ended is there with every step"
        else:
            assert missing == list(range(count - len(missing), count)) and len(missing) <= room.cut_at
    ended = sum(count == episodes[tag // 10][tag % 10].lengths[0] for tag, count in known.items())
    assert parts.total_episodes == ended
    assert_equal_targets(parts, whole, list(have))


@pytest.mark.parametrize("players", [1, 2])
def test_lengths_and_results_are_those_of_the_whole_episode(players: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    config, spec = configure(envs=1), make_spec(players)
    mine = [random_episode(rng, players, int(n), i) for i, n in enumerate(rng.integers(1, 120, 20))]
    rows = OpenEpisodes(spec, 1, share_room(spec, config))
    absorbed = [rows.absorb(played) for played in play([mine], 4)]
    lengths, results = (np.concatenate([getattr(a, name) for a in absorbed]) for name in ("lengths", "results"))
    for episode, length, result in zip(mine, lengths, results, strict=False):
        expected = sum(-r if seat else r for r, seat in zip(episode.reward, episode.to_play, strict=True))
        assert length == episode.lengths[0] and result == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert len(lengths) >= 19


def test_bootstraps_of_now_reach_over_a_cut(seed: int) -> None:
    """With the teacher's values too, the returns of a step are those of the whole episode."""
    rng = np.random.default_rng(seed)
    config = configure(envs=1, bootstrap="teacher")
    spec = make_spec(1)
    episode = random_episode(rng, 1, 200, 0)
    rows, parts = OpenEpisodes(spec, 1, share_room(spec, config)), ReplayBuffer(spec, config.replay, 0.9)
    whole = ReplayBuffer(spec, config.replay, 0.9)
    whole.extend(episode)
    for played in play([[episode]], 4):
        if (handed := rows.absorb(played).trajectories) is not None:
            parts.extend(handed)
    keys = list(stored(parts))
    assert len(keys) == 200 and len(parts._segments) > 3
    newer = rng.normal(size=201).astype(np.float32)
    assert_equal_targets(parts, whole, keys, lambda observations: newer[observations[:, 1].astype(int)])


def test_the_end_of_a_segment_is_no_end(seed: int) -> None:
    """Nothing says that the episode was over, and no sample is moved to where it was cut."""
    rng = np.random.default_rng(seed)
    config = configure(envs=1, terminal_fraction=0.9)
    rows = OpenEpisodes(make_spec(1), 1, share_room(make_spec(1), config))
    ring = ReplayBuffer(make_spec(1), config.replay, 0.9)
    for played in play([[random_episode(rng, 1, 400, 0)]], 4)[:-1]:
        if (handed := rows.absorb(played).trajectories) is not None:
            ring.extend(handed)
    assert ring.total_episodes == 0 and ring.num_steps > 300
    assert ring.total_steps == rows._steps[0] - (rows.length[0] - rows._repeated[0])
    drawn = ring.sample_slots(2000, rng).slot
    assert (ring._tree.get(drawn) > 0.0).all()
    counts = np.bincount(drawn, minlength=ring.capacity)[np.unique(drawn)]
    assert counts.max() < 30, "the draws are uniform"
    assert not ring.batch(drawn, 0.0, rng).targets.terminal.any()


def endless(config: Config, spec: EnvSpec, rounds: int) -> tuple[OpenEpisodes, ReplayBuffer, list[int]]:
    """Plays environments that never end; returns the rows, the ring and the bytes of both after every round."""
    room = share_room(spec, config)
    envs, steps = config.acting.num_envs, config.acting.steps_per_round
    rows = OpenEpisodes(spec, envs, room)
    ring = ReplayBuffer(spec, config.replay, 0.9, room.open_bytes)
    sizes = []
    for index in range(rounds):
        t = np.arange(index * steps, (index + 1) * steps)[:, None]
        none = np.zeros((steps, envs), np.bool_)
        values = {"observation": np.zeros((steps, envs, *spec.observation_shape), spec.observation_dtype)}
        values |= {"legal_actions": np.ones((steps, envs, 3), np.bool_)}
        values |= {"policy": np.ones((steps, envs, 3), np.float32)}
        values |= {name: np.broadcast_to(t, (steps, envs)).astype(np.float32) for name in ("reward", "value")}
        values |= {"to_play": none.astype(np.int8), "action": none.astype(np.int32)}
        empty = np.zeros(0, np.float32)
        played = Played(values, none, none, empty, empty, empty.astype(np.int8), {})
        if (handed := rows.absorb(played).trajectories) is not None:
            ring.extend(handed)
        copy = sum(np.asarray(part).nbytes for part in rows.state_dict().values())
        sizes.append(sum(column.nbytes for column in rows._columns.values()) + copy + ring.nbytes)
    return rows, ring, sizes


@pytest.mark.parametrize("n_step", [0, 5])
def test_episodes_without_end_are_learnt_from_and_bounded_in_bytes(n_step: int) -> None:
    config = configure(envs=4, steps=8, max_mib=0.5, max_steps=10**6, n_step=n_step, min_steps=100)
    _, ring, sizes = endless(config, make_spec(1), 300)
    assert max(sizes) <= 0.5 * 2**20
    assert ring.num_steps > 500 and ring.total_steps > 300 * 32 - 4 * 1000
    reward = ring.ring["reward"]
    slots = np.array(sorted(stored_slots(ring)))
    value = ring.batch(slots, 0.0, np.random.default_rng(0)).targets.value[:, 0]
    horizon = ring.ring["to_end"][slots] if n_step == 0 else np.full(len(slots), 5)
    for slot, target, n in list(zip(slots, value, horizon, strict=True))[::97]:
        t = reward[slot]
        assert target == pytest.approx(sum(0.9**i * (t + i) for i in range(n)) + 0.9**n * (t + n), rel=1e-4)


def stored_slots(ring: ReplayBuffer) -> list[int]:
    return np.flatnonzero(ring._tree.get(np.arange(ring.capacity)) > 0.0).tolist()


@pytest.mark.parametrize("longest", [None, 300])
def test_large_observations_stay_within_the_bound(longest: int | None) -> None:
    spec = EnvSpec("large", (40, 40, 3), np.dtype(np.uint8), 3, 1, max_episode_steps=longest)
    config = configure(envs=4, steps=4, max_mib=4.0, max_steps=10**6)
    _, ring, sizes = endless(config, spec, 100)
    assert max(sizes) <= 4.0 * 2**20 and ring.num_steps > 100


def test_what_cannot_be_held_is_refused_before_anything_is_played() -> None:
    spec = EnvSpec("large", (160, 160, 3), np.dtype(np.uint8), 3, 1)
    with pytest.raises(UserError, match=r"^replay.max_mib / max_steps: expected room for .* lower acting.num_envs"):
        share_room(spec, configure(envs=64, max_mib=16.0))
    with pytest.raises(UserError, match="and 10 steps, got 512 MiB and 9 steps; raise"):
        share_room(make_spec(1), configure(max_steps=9))
    share_room(make_spec(1), configure(max_steps=10))


def test_what_the_ring_holds_is_said() -> None:
    lines = share_room(make_spec(1), configure(max_mib=1.0, max_steps=10**6)).describe()
    assert len(lines) == 1 and "lowers replay.max_steps 1000000" in lines[0] and "within 1 MiB" in lines[0]
    assert "lowers" not in share_room(make_spec(1), configure(max_steps=1000)).describe()[0]
    waits = share_room(make_spec(1), configure(n_step=0)).describe()
    assert len(waits) == 2 and "n_step 0 waits for the end" in waits[1]
    board = replace(make_spec(2), max_episode_steps=42)
    assert len(share_room(board, configure(n_step=0)).describe()) == 1


def test_unfinished_episodes_go_on_from_their_state(seed: int) -> None:
    rng = np.random.default_rng(seed)
    config, spec = configure(), make_spec(2)
    room = share_room(spec, config)
    episodes = [[random_episode(rng, 2, int(n), 0) for n in rng.integers(20, 150, 4)] for _ in range(3)]
    rows, ring, again = OpenEpisodes(spec, 3, room), ReplayBuffer(spec, config.replay, 1.0), None
    copy = ReplayBuffer(spec, config.replay, 1.0)
    for played in play(episodes, 4):
        again = OpenEpisodes(spec, 3, room)
        again.load_state_dict(rows.state_dict())
        first, second = rows.absorb(played), again.absorb(played)
        assert np.array_equal(first.results, second.results) and np.array_equal(first.lengths, second.lengths)
        for target, handed in ((ring, first.trajectories), (copy, second.trajectories)):
            if handed is not None:
                target.extend(handed)
    assert_same(ring, copy)
    assert ring.ring["cut"].any()


def test_rows_of_an_earlier_version_are_cut_at_the_next_border(seed: int) -> None:
    """Whole episodes, however long, with nothing said about parts."""
    rng = np.random.default_rng(seed)
    config, spec = configure(envs=1), make_spec(1)
    episode = random_episode(rng, 1, 204, 0)
    room = share_room(spec, config)
    rows, ring = OpenEpisodes(spec, 1, room), ReplayBuffer(spec, config.replay, 0.9)
    names = ("observation", "legal_actions", "to_play", "action", "reward", "policy", "value")
    rows.load_state_dict({"length": np.array([100])} | {name: getattr(episode, name)[:100] for name in names})
    for played in play([[episode]], 4)[25:]:
        absorbed = rows.absorb(played)
        if absorbed.trajectories is not None:
            ring.extend(absorbed.trajectories)
    assert absorbed.lengths.tolist() == [204]
    assert absorbed.results == pytest.approx([episode.reward.sum()], rel=1e-4, abs=1e-4)
    assert ring.total_steps == 204 and ring.total_episodes == 1 and ring.num_steps == 204
    whole = ReplayBuffer(spec, config.replay, 0.9)
    whole.extend(episode)
    assert_equal_targets(ring, whole, [(0, t) for t in range(204)])
