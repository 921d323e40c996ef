"""The fault campaigns of benchmarks/, in a reduced form."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

from tests import forked


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks/faults"))
    for name in ("fault_corrupt", "fault_environments", "fault_inputs"):
        monkeypatch.setattr(importlib.import_module(name), "subprocess", forked.INSTEAD)


def test_no_damage_is_loaded_silently(seed: int) -> None:
    campaign = importlib.import_module("fault_corrupt")
    report = campaign.run(argparse.Namespace(seed=seed, variants=40, processes=1))
    assert report["failures"] == []
    assert report["variants"] == 40 and report["outcomes"]["older"] > 10


def test_the_campaign_notices_what_is_loaded_silently(tmp_path: Path, seed: int) -> None:
    """A checkpoint that is exchanged for one of another run, digests and all, is not what was saved."""
    campaign = importlib.import_module("fault_corrupt")
    from muzero_wm.config.presets import load_config
    from muzero_wm.storage.checkpoint import load_checkpoint, save_checkpoint
    from muzero_wm.training import train

    train(load_config("tictactoe", overrides=[*campaign.SETTINGS, "learning.max_updates=4"]), tmp_path / "run")
    payload = load_checkpoint(tmp_path / "run/checkpoints")
    expected = {4: campaign.digest(payload)}
    assert campaign.judge(tmp_path / "run", expected) == "same"
    payload["learner"]["updates"] = 3
    save_checkpoint(tmp_path / "run/checkpoints", payload, step=4, keep=1)
    assert "LOADED SILENTLY" in campaign.judge(tmp_path / "run", expected)


def test_every_mistake_at_the_command_line_is_told() -> None:
    campaign = importlib.import_module("fault_inputs")
    report = campaign.run(argparse.Namespace(every=9, processes=1))
    assert report["failures"] == []
    assert report["cases"] > 100


@pytest.mark.parametrize(
    "case",
    ["raise/inline", "nan-observation/process", "nan-reward/workers", "shape/process", "mask/inline", "leave/workers"],
)
def test_an_environment_that_goes_wrong_is_named_and_the_run_is_saved(case: str, seed: int) -> None:
    campaign = importlib.import_module("fault_environments")
    report = campaign.run(argparse.Namespace(seed=seed, at=70, only=[case], fast=True))
    assert report["failures"] == [] and report["cases"] == 1


@pytest.mark.parametrize("case", ["hang/inline", "exit/workers"])
def test_an_environment_that_takes_its_process_along_is_named_and_the_run_goes_on_without_the_fault(
    case: str, seed: int
) -> None:
    campaign = importlib.import_module("fault_environments")
    report = campaign.run(argparse.Namespace(seed=seed, at=70, only=[case], fast=False))
    assert report["failures"] == [] and report["cases"] == 1


def test_the_campaign_notices_an_environment_that_does_not_go_wrong(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = importlib.import_module("fault_environments")
    monkeypatch.setenv("FAULTY_WORLDS_SOUND", "1")
    report = campaign.run(argparse.Namespace(seed=seed, at=70, only=["raise/inline"], fast=True))
    assert any("exit code 0" in failure for failure in report["failures"])
