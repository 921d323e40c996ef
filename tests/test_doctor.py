"""`muzero-wm doctor` finds this installation healthy, and says what to do where it is not."""

from __future__ import annotations

import importlib.metadata
import json
import tempfile
from pathlib import Path

import pytest

import mcts
from muzero_wm.cli import examination as doctor
from muzero_wm.cli import main as cli
from muzero_wm.inference.backends import names_for
from muzero_wm.model.precision import why_not_bf16
from tests.model.models import onednn_without_bf16


def test_a_healthy_installation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["healthy"] and all(check["ok"] and not check["remedy"] for check in report["checks"])
    assert {"muzero-wm", "python", "torch", "numba"} <= report["versions"].keys()
    assert report["machine"]["cores"] >= 1 and "torch-fp32" in report["machine"]["inference_backends"]
    out = capsys.readouterr().out
    assert "bit for bit" in out and "BROKEN" not in out and "updates" in out
    assert "left" not in out  # what the little runs say stays inside


def test_every_backend_is_there_or_missing_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "_check", lambda name, *_: {"name": name, "ok": True, "seconds": 0.0, "detail": ""})
    assert cli.main(["doctor", "--json", str(tmp_path / "report.json")]) == 0
    about = json.loads((tmp_path / "report.json").read_text())["machine"]
    missing = dict(line.split(" ", 1) for line in about["missing_backends"] if line != "none")
    assert sorted([*about["inference_backends"], *missing]) == sorted(names_for("auto"))
    assert ("fused-bf16" in missing) == bool(onednn_without_bf16())
    assert "native-fp32" in about["inference_backends"]  # on a network that it knows
    assert all(len(reason) > len("()") for reason in missing.values())
    out = " ".join(capsys.readouterr().out.split())
    for name in missing:
        assert name in out
    if "openvino-fp32" in missing:
        assert "'muzero-wm[openvino]'" in out
    assert about["processor"] and about["planner_uses"] == mcts.default_instruction_set()
    assert (why_not_bf16() or "bf16") in about["boards_learnt_in"]


def test_extras_are_there_or_missing_with_what_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    extras, missing = doctor._extras()
    declared = importlib.metadata.metadata("muzero-wm").get_all("Provides-Extra") or []
    assert sorted([*extras, *missing]) == sorted({*declared} - {"dev"})
    assert ("atari" in extras) == (doctor._is_installed("ale-py"))
    monkeypatch.setattr(doctor, "_is_installed", lambda package: package != "ale-py")
    assert doctor._extras()[1] == ["atari"]


def test_what_is_broken_is_exit_code_1_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    monkeypatch.setattr(doctor, "_search", lambda: "left out here")
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "BROKEN" in out and "see that the temporary folder" in out


def test_a_core_that_is_not_compiled_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check = doctor._check("core", doctor._native_core, "build it")
    assert not check["ok"] and "not compiled" in check["detail"] and check["remedy"] == "build it"
