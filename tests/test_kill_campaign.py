"""The campaign of kills in a reduced form; the full one is `benchmarks/faults/kill_campaign.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_run_killed_three_times_ends_like_the_one_never_killed(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/faults/kill_campaign.py"), "--kills", "3", "--updates", "800"]
    done = subprocess.run(
        [*command, "--longest", "2", "--json", str(tmp_path / "report.json")],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["kills"] == 3 and report["same end"]
