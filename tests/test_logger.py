"""What a run reports: JSON lines, TensorBoard events, the screen."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from muzero_wm.config import LearningConfig
from muzero_wm.run.logger import RunLogger

BUDGET = LearningConfig(max_minutes=1.5, max_updates=1000)


def _log(logger: RunLogger, second: float, **metrics: float) -> None:
    logger.log(
        metrics,
        updates=int(10 * second),
        steps=int(100 * second),
        games=int(20 * second),
        elapsed=second,
        fraction=second / 100.0,
    )


def _rows(folder: Path) -> list[dict[str, float | None]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_speeds_and_screen(tmp_path: Path, terminal: bool) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=120)
    with RunLogger(tmp_path, tensorboard=False, console=console) as logger:
        logger.start(BUDGET)
        _log(logger, 10.0, **{"loss/value": 0.5})
        _log(logger, 20.0, **{"loss/value": float("nan"), "other": float("inf")})
        logger.message("a word [in between]")
        _log(logger, 100.0, **{"loss/value": 0.25})
    rows = _rows(tmp_path)
    assert [row["updates"] for row in rows] == [100, 200, 1000]
    assert rows[1]["loss/value"] is None
    assert rows[1]["other"] is None
    assert all(row["updates_per_second"] == pytest.approx(10.0) for row in rows)
    assert all(row["positions_per_second"] == pytest.approx(100.0) for row in rows)
    assert all(row["games_per_minute"] == pytest.approx(1200.0) for row in rows)
    text = screen.getvalue()
    for expected in ("1.5 minutes or 1,000 updates", "10%", "1:30 left", "a word [in between]", "100%", "done in 1:40"):
        assert expected in text
    logger.close()


def test_speeds_forget_what_is_long_ago(tmp_path: Path) -> None:
    with RunLogger(tmp_path, tensorboard=False, console=Console(quiet=True)) as logger:
        for second, updates in ((100.0, 0), (130.0, 0), (150.0, 0), (160.0, 100)):
            logger.log({}, updates=updates, steps=0, games=0, elapsed=second, fraction=0.5)
    speeds = [row["updates_per_second"] for row in _rows(tmp_path)]
    assert speeds[:3] == [0.0, 0.0, 0.0]
    assert speeds[3] == pytest.approx(100 / 30)


def test_a_resumed_run_appends_and_drops_half_a_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"updates": 1}\n{"upda')
    with RunLogger(tmp_path, tensorboard=False, console=Console(quiet=True)) as logger:
        _log(logger, 1.0)
    assert [row["updates"] for row in _rows(tmp_path)] == [1, 10]


def test_each_line_is_on_disk_at_once(tmp_path: Path) -> None:
    with RunLogger(tmp_path, tensorboard=False, console=Console(quiet=True)) as logger:
        _log(logger, 1.0)
        assert len(_rows(tmp_path)) == 1


def test_tensorboard_gets_the_scalars(tmp_path: Path) -> None:
    with RunLogger(tmp_path, tensorboard=True, console=Console(quiet=True)) as logger:
        _log(logger, 1.0, **{"loss/value": 0.5})
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Scalars("loss/value")[0].value == 0.5
    assert events.Scalars("games_per_minute")[0].step == 10
