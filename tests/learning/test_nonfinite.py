"""A NaN on its way into the weights: named, kept, and dealt with as the option says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from muzero_wm import envs
from muzero_wm.config import Config
from muzero_wm.config.presets import load_config
from muzero_wm.learning.health import MAX_OUTSIDE, MIN_LATENT_STD, HealthMonitor, return_bound
from muzero_wm.learning.learner import Learner
from muzero_wm.learning.nonfinite import CALM_UPDATES, MOST_IN_A_ROW, NonFiniteGuard, NonFiniteLossError
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.trajectory import Trajectories
from muzero_wm.storage.dump import MOST_FILES, dump_arrays
from tests.replay.helpers import make_episode, make_spec, random_games


def config_for(policy: str, *more: str) -> Config:
    overrides = ["model.torso=mlp", "model.width=16", "model.head_width=16", "model.projection_width=16"]
    return load_config(
        "tictactoe", overrides=[*overrides, "learning.batch_size=16", f"learning.on_nonfinite={policy}", *more]
    )


def prepared(config: Config, run_dir: Path | None = None) -> tuple[Learner, ReplayBuffer]:
    keep = None if run_dir is None else partial(dump_arrays, run_dir)
    return Learner(config, envs.spec("tictactoe"), keep), random_games("tictactoe", config.replay, 30, seed=0)


def state(learner: Learner) -> dict[str, torch.Tensor]:
    tensors = {f"model.{k}": v for k, v in learner.model.state_dict().items()}
    tensors |= {f"teacher.{k}": v for k, v in learner.teacher.state_dict().items()}
    return {name: tensor.clone() for name, tensor in tensors.items()}


def everything(learner: Learner) -> dict[str, torch.Tensor]:
    moments = {
        f"optimizer.{index}.{name}": tensor.clone()
        for index, kept in enumerate(learner.optimizer.state.values())
        for name, tensor in kept.items()
    }
    return state(learner) | moments


def test_a_bootstrap_that_is_not_finite_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, buffer = prepared(config_for("skip", "replay.bootstrap=teacher", "replay.n_step=2"), tmp_path)
    network = learner._refreshed_planner().network
    initial = network.initial
    monkeypatch.setattr(network, "initial", lambda x: initial(x)._replace(value=np.full(len(x), np.nan, np.float32)))
    with pytest.raises(NonFiniteLossError, match="bootstrap: a value is not finite"):
        learner.run_round(buffer, 0, 2, 0.0)


def spoil(learner: Learner, update: int) -> Callable[[], None]:
    """Returns a tick that makes one weight infinite during that update and no longer."""
    weight = next(learner.model.parameters())
    kept: list[torch.Tensor] = []

    def tick() -> None:
        if kept:
            weight.data.copy_(kept.pop())
        if learner.updates == update:
            kept.append(weight.data.clone())
            weight.data[0] = float("inf")

    return tick


@pytest.mark.parametrize(
    ("array", "value", "named"),
    [("reward", np.nan, "the batch's target_reward"), ("policy", np.inf, "the batch's target_policy"),
     ("value", -np.inf, "the batch's target_value")],
)  # fmt: skip
def test_what_is_not_finite_is_named_and_the_batch_kept(array: str, value: float, named: str, tmp_path: Path) -> None:
    learner, buffer = prepared(config_for("stop", "replay.outcome_weight=0.5"), tmp_path)
    learner.run_round(buffer, 0, 2, 0.0)
    before = state(learner)
    buffer.ring[array][:] = value
    with pytest.raises(NonFiniteLossError, match=rf"^update 2: not finite: .*{named}.*the batch is in .*npz"):
        learner.run_round(buffer, 1, 2, 0.0)
    batch = np.load(next((tmp_path / "nonfinite").iterdir()))
    assert not np.isfinite(batch[f"target_{array}"]).all() and batch["observation"].shape[0] == 16
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(learner).items())


def test_weights_that_are_not_finite_are_named_by_loss_and_gradient(tmp_path: Path) -> None:
    learner, buffer = prepared(config_for("stop"), tmp_path)
    with pytest.raises(NonFiniteLossError, match=r"^update 1: not finite: loss/.*, the gradient of .* and \d+ more \("):
        learner.run_round(buffer, 0, 3, 0.0, spoil(learner, 1))


@pytest.mark.parametrize("norm", ["false", "true"])
def test_skip_leaves_the_update_out(norm: str) -> None:
    learner, buffer = prepared(config_for("skip", f"model.batch_norm={norm}"))
    metrics = learner.run_round(buffer, 0, 6, 0.0, spoil(learner, 3))
    assert learner.updates == 6 and metrics["health/nonfinite"] == 1
    assert np.isfinite(metrics["loss/total"])
    assert all(torch.isfinite(tensor).all() for tensor in state(learner).values())
    made = {int(kept["step"]) for kept in learner.optimizer.state.values()}
    assert made == {5}


@pytest.mark.parametrize("norm", ["false", "true"])
def test_an_update_that_is_left_out_leaves_no_trace(norm: str) -> None:
    """Neither in the weights nor in the statistics of a batch norm, of model and teacher, nor in the optimiser."""
    learner, buffer = prepared(config_for("skip", f"model.batch_norm={norm}"))
    seen: list[dict[str, torch.Tensor]] = []
    break_a_weight = spoil(learner, 3)

    def tick() -> None:
        if learner.updates == 3:
            seen.append(everything(learner))
        break_a_weight()
        if learner.updates == 4:
            seen.append(everything(learner))

    learner.run_round(buffer, 0, 6, 0.0, tick)
    before, after = seen
    assert learner.guard.total == 1
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_rollback_goes_back_to_the_anchor_and_on_with_other_batches() -> None:
    learner, buffer = prepared(config_for("rollback"))
    learner.run_round(buffer, 0, 3, 0.0)
    anchor = learner.anchor()
    weights = state(learner)
    seen = []

    def tick() -> None:
        if learner.updates == 5:
            next(learner.model.parameters()).data.fill_(float("nan"))
        if learner.updates == 6:
            seen.append(all(torch.equal(tensor, weights[name]) for name, tensor in state(learner).items()))

    learner.run_round(buffer, 1, 6, 0.0, tick)
    assert seen == [True] and learner.updates == 9 and learner.guard.total == 1
    assert {int(kept["step"]) for kept in learner.optimizer.state.values()} == {6}
    assert {int(kept["step"]) for kept in anchor["optimizer"]["state"].values()} == {3}


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_too_many_in_a_row_end_the_run(policy: str, tmp_path: Path) -> None:
    learner, buffer = prepared(config_for(policy), tmp_path)
    learner.anchor()
    buffer.ring["reward"][:] = np.nan
    with pytest.raises(NonFiniteLossError, match=f"last of {MOST_IN_A_ROW + 1} without {CALM_UPDATES} good updates"):
        learner.run_round(buffer, 0, 50, 0.0)
    assert learner.updates == MOST_IN_A_ROW
    assert len(list((tmp_path / "nonfinite").iterdir())) == MOST_FILES


def test_a_row_is_over_after_enough_good_updates() -> None:
    guard = NonFiniteGuard("skip")
    for update in range(3 * MOST_IN_A_ROW):
        guard.bad(update, "for the test", {})
        for _ in range(CALM_UPDATES):
            guard.good()
    assert guard.total == 3 * MOST_IN_A_ROW


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_weights_that_a_finite_gradient_blew_up_never_leave_the_round(policy: str) -> None:
    learner, buffer = prepared(config_for(policy, "learning.learning_rate=1e38", "learning.warmup_updates=0"))
    with pytest.raises(NonFiniteLossError, match=r"not finite: .*weight.* after the step"):
        learner.run_round(buffer, 0, 1, 0.0)


def test_collapse_and_explosion_warn_once_each_time_they_begin() -> None:
    monitor = HealthMonitor()
    fine = {"latent/std": 0.5, "latent/effective_rank": 9.0, "value/abs_mean": 1.0, "value/bound": 1.0}
    flat, wild = fine | {"latent/std": MIN_LATENT_STD / 2}, fine | {"value/abs_mean": 1.6}
    warned = [len(monitor.watch(metrics)[1]) for metrics in (fine, flat, flat, fine, flat, wild, wild, {}, wild, fine)]
    assert warned == [0, 1, 0, 0, 1, 1, 0, 0, 0, 0]
    flags, lines = monitor.watch(fine | {"latent/effective_rank": 1.2, "value/abs_mean": 9.0})
    assert flags == {"health/latent_collapse": 1.0, "health/value_explosion": 1.0}
    assert "effective rank 1.2 (below 1.5)" in lines[0] and "9 in the mean, where no return can be beyond 1" in lines[1]


def test_targets_beyond_the_bins_warn_once_with_the_remedy() -> None:
    monitor = HealthMonitor()
    shares = (0.0, MAX_OUTSIDE / 2, 0.25, 0.0, 0.5)
    found = [monitor.watch({"value/outside": 0.0, "reward/outside": share}) for share in shares]
    assert [flags["health/reward_clipped"] for flags, _ in found] == [0.0, 0.0, 1.0, 0.0, 1.0]
    assert [len(lines) for _, lines in found] == [0, 0, 1, 0, 0]
    assert "25.00% of the reward targets" in found[2][1][0] and "--set" in found[2][1][0]
    setting = found[2][1][0].partition('--set "')[2].partition('"')[0]
    assert load_config("debug", overrides=[setting]).model.reward_support.transform == "symlog"


def test_a_hopeful_new_network_is_no_explosion() -> None:
    metrics = {"value/abs_mean": 99.0, "value/bound": 20.0}
    assert HealthMonitor().watch(metrics)[0] == {"health/value_explosion": 1.0}
    assert HealthMonitor(promised=100.0).watch(metrics) == ({"health/value_explosion": 0.0}, [])


@pytest.mark.parametrize(
    ("rewards", "terminated", "discount", "bound"),
    [([0, 0, 1], True, 1.0, 3.0), ([2, -4], True, 0.5, 6.0), ([1, 1], False, 0.5, 2.0), ([1], False, 1.0, np.inf),
     ([0, 0], True, 0.9, 0.0)],
)  # fmt: skip
def test_the_bound_on_returns(rewards: list[float], terminated: bool, discount: float, bound: float) -> None:
    buffer = ReplayBuffer(make_spec(1), config_for("stop").replay, discount)
    buffer.extend(make_episode(rewards, players=1, terminated=terminated))
    assert return_bound(buffer) == pytest.approx(bound)


def test_the_bound_on_returns_of_clipped_rewards() -> None:
    buffer = ReplayBuffer(make_spec(1), config_for("stop").replay, 0.5, clip_rewards=True)
    buffer.extend(make_episode([2.0, -400.0], players=1))
    assert return_bound(buffer) == pytest.approx(1.5)


def test_numbers_that_are_not_finite_do_not_enter_the_replay() -> None:
    buffer = ReplayBuffer(make_spec(1), config_for("stop").replay, 1.0)
    episode: Trajectories = make_episode([1.0, np.nan], players=1)
    with pytest.raises(ValueError, match="reward: expected finite"):
        buffer.extend(episode)
