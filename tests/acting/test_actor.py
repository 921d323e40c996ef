"""Self-play: what is recorded is what was played, inline or in a process, and again with the same seed."""

from __future__ import annotations

import os
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from muzero_wm import envs
from muzero_wm.acting.actor import Actor
from muzero_wm.acting.episodes import OpenEpisodes
from muzero_wm.acting.pool import ActorPool
from muzero_wm.acting.worker import ActingError
from muzero_wm.config import ActingConfig, Config, InferenceConfig, ModelConfig, ReplayConfig, SearchConfig
from muzero_wm.model.world_model import WorldModel
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.room import share_room
from muzero_wm.replay.trajectory import Trajectories
from tests.acting.faulty import Walk
from tests.acting.pools import inline, spawned


def small(env: str = "tictactoe", **settings: object) -> Config:
    players_two = env in ("tictactoe", "connect4")
    return Config(
        env=env,
        model=ModelConfig(torso="mlp", width=16, head_width=16, projection_width=8),
        search=SearchConfig(num_simulations=8, discount=1.0 if players_two else 0.9, **settings.pop("search", {})),  # type: ignore[arg-type]
        acting=ActingConfig(num_envs=6, steps_per_round=7, **settings),  # type: ignore[arg-type]
    )


def model_for(config: Config) -> WorldModel:
    torch.manual_seed(3)
    return WorldModel(config.model, envs.spec(config.env))


def play(config: Config, steps: int, actor: Actor | None = None) -> Trajectories:
    actor = actor or Actor(config, model_for(config))
    spec = actor.env.spec
    rows = OpenEpisodes(spec, config.acting.num_envs, share_room(spec, config))
    trajectories = rows.absorb(actor.play(steps)).trajectories
    assert trajectories is not None
    return trajectories


@pytest.mark.parametrize(("env", "random_moves"), [("tictactoe", 0.0), ("connect4", 0.0), ("connect4", 0.9)])
def test_recorded_games_replay_under_the_rules(env: str, random_moves: float) -> None:
    data = play(small(env, random_moves=random_moves), 60)
    assert data.num_steps == data.lengths.sum() and data.terminated.all()
    start = 0
    for length in data.lengths:
        game = envs.make(env, 1, 0)
        step = game.reset()
        for t in range(start, start + length):
            assert np.array_equal(data.observation[t], step.observation[0])
            assert np.array_equal(data.legal_actions[t], step.legal_actions[0])
            assert data.to_play[t] == step.to_play[0]
            assert data.policy[t].sum() == pytest.approx(1, abs=1e-5)
            assert data.policy[t][~step.legal_actions[0]].sum() == 0
            step = game.step(data.action[t : t + 1])
            assert data.reward[t] == step.reward[0]
        end = start + length
        assert step.terminated[0] and np.array_equal(data.observation[end], step.final_observation[0])
        assert data.action[end] == -1 and data.value[end] == 0
        start = end + 1


def test_random_openings_start_games_in_the_middle() -> None:
    data = play(small("connect4", random_openings=1.0, max_random_plies=6), 60)
    first = np.concatenate([[0], np.cumsum(data.lengths + 1)[:-1]])
    stones = data.observation[first][:, :2].sum((1, 2, 3))
    assert stones.min() >= 1 and stones.max() <= 6


def test_noise_rises_from_the_first_environment_to_the_last() -> None:
    """With a flat policy nothing but noise tells actions apart: none in the first slot, full noise in the last."""
    config = small("gym:CartPole-v1", min_noise=0.0, search={"value_scale": 1e-6})
    played = Actor(config, model_for(config)).play(40).steps
    against = played["action"] != played["policy"].argmax(-1)
    assert not against[:, 0].any()
    assert 5 < against[:, -1].sum() < 35
    loud = Actor(small("gym:CartPole-v1", search={"value_scale": 1e-6}), model_for(config)).play(40).steps
    assert 5 < (loud["action"][:, 0] != loud["policy"][:, 0].argmax(-1)).sum() < 35


def test_the_noise_of_puct_is_its_temperature() -> None:
    config = small("gym:CartPole-v1", min_noise=0.0, search={"algorithm": "puct"})
    played = Actor(config, model_for(config)).play(40).steps
    against = played["action"] != played["policy"].argmax(-1)
    assert not against[:, 0].any() and against[:, -1].sum() > 5


def test_random_moves_are_what_is_played_and_recorded() -> None:
    """A world that says which action it was given: the record has to agree, and to differ from what was searched."""
    config = small("gym:CartPole-v1", random_moves=0.9, min_noise=0.0)
    actor = Actor(config, model_for(config))
    given = []
    step = actor.env.step
    actor.env.step = lambda actions: given.append(actions.copy()) or step(actions)  # type: ignore[method-assign,func-returns-value]
    played = actor.play(60)
    assert np.array_equal(np.stack(given), played.steps["action"])
    against = played.steps["action"] != played.steps["policy"].argmax(-1)
    assert against[:, -1].sum() > 10
    repeat = actor.state_dict()["exploration"]["repeat"]
    assert not repeat[played.done[-1]].any()


def test_returns_are_those_of_the_quieter_half() -> None:
    config = small("gym:CartPole-v1", random_moves=0.9)
    actor = inline(config)
    actor.begin(model_for(config).state_dict())
    expected: list[float] = []
    running = np.zeros(6)
    for _ in range(20):
        played = actor.actors[0]._actor.play(7)
        result = actor._take(played)
        for reward, done in zip(played.steps["reward"], played.done, strict=True):
            running += reward
            expected += running[:3][done[:3]].tolist()
            running[done] = 0.0
        if expected:
            assert result.stats["episode/return"] == pytest.approx(np.mean(expected[-100:]))
    assert len(expected) > 10
    actor.close()


class Countdown(gymnasium.Env):
    """Reward t at step t; cut after five steps."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.t = 0
        return np.array([0.0], np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward, self.t = float(self.t), self.t + 1
        return np.array([float(self.t)], np.float32), reward, False, self.t == 5, {}


@pytest.fixture
def countdown() -> str:
    gymnasium.register("muzero-wm-countdown-v0", entry_point=Countdown)
    yield "gym:muzero-wm-countdown-v0"
    del gymnasium.registry["muzero-wm-countdown-v0"]


def test_rewards_actions_and_observations_are_aligned_and_truncation_bootstraps(countdown: str) -> None:
    config = small(countdown)
    actor = Actor(config, model_for(config))
    data = play(config, 12, actor)
    assert not data.terminated.any()
    assert data.lengths.tolist() == [5] * 12
    assert data.observation.reshape(12, 6).tolist() == [[0, 1, 2, 3, 4, 5]] * 12
    assert data.reward.reshape(12, 6).tolist() == [[0, 1, 2, 3, 4, 0]] * 12
    value_of_five = actor.network.initial(np.array([[5.0]], np.float32)).value[0]
    assert data.value.reshape(12, 6)[:, 5] == pytest.approx(value_of_five, abs=1e-5)


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
def test_same_seed_same_games(algorithm: str) -> None:
    first, second = (play(small(search={"algorithm": algorithm}), 20) for _ in range(2))
    assert np.array_equal(first.action, second.action) and np.array_equal(first.policy, second.policy)
    other = play(small(search={"algorithm": algorithm}).model_copy(update={"seed": 1}), 20)
    assert len(other.action) != len(first.action) or not np.array_equal(other.action, first.action)


def test_games_of_one_run_differ_from_each_other() -> None:
    data = play(small(), 9)
    openings = {tuple(data.action[s : s + 4]) for s in np.concatenate([[0], np.cumsum(data.lengths + 1)[:-1]])}
    assert len(openings) > len(data) // 2


def test_process_and_inline_play_the_same() -> None:
    # named, because two processes may measure differently (`train` measures once for both)
    config = small().model_copy(update={"inference": InferenceConfig(backend="fused")})
    weights = {name: tensor.clone() for name, tensor in model_for(config).state_dict().items()}
    results = []
    for kind in (inline, spawned):
        actor = kind(config)
        try:
            rounds = []
            for _ in range(2):
                actor.begin(weights)
                rounds.append(actor.collect())
        finally:
            actor.close()
        results.append(rounds)
    for here, remote in zip(*results, strict=True):
        assert here.steps == remote.steps == 42
        assert remote.stats.pop("acting/memory_mib") > 10
        assert here.stats == pytest.approx(remote.stats)
        assert np.array_equal(here.trajectories.action, remote.trajectories.action)
        assert np.array_equal(here.trajectories.policy, remote.trajectories.policy)


def _round(actor: ActorPool) -> None:
    actor.begin({})
    actor.collect()


def licensed() -> gymnasium.Env:
    """Returns an environment, as long as there is a licence."""
    if not Path(os.environ["LICENCE"]).exists():
        raise RuntimeError("the licence is gone")
    return Walk()


def test_a_failing_process_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    licence = tmp_path / "licence"
    monkeypatch.setenv("LICENCE", str(licence))
    licence.touch()
    config = small("tests.acting.test_actor:licensed")
    envs.spec(config.env)
    licence.unlink()
    actor = spawned(config)
    try:
        with pytest.raises(ActingError, match=r"licensed.*the licence is gone"):
            _round(actor)
    finally:
        actor.close()


def test_rows_hold_long_episodes_whole_where_targets_wait_for_the_end() -> None:
    spec = envs.EnvSpec("long", (1,), np.dtype(np.float32), 2, 1)
    rows = OpenEpisodes(spec, 2, share_room(spec, small()))
    for t in range(300):
        rows.append(
            observation=np.full((2, 1), t, np.float32),
            legal_actions=np.ones((2, 2), bool),
            to_play=np.zeros(2, np.int8),
            action=np.full(2, t % 2),
            reward=np.full(2, t, np.float32),
            policy=np.ones((2, 2)) / 2,
            value=np.zeros(2),
        )
    one = np.array([1])
    data = rows.pack(one, one == 1, np.full((1, 1), 300, np.float32), np.zeros(1, np.float32), np.zeros(1, np.int8))
    assert data.lengths.tolist() == [300]
    assert data.observation[:, 0].tolist() == list(range(301))
    assert rows.length.tolist() == [300, 0]


def test_a_share_of_the_moves_is_searched_in_full_and_the_rest_quickly() -> None:
    config = small("connect4", full_search_share=0.3, quick_simulations=3)
    actor = Actor(config, model_for(config))
    visits, search = [], actor.planner.search

    def watched(*args: object, **options: object) -> object:
        result = search(*args, **options)  # type: ignore[arg-type]
        visits.append((int(result.visit_counts.sum(1).max()), bool(options["explore"])))
        return result

    actor.planner.search = watched  # type: ignore[method-assign, assignment]
    played = actor.play(200)
    known = played.steps["policy"].any(axis=2)
    assert (known.all(1) | ~known.any(1)).all(), "a move is searched in full everywhere or nowhere"
    assert 0.2 < known[:, 0].mean() < 0.4
    assert visits == [(8, True) if full else (3, False) for full in known[:, 0]]
    np.testing.assert_allclose(played.steps["policy"].sum(2)[known], 1.0, atol=1e-5)
    assert played.stats["acting/policy_entropy"] > 0.0


def test_a_round_without_a_full_search_says_nothing_of_policies() -> None:
    """An entropy of 0 would say that nothing is tried any more."""
    config = small("tictactoe", full_search_share=0.3, quick_simulations=3)
    actor, kinds = Actor(config, model_for(config)), set()
    for _ in range(20):
        played = actor.play(1)
        full = bool(played.steps["policy"].any())
        assert ("acting/policy_entropy" in played.stats) == full
        kinds.add(full)
    assert kinds == {True, False}


def test_positions_without_a_full_search_are_learnt_from_on_the_way_only() -> None:
    """They are not drawn, their policies are masked, and their values count."""
    config = small("connect4", full_search_share=0.3)
    buffer = ReplayBuffer(envs.spec("connect4"), ReplayConfig(max_steps=4000), 1.0)
    data = play(config, 120)
    buffer.extend(data)
    drawn = buffer.sample_slots(2000, np.random.default_rng(0)).slot
    assert buffer.ring["policy"][drawn].any(1).all() and buffer.num_steps == data.policy.any(1).sum()
    targets = buffer.batch(drawn, 1.0, np.random.default_rng(0)).targets
    known = buffer.ring["policy"][targets.slot].any(2)
    assert np.array_equal(targets.policy_mask > 0, known) and not known.all()
    assert (targets.value_mask[~known & (buffer.ring["to_end"][targets.slot] > 0)] == 1.0).all()
