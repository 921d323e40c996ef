"""bf16 is taken by itself only where it is fast, and what it costs elsewhere is told."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import warnings

import pytest
import torch

from muzero_wm import envs
from muzero_wm.config.presets import load_config
from muzero_wm.learning.learner import Learner
from muzero_wm.model import precision
from muzero_wm.model.precision import PrecisionWarning, describe, resolve_precision, why_not_bf16
from tests.model.models import onednn_without_bf16

SMALL = ["model.torso=conv", "model.width=8", "model.head_width=8", "model.projection_width=8"]


def learner(*overrides: str) -> Learner:
    config = load_config("tictactoe", overrides=[*SMALL, *overrides])
    return Learner(config, envs.spec(config.env))


def test_where_onednn_refuses_bf16_float32_is_taken() -> None:
    if onednn_without_bf16():
        assert why_not_bf16() is not None
    expected = torch.float32 if why_not_bf16() else torch.bfloat16
    assert resolve_precision("auto", conv=True) == expected == learner().dtype
    assert resolve_precision("auto", conv=False) == torch.float32
    assert (resolve_precision("fp32", conv=True), resolve_precision("bf16", conv=False)) == (
        torch.float32,
        torch.bfloat16,
    )


@pytest.mark.parametrize("reason", ["it is an old one", None])
def test_bf16_that_is_slow_is_told_with_the_reason(reason: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muzero_wm.model.precision.why_not_bf16", lambda: reason)
    assert resolve_precision("auto", conv=True) == (torch.float32 if reason else torch.bfloat16)
    assert (reason or "bf16") in describe(torch.bfloat16) and (reason or "float32") in describe(torch.float32)
    if reason:
        with pytest.warns(
            PrecisionWarning, match="bf16 takes many times as long .*it is an old one; auto takes float32"
        ):
            learner("learning.precision=bf16")
    with warnings.catch_warnings():
        warnings.simplefilter("error", PrecisionWarning)
        learner("learning.precision=auto")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="NNPACK runs on other processors without AVX2")
def test_nnpack_is_left_alone_where_it_cannot_start() -> None:
    """It needs AVX2, and PyTorch would complain at every convolution; here its dispatch is told that there is none."""
    program = "import torch, muzero_wm.model.networks; print(torch._C._get_nnpack_enabled())"
    variables = os.environ | {"ATEN_CPU_CAPABILITY": "default"}
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_torch_without_onednn_has_no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(precision.torch, "ops", object())
    assert why_not_bf16() == "this PyTorch was built without oneDNN"
