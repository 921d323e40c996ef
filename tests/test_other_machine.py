"""A run that was made on another machine is loaded, evaluated and resumed, and what is different here is told."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from muzero_wm import envs
from muzero_wm.agent import load
from muzero_wm.cli import main as cli
from muzero_wm.config.presets import load_config, parse_config, plan_run
from muzero_wm.inference.backends import BackendError
from muzero_wm.inference.inference import BackendWarning
from muzero_wm.model.precision import PrecisionWarning, short_name
from muzero_wm.storage.checkpoint import load_checkpoint, save_checkpoint
from muzero_wm.training import train
from tests.model.models import lacking_bf16

SMALL = [
    "model.torso=conv", "model.width=8", "model.head_width=8", "model.projection_width=8", "search.num_simulations=4",
    "acting.num_envs=8", "acting.steps_per_round=4", "acting.process=false", "replay.min_steps=32",
    "learning.batch_size=8", "learning.updates_per_round=4", "learning.max_minutes=null", "learning.max_updates=4",
    "run.tensorboard=false",
]  # fmt: skip


def made_elsewhere(folder: Path, named: str, chosen: str, precision: str) -> Path:
    """Trains a little, and changes what the checkpoint says of the machine: setting, choice, learner's precision."""
    config = load_config("tictactoe", overrides=[*SMALL, "inference.backend=eager"])
    train(config, folder)
    state = load_checkpoint(folder / "checkpoints")
    state["config"] = state["config"].replace("backend: eager", f"backend: {named}")
    assert parse_config(state["config"], "test").inference.backend == named
    state |= {"backend": chosen, "precision": precision}
    save_checkpoint(folder / "checkpoints", state, step=5, keep=1)
    (folder / "config.yaml").write_text(state["config"])
    return folder


@pytest.fixture(autouse=True)
def _no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors that have it behave like those that have not."""
    monkeypatch.setattr("muzero_wm.inference.backends.fused.lacking", lacking_bf16)


@pytest.mark.parametrize("named", ["auto", "fused-bf16"])
def test_a_run_with_a_backend_that_is_missing_here_goes_on(named: str, tmp_path: Path) -> None:
    folder = made_elsewhere(tmp_path / "run", named, "fused-bf16", "fp32")
    config, _ = plan_run(run_dir=folder, resume=True, max_updates=12)
    with pytest.warns(BackendWarning, match="made with fused-bf16, which is missing here .*fused-fp32 takes its place"):
        assert train(config, folder, resume=True).updates == 12
    state = load_checkpoint(folder / "checkpoints")
    assert state["backend"] == "fused-fp32"
    assert parse_config(state["config"], "test").inference.backend == named
    config, _ = plan_run(run_dir=folder, resume=True, max_updates=16)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert train(config, folder, resume=True).updates == 16
    told = [warning for warning in seen if issubclass(warning.category, BackendWarning)]
    assert bool(told) == (named != "auto")  # what was chosen by itself is stored as chosen; what was named stays


def test_an_agent_with_a_backend_that_is_missing_here_plays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_elsewhere(tmp_path / "run", "fused-bf16", "fused-bf16", "fp32")
    step = envs.make("tictactoe", 2, 0).reset()
    with pytest.warns(BackendWarning, match="fused-fp32 takes its place"):
        load(folder).search(step.observation, step.legal_actions)
    call = ["evaluate", str(folder), "--opponent", "random", "--games", "2", "--simulations", "2"]
    assert cli.main(call) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines and all("warning: inference.backend: the run was made with fused-bf16" in line for line in lines)


def test_a_person_who_names_it_gets_an_error_with_the_remedy(tmp_path: Path) -> None:
    config = load_config("tictactoe", overrides=[*SMALL, "inference.backend=fused-bf16"])
    with pytest.raises(BackendError, match=r"^fused: bf16 is beyond it"):
        train(config, tmp_path / "new")
    folder = made_elsewhere(tmp_path / "run", "auto", "eager-fp32", "fp32")
    config, _ = plan_run(run_dir=folder, resume=True, max_updates=12, overrides=["inference.backend=fused-bf16"])
    with pytest.raises(BackendError, match=r"^fused: bf16 is beyond it"):
        train(config, folder, resume=True)


@pytest.mark.parametrize("stored", ["here", "there", None])
def test_another_precision_of_the_learner_is_told(stored: str | None, tmp_path: Path) -> None:
    folder = made_elsewhere(tmp_path / "run", "eager", "eager-fp32", "fp32")
    state = load_checkpoint(folder / "checkpoints")
    here = short_name(state_dtype())
    state["precision"] = {"here": here, "there": "fp32" if here == "bf16" else "bf16", None: None}[stored]
    save_checkpoint(folder / "checkpoints", state, step=6, keep=1)
    config, _ = plan_run(run_dir=folder, resume=True, max_updates=8)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        train(config, folder, resume=True)
    told = [str(warning.message) for warning in seen if issubclass(warning.category, PrecisionWarning)]
    assert len(told) == (stored == "there")
    assert all(f"goes on in {here}" in text for text in told)
    assert load_checkpoint(folder / "checkpoints")["precision"] == here


def state_dtype() -> torch.dtype:
    """Returns what "auto" means here for boards."""
    from muzero_wm.model.precision import resolve_precision

    return resolve_precision("auto", conv=True)
