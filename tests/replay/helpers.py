"""Hand-made episodes and a brute-force target, sharing no code with the package's targets."""

from __future__ import annotations

import numpy as np

from muzero_wm import envs
from muzero_wm.config import ReplayConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.trajectory import Trajectories


def make_spec(players: int, actions: int = 3) -> EnvSpec:
    return EnvSpec(
        name="hand-made",
        observation_shape=(2,),
        observation_dtype=np.dtype(np.float32),
        num_actions=actions,
        num_players=players,
        max_episode_steps=None,
        value_bounds=None,
        symmetries=(),
    )


def make_episode(
    rewards: list[float],
    *,
    players: int,
    terminated: bool = True,
    values: list[float] | None = None,
    tag: int = 0,
    to_play: list[int] | None = None,
) -> Trajectories:
    """Returns one episode; observation = (tag, t), action = t % 3, policy one-hot on the action; turns alternate."""
    steps = len(rewards)
    t = np.arange(steps + 1)
    policy = np.eye(3, dtype=np.float32)[t % 3]
    policy[-1] = 0
    return Trajectories(
        lengths=np.array([steps]),
        terminated=np.array([terminated]),
        observation=np.stack([np.full(steps + 1, tag), t], 1).astype(np.float32),
        legal_actions=np.ones((steps + 1, 3), np.bool_),
        to_play=np.array(t % players if to_play is None else to_play, np.int8),
        action=np.append(t[:-1] % 3, -1).astype(np.int32),
        reward=np.array([*rewards, 0.0], np.float32),
        policy=policy,
        value=np.array(values if values is not None else [0.0] * (steps + 1), np.float32),
    )


def brute_force_return(episode: Trajectories, t: int, n_step: int, discount: float) -> float:
    """Sums rewards one by one from the view of the player to move at t."""
    steps = int(episode.lengths[0])
    horizon = steps - t if n_step == 0 else min(n_step, steps - t)
    view = episode.to_play[t]
    total = 0.0
    for i in range(t, t + horizon):
        total += discount ** (i - t) * episode.reward[i] * (1 if episode.to_play[i] == view else -1)
    end = t + horizon
    return total + discount**horizon * episode.value[end] * (1 if episode.to_play[end] == view else -1)


def random_games(name: str, config: ReplayConfig, count: int, seed: int) -> ReplayBuffer:
    """Returns a replay of random games; policy targets are one-hot on the action played, values are 0."""
    env, rng = envs.make(name, 1, seed), np.random.default_rng(seed)
    buffer = ReplayBuffer(env.spec, config, 1.0)
    step = env.reset()
    for _ in range(count):
        rows, done = [], False
        while not done:
            action = rng.choice(np.flatnonzero(step.legal_actions[0]))
            after = env.step(np.array([action]))
            rows.append((step.observation[0], step.legal_actions[0], step.to_play[0], action, after.reward[0]))
            done, step, final = bool(after.terminated[0]), after, after.final_observation[0]
        observation, legal, to_play, actions, reward = (list(column) for column in zip(*rows, strict=True))
        policy = np.eye(env.spec.num_actions, dtype=np.float32)[actions]
        buffer.extend(
            Trajectories(
                lengths=np.array([len(rows)]),
                terminated=np.array([True]),
                observation=np.stack([*observation, final]),
                legal_actions=np.stack([*legal, legal[0]]),
                to_play=np.array([*to_play, 1 - to_play[-1]], np.int8),
                action=np.array([*actions, -1], np.int32),
                reward=np.array([*reward, 0], np.float32),
                policy=np.concatenate([policy, policy[:1] * 0]),
                value=np.zeros(len(rows) + 1, np.float32),
            )
        )
    return buffer


def assert_same(first: ReplayBuffer, second: ReplayBuffer) -> None:
    """Compares everything two rings hold in their slots in use, and what they draw next, bit for bit."""
    used = first._order()
    assert np.array_equal(used, second._order())
    for name, array in first.ring.items():
        assert np.array_equal(array[used], second.ring[name][used]), name
    assert np.array_equal(first._tree._tree, second._tree._tree), "leaves and sums"
    assert (first._rewarding is None) == (second._rewarding is None)
    if first._rewarding is not None and second._rewarding is not None:
        assert np.array_equal(first._rewarding._tree, second._rewarding._tree)
    assert list(first._segments) == list(second._segments)
    for name in ("_head", "_used", "total_steps", "total_episodes", "num_steps", "nbytes"):
        assert getattr(first, name) == getattr(second, name), name
    if first.num_steps:
        drawn = [buffer.sample_slots(500, np.random.default_rng(7)).slot for buffer in (first, second)]
        assert np.array_equal(*drawn)
