"""The same configuration on the same machine gives the same run, whichever preset it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from muzero_wm.config.presets import load_config, preset_names
from muzero_wm.training import train
from tests.test_exact_resume import SMALL, assert_same, outcome

LESS = [setting for setting in SMALL if not setting.startswith(("model.torso", "replay.max_steps"))]


@pytest.mark.parametrize("preset", preset_names())
def test_same_seed_same_run(preset: str, tmp_path: Path) -> None:
    config = load_config(preset, seed=7, overrides=[*LESS, "learning.max_updates=12", "replay.max_steps=2000"])
    ends = []
    for name in ("first", "second"):
        train(config, tmp_path / name)
        ends.append(outcome(tmp_path / name))
    assert_same(*ends)
    assert len(ends[0]["metrics"]) > 3 and ends[0]["state"]["learner"]["updates"] == 12
