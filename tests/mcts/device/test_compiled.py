"""The kernels compile for GPUs of several generations, on any machine: the interpreter does not see all mistakes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("capability", ["80", "90"])
def test_kernels_compile(capability):
    command = [sys.executable, "-m", "tests.mcts.device.compiled", capability]
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("bytes") == 13
