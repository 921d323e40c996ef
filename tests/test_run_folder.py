"""Run folders: one process at a time, full and read-only disks, readers beside a writer."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

from muzero_wm.cli import main as cli
from muzero_wm.config import RunConfig
from muzero_wm.run.logger import RunLogger
from muzero_wm.storage.checkpoint import CheckpointWarning, SaveError, load_checkpoint, save_checkpoint
from muzero_wm.storage.folder import RunDirError, new_run_dir, open_run, prepare_run_dir
from muzero_wm.storage.saver import CheckpointSaver

ROOT = Path(__file__).parents[1]


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Starts a process that runs some code."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


HOLD = """
    import sys
    from pathlib import Path
    from muzero_wm.storage.folder import open_run
    with open_run(Path(sys.argv[1]), resume=False):
        print("held", flush=True)
        sys.stdin.read()
"""


def test_a_run_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert prepare_run_dir(folder, resume=False) == folder
    assert prepare_run_dir(folder, resume=False) == folder
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(RunDirError, match="is not empty"):
        prepare_run_dir(folder, resume=False)
    with pytest.raises(RunDirError, match="has no checkpoint"):
        prepare_run_dir(folder, resume=True)
    save_checkpoint(folder / "checkpoints", {}, step=1, keep=1)
    assert prepare_run_dir(folder, resume=True) == folder
    with pytest.raises(RunDirError, match="cannot be made"):
        prepare_run_dir(folder / "notes.txt" / "below", resume=False)
    for odd in ("a\0b", "x" * 5000):
        with pytest.raises(RunDirError, match="cannot be made"):
            prepare_run_dir(tmp_path / odd, resume=False)
    assert (folder / "notes.txt").read_text() == "mine"
    assert new_run_dir(tmp_path, "../../etc/pass wd").parent == tmp_path


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    holder = python(HOLD, tmp_path / "run")
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with (
            pytest.raises(RunDirError, match=rf"process {holder.pid} on .* trains in it"),
            open_run(tmp_path / "run", resume=False),
        ):
            pass
        assert cli.main(["train", "debug", "--run-dir", str(tmp_path / "run")]) == 2
        err = capsys.readouterr().err
        assert f"process {holder.pid} on" in err and len(err.splitlines()) == 1
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.lock"]
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
    with open_run(tmp_path / "run", resume=False):
        pass


def test_a_run_that_began_while_we_waited_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from muzero_wm.storage import folder as module

    flock = module.fcntl.flock

    def late(*arguments: int) -> None:
        flock(*arguments)
        (tmp_path / "run" / "config.yaml").write_text("env: tictactoe\n")

    monkeypatch.setattr(module.fcntl, "flock", late)
    with pytest.raises(RunDirError, match="is not empty"), open_run(tmp_path / "run", resume=False):
        pass


def test_litter_of_an_interrupted_save_is_removed_when_a_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    save_checkpoint(folder, {"x": 1}, step=1, keep=1)
    (folder / "state.tmp").write_bytes(b"half")
    (folder / f"episodes-{'0' * 32}.mzw").write_bytes(b"named by no manifest")
    (folder / "notes.txt").write_text("mine")
    with open_run(tmp_path, resume=True):
        assert len(list(folder.iterdir())) == 4
        assert load_checkpoint(folder)["x"] == 1
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(RunDirError, match="cannot be locked"), open_run(tmp_path / "run", resume=False):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_readers_beside_a_writer_always_see_a_whole_checkpoint(tmp_path: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        import numpy as np
        from muzero_wm.storage.checkpoint import save_checkpoint
        from muzero_wm.basis.packs import EpisodePack
        packs = []
        for step in range(1, 100000):
            packs = [*packs[-2:], EpisodePack({"x": np.full(2000, step)})]
            payload = {"step": step, "x": np.full(999, step), "packs": packs}
            save_checkpoint(Path(sys.argv[1]), payload, step=step, keep=1)
            if step == 1:
                print("ready", flush=True)
    """
    writer = python(code, tmp_path)
    try:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        seen = []
        with warnings.catch_warnings():
            warnings.simplefilter("error", CheckpointWarning)
            deadline = time.monotonic() + 60.0
            while len(seen) < 60 or (len(set(seen)) < 3 and time.monotonic() < deadline):
                loaded = load_checkpoint(tmp_path)
                assert (loaded["x"] == loaded["step"]).all()
                seen.append(loaded["step"])
        assert seen == sorted(seen) and len(set(seen)) >= 3
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _noise(size: int) -> dict[str, object]:
    return {"noise": np.random.default_rng(size).bytes(size), "size": size}


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_full_disk_costs_nothing_that_was_there(small_disk: Path) -> None:
    folder = small_disk / "checkpoints"
    save_checkpoint(folder, _noise(300_000), step=1, keep=2)
    before = _names(folder)
    with pytest.raises(SaveError, match="cannot be saved to: No space left on device"):
        save_checkpoint(folder, _noise(900_000), step=2, keep=2)
    assert _names(folder) == before
    assert load_checkpoint(folder)["size"] == 300_000
    save_checkpoint(folder, _noise(400_000), step=3, keep=2)
    assert load_checkpoint(folder)["size"] == 400_000


def test_a_disk_that_becomes_read_only(small_disk: Path) -> None:
    folder = small_disk / "checkpoints"
    save_checkpoint(folder, _noise(1000), step=1, keep=2)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(SaveError, match="Read-only file system"):
        save_checkpoint(folder, _noise(1000), step=2, keep=2)
    assert load_checkpoint(folder)["size"] == 1000
    with (
        pytest.raises(RunDirError, match=r"cannot be (locked|written): Read-only file system"),
        open_run(small_disk, resume=True),
    ):
        pass


@pytest.fixture
def file_limit() -> Iterator[int]:
    """No file may grow beyond 64 KiB: the kernel refuses the write, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    try:
        yield 65536
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_run_tells_once_and_goes_on(tmp_path: Path, file_limit: int) -> None:
    saver = CheckpointSaver(tmp_path, RunConfig())
    assert saver.save(_noise(1000), 1)
    before = _names(tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert not saver.save(_noise(10 * file_limit), 2)
        assert not saver.save(_noise(10 * file_limit), 3)
        assert _names(tmp_path) == before
        assert saver.save(_noise(1000), 4)
        assert not saver.save(_noise(10 * file_limit), 5)
    texts = [str(warning.message) for warning in told]
    assert ["File too large" in text for text in texts] == [True, False, True]
    assert "saving works again, step 4 is there" in texts[1]
    with pytest.raises(SaveError, match="File too large"):
        saver.save(_noise(10 * file_limit), 6, last=True)
    assert load_checkpoint(tmp_path)["size"] == 1000


def test_the_run_stops_where_that_was_asked_for(tmp_path: Path, file_limit: int) -> None:
    saver = CheckpointSaver(tmp_path, RunConfig(on_save_error="stop"))
    assert saver.save(_noise(1000), 1)
    with pytest.raises(SaveError):
        saver.save(_noise(10 * file_limit), 2)


TINY = ["model.width=8", "model.head_width=8", "model.projection_width=8", "search.num_simulations=2",
        "acting.num_envs=16", "acting.process=false", "replay.min_steps=20", "learning.batch_size=8",
        "run.tensorboard=false", "run.checkpoint_every_minutes=0.0001"]  # fmt: skip


def _train(folder: Path, *settings: str, updates: int = 40) -> int:
    words = [word for setting in (*TINY, *settings) for word in ("--set", setting)]
    return cli.main(["train", "debug", "--run-dir", str(folder), "--max-updates", str(updates), *words])


@pytest.mark.parametrize("reaction", ["continue", "stop"])
def test_a_disk_fills_up_in_the_middle_of_a_run(
    reaction: str, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_disk / "run"
    assert _train(folder, updates=8) == 0
    capsys.readouterr()
    free = os.statvfs(small_disk)
    (small_disk / "others").write_bytes(b"x" * (free.f_bavail * free.f_frsize - 20_000))
    steps = [path.name for path in (folder / "checkpoints").glob("*.json")]
    resume = ["train", "--resume", "--run-dir", str(folder), "--max-updates", "60"]
    assert cli.main([*resume, "--set", f"run.on_save_error={reaction}", "--set", "learning.max_minutes=null"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert all("No space left on device" in line for line in err)
    assert len(err) == (2 if reaction == "continue" else 1), "told once, and the end is an error"
    assert [path.name for path in (folder / "checkpoints").glob("*.json")] == steps
    (small_disk / "others").unlink()
    assert cli.main(resume) == 0
    assert load_checkpoint(folder / "checkpoints")["learner"]["updates"] == 60


def test_the_best_by_a_logged_metric_is_kept_and_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    often = ("run.evaluate_every_minutes=1e-9", "run.evaluate_games=2", "run.evaluate_opponent=random")
    assert _train(folder, "run.keep_best=evaluation/score", "run.keep_checkpoints=1", *often) == 0
    call = ["evaluate", str(folder), "--opponent", "random", "--games", "2", "--simulations", "1"]
    assert cli.main([*call, "--checkpoint", "best"]) == 0
    assert cli.main([*call, "--checkpoint", "40"]) == 0
    capsys.readouterr()
    assert cli.main([*call, "--checkpoint", "3"]) == 2
    assert "step_000000003.json: there is no such checkpoint" in capsys.readouterr().err


def test_settings_of_a_resumed_run_come_from_its_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert _train(folder, updates=4) == 0
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("num_simulations: 2", "num_simulations: 3"))
    capsys.readouterr()
    assert cli.main(["train", "--resume", "--run-dir", str(folder), "--max-updates", "6"]) == 0
    err = capsys.readouterr().err
    assert "config.yaml is not the one of the newest checkpoint" in err and len(err.splitlines()) == 1
    assert yaml.safe_load(config.read_text())["search"]["num_simulations"] == 2


def test_metrics_that_cannot_be_written_are_told_once(small_disk: Path) -> None:
    counts = {"updates": 1, "steps": 1, "games": 1, "elapsed": 1.0, "fraction": 0.1}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with RunLogger(small_disk, tensorboard=False, console=Console(quiet=True)) as log:
            log.log({"loss/a": 1.0}, **counts)  # type: ignore[arg-type]
            free = os.statvfs(small_disk)
            (small_disk / "others").write_bytes(b"x" * (free.f_bavail * free.f_frsize))
            for _ in range(200):
                log.log({"loss/a": 1.0}, **counts)  # type: ignore[arg-type]
    assert [str(warning.message) for warning in told] == [f"{small_disk}: metrics are lost: No space left on device"]
    assert len((small_disk / "metrics.jsonl").read_bytes().splitlines()) > 1


def test_metrics_are_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "precious")
    with pytest.raises(RunDirError, match=r"metrics\.jsonl cannot be written"):
        RunLogger(tmp_path, console=Console(quiet=True))
    assert (tmp_path / "precious").read_text() == "mine"
