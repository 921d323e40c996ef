"""Whole runs, small: learning, determinism, resume, reanalyze, failures."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from muzero_wm import envs, training
from muzero_wm.acting import pool
from muzero_wm.acting.pool import ActorPool
from muzero_wm.agent import load
from muzero_wm.basis.errors import UserError
from muzero_wm.config import Config
from muzero_wm.config.presets import load_config
from muzero_wm.learning import learner as learner_module
from muzero_wm.learning.learner import Learner, NonFiniteLossError
from muzero_wm.learning.losses import unrolled_loss
from muzero_wm.model.device import DeviceError
from muzero_wm.replay.reanalyze import reanalyze
from muzero_wm.run.progress import Progress
from muzero_wm.training import train
from tests.replay.helpers import random_games

SMALL = [
    "model.torso=mlp", "model.width=24", "model.head_width=24", "model.projection_width=16", "search.num_simulations=8",
    "acting.num_envs=16", "acting.steps_per_round=4", "acting.process=false", "replay.min_steps=100",
    "learning.batch_size=32", "learning.updates_per_round=4", "learning.max_minutes=null", "run.tensorboard=false",
]  # fmt: skip


def small(*overrides: str, env: str = "tictactoe", updates: int = 24) -> Config:
    return load_config(None, env=env, overrides=[*SMALL, *overrides, f"learning.max_updates={updates}"])


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(agent: object) -> dict[str, torch.Tensor]:
    return agent.model.state_dict()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    "overrides",
    [(), ("search.algorithm=puct",), ("replay.reanalyze_fraction=0.25",), ("replay.priority_exponent=0.6",),
     ("model.torso=conv", "model.batch_norm=true"), ("model.ema_decay=0",), ("learning.self_prediction_weight=0",),
     ("learning.optimizer=sgd", "learning.learning_rate=0.02"), ("acting.process=true",)],
)  # fmt: skip
def test_every_variant_trains_and_loads(overrides: tuple[str, ...], tmp_path: Path) -> None:
    agent = train(small(*overrides), tmp_path / "run")
    assert agent.updates == 24
    again = load(tmp_path / "run")
    for name, tensor in weights(agent).items():
        assert torch.equal(tensor, weights(again)[name]), name
    step = envs.make("tictactoe", 3, 0).reset()
    first, second = (a.search(step.observation, step.legal_actions) for a in (agent, again))
    assert np.array_equal(first.visit_counts, second.visit_counts)
    last = metrics(tmp_path / "run")[-1]
    assert last["updates"] == 24 and np.isfinite(last["loss/total"])
    if "replay.reanalyze_fraction=0.25" in overrides:
        assert last["replay/reanalyzed"] > 0


def test_one_player_environment_trains(tmp_path: Path) -> None:
    config = small("acting.num_envs=8", "run.log_every_seconds=0.001", env="gym:CartPole-v1", updates=8)
    agent = train(config, tmp_path / "run")
    assert agent.act(np.zeros(4, np.float32)) in (0, 1)
    assert any("episode/return" in row for row in metrics(tmp_path / "run"))


def test_clipped_rewards_are_those_of_training_alone(tmp_path: Path) -> None:
    """The wheel pays 0.1 or 0.2 a push: 1 in training, and what is told of episodes stays what they paid."""
    clip = ("learning.clip_rewards=true", "search.discount=0.9", "replay.n_step=3", "acting.steps_per_round=20")
    train(small(*clip, env="gym:tests.replay.endless:Rare-v0"), tmp_path / "run")
    last = metrics(tmp_path / "run")[-1]
    assert last["value/bound"] == pytest.approx(10.0, rel=0.05)
    assert 0.0 < last["episode/return"] <= 0.2 * last["episode/length"]
    with pytest.raises(UserError, match=r"^learning.clip_rewards: .* tictactoe"):
        train(small("learning.clip_rewards=true"), tmp_path / "boards")


def test_same_seed_same_run_whoever_acts(tmp_path: Path) -> None:
    inline = weights(train(small(), tmp_path / "a"))
    process = weights(train(small("acting.process=true"), tmp_path / "b"))
    other = weights(train(small("seed=1"), tmp_path / "c"))
    assert all(torch.equal(inline[name], process[name]) for name in inline)
    assert not all(torch.equal(inline[name], other[name]) for name in inline)


@pytest.mark.parametrize("process", [False, True])
def test_a_budget_of_steps_is_kept_exactly(process: bool, tmp_path: Path) -> None:
    """Sixteen environments make 18 whole moves of 300 steps: the last of five rounds of four has two."""
    steps: list[tuple[int, float]] = []
    acting = f"acting.process={str(process).lower()}"
    config = load_config(None, env="tictactoe", overrides=[*SMALL, acting, "learning.max_steps=300"])
    train(config, tmp_path, on_round=lambda _, progress: steps.append((progress.steps, progress.share)))
    assert [count for count, _ in steps] == [64, 128, 192, 256, 288]
    assert [share for _, share in steps] == [count / 288 for count, _ in steps]


@pytest.mark.parametrize(
    ("least", "settings"),
    [(208, ["replay.unroll_steps=5", "replay.n_step=5"]), (336, ["acting.steps_per_round=20", "replay.n_step=1"])],
)
def test_the_smallest_budget_of_steps_is_one_that_is_learnt_from(
    least: int, settings: list[str], tmp_path: Path
) -> None:
    """What is played in a round is learnt from in the next one, and the last round may be one move."""
    settings = [*SMALL, *settings]
    assert train(
        load_config(None, env="tictactoe", overrides=[*settings, f"learning.max_steps={least}"]), tmp_path
    ).updates
    with pytest.raises(UserError, match=f"learning.max_steps: expected {least} or more, or nothing is learnt"):
        load_config(None, env="tictactoe", overrides=[*settings, f"learning.max_steps={least - 1}"])


def test_a_budget_of_steps_that_is_resumed_ends_as_it_would_have(tmp_path: Path) -> None:
    config = load_config(None, env="tictactoe", overrides=[*SMALL, "learning.max_steps=300"])
    whole = weights(train(config, tmp_path / "whole"))

    def stop(_: Learner, progress: Progress) -> None:
        if progress.rounds == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "parts", on_round=stop)
    parts = weights(train(config, tmp_path / "parts", resume=True))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_resume_goes_on_where_the_run_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    before = weights(train(small(), folder))
    agent = train(small(updates=48), folder, resume=True)
    assert agent.updates == 48
    rows = metrics(folder)
    assert [row["updates"] for row in rows] == sorted(row["updates"] for row in rows)
    assert rows[-1]["steps"] > 2 * 16 * 4 and rows[-1]["games"] > rows[0]["games"]
    assert not all(torch.equal(before[name], tensor) for name, tensor in weights(agent).items())


def test_a_run_is_not_resumed_with_another_number_of_environments(tmp_path: Path) -> None:
    train(small(), tmp_path / "run")
    with pytest.raises(envs.EnvError, match=r"acting.num_envs: the checkpoint holds the episodes of 16 .* got 4"):
        train(small("acting.num_envs=4", updates=48), tmp_path / "run", resume=True)


def test_an_interrupt_after_the_last_update_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The round is not over, but its updates are: the resumed run has nothing left to learn."""
    learn = training._learn

    def interrupted(learner: Learner, *rest: Any) -> dict[str, float]:
        metrics = learn(learner, *rest)
        if learner.updates == 24:
            raise KeyboardInterrupt
        return metrics

    with monkeypatch.context() as patch:
        patch.setattr(training, "_learn", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(small(), tmp_path / "run")
    assert train(small(), tmp_path / "run", resume=True).updates == 24


def test_divergence_is_named_and_the_checkpoint_stays(tmp_path: Path) -> None:
    train(small(), tmp_path / "run")
    wild = small("learning.learning_rate=1e30", "learning.warmup_updates=0", updates=48)
    with pytest.raises(NonFiniteLossError, match="learning_rate"):
        train(wild, tmp_path / "run", resume=True)
    assert load(tmp_path / "run").updates == 24


def test_too_little_memory_on_a_device_is_one_line_and_the_run_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(10**6))

    def full(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 9:
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which "
                "3.02 GiB is free. Including non-PyTorch memory, this process has ..."
            )
        return unrolled_loss(*args, **kwargs)

    monkeypatch.setattr(learner_module, "unrolled_loss", full)
    with pytest.raises(DeviceError) as caught:
        train(small(), tmp_path)
    assert str(caught.value) == (
        "run.device: not enough memory for updates of 32 samples (20.00 GiB more were asked for, 3.02 GiB of 79.11 GiB "
        "is free); lower learning.batch_size, 16 takes about half of it, or the sizes of the model; the run is saved "
        "up to update 0"
    )
    assert train(small(), tmp_path, resume=True).updates == 24


def test_reanalyze_renews_the_sampled_positions_and_only_them() -> None:
    config = small()
    buffer = random_games("tictactoe", config.replay, 30, seed=0)
    slots = np.unique(buffer.sample_slots(5, np.random.default_rng(1)).slot)
    to_end, unroll = buffer.ring["to_end"], config.replay.unroll_steps
    expected = {int(slot) + k for slot in slots for k in range(min(unroll + 1, to_end[slot]))}

    def search(
        observations: np.ndarray, legal: np.ndarray, rng: np.ndarray, states: None
    ) -> tuple[np.ndarray, np.ndarray]:
        assert len(observations) == len(legal) == len(rng)
        stones = observations[:, :2].sum((1, 2, 3))
        return (legal / legal.sum(1, keepdims=True)).astype(np.float32), (stones / 10 + 0.05).astype(np.float32)

    renewed = reanalyze(buffer, slots, search, np.arange(100, dtype=np.uint64))
    assert renewed == len(expected)
    assert set(np.flatnonzero(buffer.ring["value"])) == expected
    for slot in expected:
        stones = buffer.ring["observation"][slot, :2].sum()
        assert buffer.ring["value"][slot] == pytest.approx(stones / 10 + 0.05)
        legal = buffer.ring["legal_actions"][slot]
        assert buffer.ring["policy"][slot] == pytest.approx(legal / legal.sum())


def test_rewards_after_the_last_move_become_visible_through_the_dynamics() -> None:
    """On random games the imagined winning move must soon promise its reward; other moves must not."""
    overrides = [
        "learning.batch_size=128",
        "model.width=64",
        "replay.terminal_fraction=0.25",
        "learning.terminal_weight=4",
    ]
    config = small(*overrides, updates=1000)
    buffer = random_games("tictactoe", config.replay, 300, seed=0)
    learner = Learner(config, envs.spec("tictactoe"))
    learner.run_round(buffer, 0, 300, 0.0)
    ring, model = buffer.ring, learner.model
    won = np.flatnonzero((ring["to_end"] == 1) & (ring["reward"] > 0.5))
    other = np.flatnonzero(ring["to_end"] > 1)
    promised = [_imagined_reward(model, ring, slots) for slots in (won, other)]
    assert promised[0] > 0.5 and promised[0] - promised[1] > 0.4


def _imagined_reward(model: torch.nn.Module, ring: dict, slots: np.ndarray) -> float:
    with torch.no_grad():
        latent = model.represent(torch.from_numpy(ring["observation"][slots]))
        latent = model.step(latent, torch.from_numpy(ring["action"][slots]).long())
        return float(model.reward_support.decode(model.predict(latent).reward_logits).mean())


def test_what_comes_before_the_first_round_uses_up_no_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports, compiling, measuring backends and the start of the acting process."""
    ready = []

    def make_pool(*arguments: Any) -> ActorPool:
        actors = pool.make_pool(*arguments)
        prepare = actors.prepare
        monkeypatch.setattr(actors, "prepare", lambda tick: (prepare(tick), ready.append(time.monotonic())))
        return actors

    monkeypatch.setattr(training, "make_pool", make_pool)
    for resume, updates in ((False, 4), (True, 8)):
        used: list[tuple[float, float]] = []
        before = metrics(tmp_path / "run")[-1]["elapsed"] if resume else 0.0

        def note(_: Learner, progress: Progress, used: list[tuple[float, float]] = used) -> None:
            used.append((progress.elapsed, time.monotonic()))

        train(small("acting.process=true", updates=updates), tmp_path / "run", resume=resume, on_round=note)
        assert used and all(elapsed <= before + now - ready[-1] + 0.1 for elapsed, now in used)
    assert len(ready) == 2


def test_weights_are_those_of_the_draw() -> None:
    """A round is drawn beforehand; what its first updates do to priorities changes no weight of the later ones."""
    config = small("replay.priority_exponent=0.8", "replay.priority_beta=1.0", "replay.terminal_fraction=0")
    buffer = random_games("tictactoe", config.replay, 60, seed=0)
    slots = np.flatnonzero(buffer._tree.get(np.arange(buffer.capacity)) > 0.0)
    buffer.update_priorities(slots, np.random.default_rng(1).uniform(0.1, 9.0, len(slots)).astype(np.float32))
    before, batch_of, batches = buffer._tree.get(np.arange(buffer.capacity)).copy(), buffer.batch, []

    def watched(*arguments: Any) -> Any:
        batches.append(batch_of(*arguments))
        return batches[-1]

    buffer.batch = watched  # type: ignore[method-assign]
    Learner(config, envs.spec("tictactoe")).run_round(buffer, 0, 8, 0.0)
    assert not np.array_equal(before, buffer._tree.get(np.arange(buffer.capacity)))
    assert len(batches) == 8
    for batch in batches:
        expected = 1.0 / before[batch.slot]
        assert batch.weight == pytest.approx(expected / expected.max(), rel=1e-5)
