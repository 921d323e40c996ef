"""On a real CUDA device: what it computes in float32 is what the CPU computes, but for the order of sums."""

from __future__ import annotations

import copy
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import muzero_wm
from muzero_wm import envs
from muzero_wm.config import Config
from muzero_wm.config.presets import load_config
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.learning.augment import change_images
from muzero_wm.learning.batches import lay_out
from muzero_wm.learning.learner import Learner
from muzero_wm.learning.losses import unrolled_loss
from muzero_wm.learning.nonfinite import NonFiniteLossError
from muzero_wm.model.device import CPU, DeviceWarning, resolve_device
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.storage.checkpoint import load_checkpoint
from muzero_wm.storage.dump import dump_arrays
from muzero_wm.training import train
from tests.learning.test_augment import batch_of, learning_from_images
from tests.learning.test_device import break_update, differences, everything
from tests.replay.helpers import random_games

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

SIZES = (
    "model.width=16", "model.head_width=16", "model.projection_width=16", "model.representation_blocks=1",
    "model.dynamics_blocks=1", "model.prediction_blocks=1", "learning.batch_size=16", "learning.precision=fp32",
)  # fmt: skip
CASES = {
    "conv": ("model.torso=conv",),
    "conv-batch-norm": ("model.torso=conv", "model.batch_norm=true"),
    "mlp": ("model.torso=mlp",),
    "mlp-normalized": ("model.torso=mlp", "model.observation=normalize"),
}


def config_for(*overrides: str) -> Config:
    return load_config("tictactoe", overrides=[*SIZES, *overrides])


def prepared(config: Config, device: torch.device) -> tuple[Learner, ReplayBuffer]:
    learner = Learner(config, envs.spec("tictactoe"), device=device)
    buffer = random_games("tictactoe", config.replay, 30, seed=0)
    learner._know_observations(buffer)
    return learner, buffer


def there() -> torch.device:
    return resolve_device("cuda", conv=True)


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_are_those_of_the_cpu(case: str) -> None:
    """Within 1e-4 of the largest number of each gradient: sums of thousands of terms, in another order."""
    found = []
    for device in (CPU, there()):
        learner, buffer = prepared(config_for(*CASES[case]), device)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():  # a new network is idle in places
            for weight in learner.model.parameters():
                weight.add_((0.1 * torch.randn(weight.shape, generator=generator)).to(device))
        rng = np.random.default_rng(0)
        draws = buffer.sample_slots(16, rng)
        (laid,) = lay_out(
            buffer,
            draws.by_update(1),
            0.5,
            rng,
            model=learner.model,
            config=learner.config.learning,
            device=device,
        )
        loss = unrolled_loss(learner.model, learner.teacher, laid.batch, learner.config.learning, laid.cells)
        loss.total.backward()
        gradients = {name: w.grad.cpu() for name, w in learner.model.named_parameters() if w.grad is not None}
        found.append((float(loss.total.detach()), {name: float(part) for name, part in loss.parts.items()}, gradients))
    (total, parts, gradients), (total_there, parts_there, gradients_there) = found
    assert total_there == pytest.approx(total, rel=1e-4)
    assert parts_there == pytest.approx(parts, rel=1e-4, abs=1e-5)
    assert gradients.keys() == gradients_there.keys()
    for name, gradient in gradients.items():
        largest = float(gradient.abs().max())
        torch.testing.assert_close(gradients_there[name], gradient, rtol=0.0, atol=1e-4 * largest + 1e-6, msg=name)


def test_images_are_changed_and_seen_as_on_the_cpu() -> None:
    found = []
    for device in (CPU, there()):
        learner, buffer = learning_from_images(device, random_shift=3, random_intensity=0.1, precision="fp32")
        (laid,) = batch_of(learner, buffer)
        assert laid.changes is not None
        batch = change_images(laid.batch, laid.changes)
        with torch.no_grad():
            latent = learner.model.represent(batch.observation)
        found.append((batch.observation.cpu(), batch.next_observation.cpu(), latent.cpu()))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    torch.testing.assert_close(found[1][2], found[0][2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_a_round_of_updates_is_that_of_the_cpu(case: str) -> None:
    """With SGD, whose step is as exact as its gradient: 1e-4 where weights move by 1e-2. Losses within 0.1 %."""
    ends = []
    for device in (CPU, there()):
        config = config_for(
            *CASES[case], "learning.optimizer=sgd", "learning.learning_rate=0.05", "learning.warmup_updates=0",
            "replay.priority_exponent=0.6",
        )  # fmt: skip
        learner, buffer = prepared(config, device)
        metrics = learner.run_round(buffer, 0, 6, 0.0)
        weights = {name: tensor.cpu() for name, tensor in learner.teacher.state_dict().items()}
        ends.append((metrics, weights, buffer._tree.get(np.arange(buffer.capacity))))
    (metrics, weights, priorities), (metrics_there, weights_there, priorities_there) = ends
    assert metrics_there.keys() == metrics.keys()
    losses = {name: number for name, number in metrics.items() if name.startswith("loss/")}
    assert {name: metrics_there[name] for name in losses} == pytest.approx(losses, rel=1e-3, abs=1e-4)
    for name, tensor in weights.items():
        torch.testing.assert_close(weights_there[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    np.testing.assert_allclose(priorities_there, priorities, rtol=1e-2, atol=1e-3)


def test_adamw_comes_to_the_same_losses() -> None:
    """Its steps are those of signs where gradients are rounding alone, so weights are not compared."""
    losses = []
    for device in (CPU, there()):
        learner, buffer = prepared(config_for("model.torso=conv"), device)
        losses.append([learner.run_round(buffer, index, 8, 0.0)["loss/total"] for index in range(4)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert losses[1][-1] < losses[1][0]


@pytest.mark.parametrize("case", ["conv-batch-norm", "mlp"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_skipped_update_leaves_everything_untouched(case: str, optimizer: str) -> None:
    config = config_for(*CASES[case], "learning.on_nonfinite=skip", f"learning.optimizer={optimizer}")
    learner, buffer = prepared(config, there())
    learner.run_round(buffer, 0, 3, 0.0)
    before = everything(learner)
    draws = buffer.sample_slots(16, np.random.default_rng(0))
    (laid,) = lay_out(
        buffer,
        draws.by_update(1),
        0.5,
        np.random.default_rng(0),
        model=learner.model,
        config=learner.config.learning,
        device=there(),
    )
    laid.batch.weight[3] = float("nan")
    made = learner._update(laid.batch, 0.1, laid.cells)
    assert made is not None and not bool(made.good)
    assert differences(before, everything(learner)) == []
    metrics = learner.run_round(buffer, 1, 6, 0.0, break_update(learner, 2))
    assert metrics["health/nonfinite"] == 1 and learner.updates == 9
    assert all(torch.isfinite(tensor.float()).all() for tensor in everything(learner).values())


def test_what_is_not_finite_is_named_at_the_end_of_the_round(tmp_path: Path) -> None:
    config = config_for("model.torso=mlp")
    learner = Learner(config, envs.spec("tictactoe"), partial(dump_arrays, tmp_path), there())
    buffer = random_games("tictactoe", config.replay, 30, seed=0)
    with pytest.raises(NonFiniteLossError, match=r"^update 2: not finite: loss/.*, the gradient of .* the batch is in"):
        learner.run_round(buffer, 0, 5, 0.0, break_update(learner, 2))


def test_a_round_waits_for_the_device_at_its_end_only() -> None:
    """CUDA refuses whatever would wait for it while updates are under way."""
    learner, buffer = prepared(config_for("model.torso=conv", "model.batch_norm=true"), there())
    learner.run_round(buffer, 0, 2, 0.0)
    launch = learner._launch

    def strict(*arguments: object) -> object:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return launch(*arguments)  # type: ignore[arg-type]
        finally:
            torch.cuda.set_sync_debug_mode("default")

    learner._launch = strict  # type: ignore[method-assign,assignment]
    learner.run_round(buffer, 1, 4, 0.0)
    assert learner.updates == 6


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_state_goes_to_the_cpu_and_back(optimizer: str, tmp_path: Path) -> None:
    config = config_for("model.torso=conv", f"learning.optimizer={optimizer}")
    learner, buffer = prepared(config, there())
    learner.run_round(buffer, 0, 4, 0.0)
    saved = copy.deepcopy(learner.state_dict())
    for device in (CPU, there()):
        other, _ = prepared(config, device)
        other.load_state_dict(saved)
        assert {tensor.device for tensor in everything(other).values()} == {device}
        own = {name: tensor.cpu() for name, tensor in everything(other).items()}
        assert differences({name: tensor.cpu() for name, tensor in everything(learner).items()}, own) == []
        other.run_round(buffer, 1, 3, 0.0)
        saved = copy.deepcopy(other.state_dict())
        learner = other


@pytest.mark.parametrize("backend", ["eager", "torch", "fused"])
def test_a_network_there_says_what_it_says_here(backend: str) -> None:
    """Within 1e-4, in every way of evaluating it; the searches of a session included."""
    learner, _ = prepared(config_for("model.torso=conv"), CPU)
    here = InferenceModel(learner.teacher, backend="eager", precision="fp32")
    elsewhere = InferenceModel(copy.deepcopy(learner.teacher).to(there()), backend=backend, precision="fp32")
    observation = np.random.default_rng(0).integers(0, 2, (5, *learner.spec.observation_shape)).astype(np.uint8)
    first, second = here.initial(observation), elsewhere.initial(observation)
    np.testing.assert_allclose(second.value, first.value, atol=1e-4)
    np.testing.assert_allclose(second.prior_logits, first.prior_logits, atol=1e-4)
    steps = []
    for network in (here, elsewhere):
        _, _, recurrent = network.session().start(observation, 4, 1.0)
        steps.append(recurrent(np.zeros(5, np.int32), np.arange(5, dtype=np.int32), 1)[3].copy())
    np.testing.assert_allclose(steps[1], steps[0], atol=1e-4)


@pytest.mark.parametrize("process", ["false", "true"])
def test_a_run_made_there_plays_and_goes_on_here(process: str, tmp_path: Path) -> None:
    less = (
        "acting.num_envs=8", "acting.steps_per_round=4", f"acting.process={process}", "search.num_simulations=4",
        "replay.min_steps=60", "replay.max_steps=500", "learning.updates_per_round=3", "run.tensorboard=false",
        "model.torso=conv", "inference.backend=torch", "inference.precision=fp32",
    )  # fmt: skip
    overrides = [*SIZES, *less, "run.device=cuda"]
    train(load_config("tictactoe", overrides=overrides, max_updates=9), tmp_path / "run")
    saved = load_checkpoint(tmp_path / "run" / "checkpoints")
    assert saved["device"] == "cuda" and saved["learner"]["generator"]["device"] == "cuda"
    agent = muzero_wm.load(tmp_path / "run", device="cpu")
    there_too = muzero_wm.load(tmp_path / "run", device="cuda")
    assert agent.model.device == CPU and there_too.model.device.type == "cuda"
    board = np.zeros((1, *agent.spec.observation_shape), np.uint8)
    np.testing.assert_allclose(agent.policy(board)[1], there_too.policy(board)[1], atol=1e-3)
    config = load_config("tictactoe", overrides=[*overrides, "run.device=cpu"], max_updates=15)
    with pytest.warns(DeviceWarning, match="learnt on cuda so far and goes on on cpu"):
        train(config, tmp_path / "run", resume=True)
    config = load_config("tictactoe", overrides=overrides, max_updates=21)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert train(config, tmp_path / "run", resume=True).updates == 21
    assert any(issubclass(each.category, DeviceWarning) for each in told)
