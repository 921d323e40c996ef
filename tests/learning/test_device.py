"""What must hold on any device, shown without one: no tensor is on the wrong one, and none is asked for in between."""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from muzero_wm import envs
from muzero_wm.cli import main as cli
from muzero_wm.config import Config
from muzero_wm.config.presets import load_config
from muzero_wm.learning import learner as learner_module
from muzero_wm.learning.batches import lay_out
from muzero_wm.learning.learner import Learner
from muzero_wm.learning.nonfinite import Keep, NonFiniteLossError
from muzero_wm.model.device import CPU, DeviceError, resolve_device
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.storage.dump import dump_arrays
from tests.replay.helpers import make_spec, random_games

ROOT = Path(__file__).parents[2] / "muzero_wm"
ELSEWHERE = torch.device("meta")  # stands for an accelerator: fake tensors there may not meet any of the CPU
SIZES = ("model.width=16", "model.head_width=16", "model.projection_width=16", "learning.batch_size=8")


def config_for(*overrides: str) -> Config:
    return load_config("tictactoe", overrides=[*SIZES, *overrides])


def prepared(*overrides: str, keep: Keep | None = None) -> tuple[Learner, ReplayBuffer]:
    config = config_for(*overrides)
    return Learner(config, envs.spec("tictactoe"), keep), random_games("tictactoe", config.replay, 30, seed=0)


def looking(learner: Learner) -> Learner:
    """Returns a learner whose optimiser is the one of other devices."""
    for group in learner.optimizer.param_groups:
        group["fused"] = True
    return learner


def unlooking(learner: Learner) -> Learner:
    """Returns a learner that treats the CPU as a device that is not asked before the end of a round."""
    looking(learner)._stepper.looks = False
    learner._stepper._begin_momentum()
    return learner


def everything(learner: Learner) -> dict[str, torch.Tensor]:
    state = {f"model.{name}": tensor for name, tensor in learner.model.state_dict().items()}
    state |= {f"teacher.{name}": tensor for name, tensor in learner.teacher.state_dict().items()}
    for index, kept in enumerate(learner.optimizer.state.values()):
        state |= {f"optimizer.{index}.{name}": tensor for name, tensor in kept.items()}
    return {name: tensor.clone() for name, tensor in state.items()}


def differences(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> list[str]:
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def move_elsewhere(module: nn.Module) -> None:
    """Gives a module fake weights and buffers of the same shapes and layouts elsewhere."""

    def fake(tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=ELSEWHERE)

    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                part._parameters[name] = nn.Parameter(fake(weight), requires_grad=weight.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = fake(buffer)


CASES = {
    "conv": ("tictactoe", ("model.torso=conv", "model.batch_norm=true", "learning.on_nonfinite=rollback")),
    "mlp": ("tictactoe", ("model.torso=mlp", "learning.on_nonfinite=skip")),
    "pixels": (
        "image",
        ("model.torso=pixels", "model.batch_norm=true", "learning.random_shift=3", "learning.random_intensity=0.1"),
    ),
    "large-board": ("large", ("model.torso=conv",)),
    "turns-scaled": ("turns", ("model.torso=mlp", "model.observation=normalize", "model.continues=true")),
}


@pytest.mark.parametrize("case", CASES)
def test_updates_touch_no_other_device_and_wait_for_none(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake tensor refuses to meet one of another device, and to become a number."""
    kind, overrides = CASES[case]
    spec = envs.spec("tictactoe")
    changed = {
        "large": {"observation_shape": (3, 9, 9), "symmetries": ()},
        "image": {"observation_shape": (3, 21, 30), "symmetries": (), "num_players": 1},
        "turns": {"alternating": False, "observation_bounds": (-5.0, 5.0)},
        "tictactoe": {},
    }[kind]
    config = config_for(*overrides)
    buffer = random_games("tictactoe", config.replay, 10, seed=0)
    if "observation_shape" in changed:
        buffer.ring["observation"] = np.zeros((buffer.capacity, *changed["observation_shape"]), np.uint8)
    learner = Learner(config, dataclasses.replace(spec, **changed))
    if learner.model.observation.waiting:
        for model in (learner.model, learner.teacher):
            model.normalize(buffer.observation_statistics(model.torso.spatial), 100)
    draws = buffer.sample_slots(3 * 8, np.random.default_rng(0))
    # the fused kernels know how to be laid out there, and are asked for by the kind of device alone
    optimizers = sys.modules["torch.optim.optimizer"]
    monkeypatch.setattr(optimizers, "_get_fused_kernels_supported_devices", lambda: [ELSEWHERE.type])
    with FakeTensorMode():
        for model in (learner.model, learner.teacher):
            move_elsewhere(model)
        learner._stepper = type(learner._stepper)(
            learner.model, learner.teacher, config.learning, config.model.ema_decay, ELSEWHERE
        )
        learner.device = ELSEWHERE
        laid = lay_out(
            buffer,
            draws.by_update(3),
            0.5,
            np.random.default_rng(0),
            model=learner.model,
            config=config.learning,
            device=ELSEWHERE,
        )
        assert (laid[0].cells is not None) == (kind == "large")
        assert (laid[0].changes is not None) == (kind == "image")
        made = learner._launch(laid, 0.5, lambda: None)
    for each in made:
        assert each is not None
        found = (each.good, each.norm, each.norms, each.loss.td_error, *each.numbers().values())
        assert {tensor.device for tensor in found} == {ELSEWHERE}
    assert {weight.grad.device for weight in learner.model.parameters() if weight.grad is not None} == {ELSEWHERE}


@pytest.mark.parametrize(
    ("norm", "optimizer", "most"),
    [("false", "adamw", 2**30), ("true", "adamw", 2**30), ("false", "sgd", 2**30), ("true", "sgd", 1800)],
)
def test_who_does_not_look_makes_the_same_updates(
    norm: str, optimizer: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Laid out for a whole round, settled at its end: weights, priorities and metrics are those of the CPU.

    So they are where the observations of a round are so large that only two batches of them are laid out at once.
    """
    monkeypatch.setattr(learner_module, "MOST_BYTES", most)
    ends = []
    for change in (looking, unlooking):
        learner, buffer = prepared(
            f"model.batch_norm={norm}", f"learning.optimizer={optimizer}", "replay.priority_exponent=0.6"
        )
        learner = change(learner)
        metrics = [learner.run_round(buffer, index, 5, 0.1 * index) for index in range(2)]
        ends.append((everything(learner), metrics, buffer._tree._tree.copy()))
    first, second = ends
    assert differences(first[0], second[0]) == []
    assert first[1] == second[1] and np.array_equal(first[2], second[2])


def break_update(learner: Learner, number: int) -> Callable[[], None]:
    """Returns a tick that makes one weight infinite while an update of the round is under way, and mends it after."""
    weight, kept, ticks = next(learner.model.parameters()), [], iter(range(10**6))

    def tick() -> None:
        if kept:
            weight.data.copy_(kept.pop())
        if next(ticks) == number:
            kept.append(weight.data.clone())
            weight.data[0] = float("inf")

    return tick


@pytest.mark.parametrize("norm", ["false", "true"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_update_that_is_skipped_without_looking_leaves_no_trace(norm: str, optimizer: str) -> None:
    """It is named at the end of the round, and all others are made as if it had been looked at."""
    ends = []
    for change in (looking, unlooking):
        learner, buffer = prepared(
            f"model.batch_norm={norm}", f"learning.optimizer={optimizer}", "learning.on_nonfinite=skip"
        )
        learner = change(learner)
        metrics = learner.run_round(buffer, 0, 6, 0.0, break_update(learner, 3))
        ends.append((everything(learner), metrics))
        assert learner.guard.total == 1 and learner.updates == 6
    assert differences(ends[0][0], ends[1][0]) == [] and ends[0][1] == ends[1][1]


def test_sgd_whose_first_update_is_skipped_begins_with_the_second() -> None:
    """Memory of a momentum that was made and never written may hold anything."""
    ends = []
    for change in (looking, unlooking):
        learner, buffer = prepared("learning.optimizer=sgd", "learning.on_nonfinite=skip")
        change(learner).run_round(buffer, 0, 2, 0.0, break_update(learner, 0))
        ends.append(everything(learner))
    assert differences(*ends) == []


def test_a_rollback_without_looking_makes_again_what_followed() -> None:
    ends = []
    for change in (looking, unlooking):
        learner, buffer = prepared("learning.on_nonfinite=rollback")
        learner = change(learner)
        learner.run_round(buffer, 0, 2, 0.0)
        learner.anchor()
        buffer.ring["value"][buffer.ring["to_end"] == 2] = 0.0
        spoilt = learner._update
        calls = iter(range(10**6))

        def bad(batch: object, *rest: object, calls: object = calls, update: object = spoilt) -> object:
            if next(calls) == 1:  # type: ignore[call-overload]
                batch.weight[0] = float("nan")  # type: ignore[attr-defined]
            return update(batch, *rest)  # type: ignore[operator]

        learner._update = bad  # type: ignore[method-assign,assignment]
        learner.run_round(buffer, 1, 4, 0.0)
        ends.append(everything(learner))
        assert learner.guard.total == 1 and learner.updates == 6
    assert differences(*ends) == []


def test_an_update_that_stops_the_run_is_named_without_looking(tmp_path: Path) -> None:
    learner, buffer = prepared(keep=partial(dump_arrays, tmp_path))
    unlooking(learner)
    with pytest.raises(NonFiniteLossError, match=r"^update 2: not finite: loss/.*, the gradient of .* the batch is in"):
        learner.run_round(buffer, 0, 5, 0.0, break_update(learner, 2))
    after = {name: tensor for name, tensor in everything(learner).items() if name.startswith("teacher.")}
    assert all(torch.isfinite(tensor).all() for tensor in after.values())


def test_the_device_that_is_named() -> None:
    assert resolve_device("cpu", True) == resolve_device("auto", False) == CPU
    for name in ("mps", "tpu", "cuda:", "cuda:x"):
        with pytest.raises(DeviceError, match=r"run\.device: expected auto, cpu, cuda or cuda:N"):
            resolve_device(name, True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_told_in_a_line() -> None:
    assert resolve_device("auto", True) == CPU
    with pytest.raises(DeviceError, match=r"^run.device: cuda:1 was asked for, but PyTorch .*; use cpu or auto$"):
        resolve_device("cuda:1", True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_command_line_says_so_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = ["train", "tictactoe", "--run-dir", str(tmp_path / "run"), "--max-updates", "1", "--device"]
    for device, told in (("cuda", "cuda was asked for"), ("mps", "mps is not supported; use cpu")):
        assert cli.main([*train, device]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "run.device" in line and told in line


def test_what_no_device_is_called_is_no_setting() -> None:
    for name, reason in (("mps", "mps is not supported; use cpu"), ("cuda:one", "expected auto, cpu, cuda or cuda:N")):
        with pytest.raises(ValueError, match=reason):
            config_for(f"run.device={name}")


def test_a_learner_knows_its_generator_again() -> None:
    learner = Learner(config_for(), envs.spec("tictactoe"))
    torch.rand(3, generator=learner.generator)
    saved = learner.state_dict()
    expected = torch.rand(5, generator=learner.generator)
    other = Learner(config_for("seed=9"), envs.spec("tictactoe"))
    other.load_state_dict(saved)
    assert torch.equal(torch.rand(5, generator=other.generator), expected)
    # another kind of device: numbers of its own, the same at every resume
    saved["generator"]["device"] = "cuda"
    drawn = []
    for _ in range(2):
        other.load_state_dict(saved)
        drawn.append(torch.rand(5, generator=other.generator))
    assert torch.equal(*drawn) and not torch.equal(drawn[0], expected)


def test_bins_are_in_no_checkpoint() -> None:
    model = Learner(config_for(), make_spec(1)).model
    assert not [name for name in model.state_dict() if "support" in name]
    assert {name for name, _ in model.named_buffers() if "support" in name} == {
        "value_support.bins",
        "reward_support.bins",
    }


# What makes a tensor on the CPU, or waits for one: where arrays come in and numbers go out, and nowhere else.
HOST = ("from_numpy", "numpy", "item", "tolist", "cpu")
BORDERS = {
    "batches.py": {"from_numpy"},  # arrays come in
    "outcomes.py": {"numpy", "tolist"},  # numbers go out, once in a round
    "support.py": {"from_numpy"},  # bins, made once
    "observation.py": {"from_numpy", "numpy"},  # statistics, taken now and then
}


@pytest.mark.parametrize(
    "path", [*(ROOT / "learning").glob("*.py"), *(ROOT / "model").glob("*.py")], ids=lambda path: path.name
)
def test_arrays_become_tensors_and_tensors_numbers_at_the_borders_only(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        called, where = node.func.attr, f"{path.name}:{node.lineno}"
        assert called not in HOST or called in BORDERS.get(path.name, set()), f"{where}: {called}"
        if called == "autocast":
            assert not any(isinstance(each, ast.Constant) for each in node.args), f"{where}: autocast of one device"
