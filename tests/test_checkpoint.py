"""Checkpoints: what comes back is what went in, or a clear refusal."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from muzero_wm.run import checkpoint
from muzero_wm.run.checkpoint import (
    CheckpointError,
    CheckpointWarning,
    RunDirError,
    latest,
    load_checkpoint,
    prepare_run_dir,
    save_checkpoint,
)


def _payload(step: int) -> dict[str, Any]:
    return {"step": step, "weights": {"a": torch.full((300,), float(step))}, "name": "run"}


def _three(folder: Path) -> list[Path]:
    return [save_checkpoint(folder, _payload(step), step=step, keep=3) for step in (10, 20, 30)]


def test_everything_comes_back(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = {str(np.dtype(kind)): rng.integers(0, 2, (3, 4)).astype(kind) for kind in "?bBhHiIlLqQfde"}
    payload = {
        "arrays": arrays,
        "empty": np.zeros((0, 7), np.float32),
        "strided": np.arange(12).reshape(3, 4).T,
        "scalar": np.float32(0.5),
        "rng": rng.bit_generator.state,
        "model": torch.nn.Linear(3, 2).state_dict(),
        "optimizer": torch.optim.AdamW(torch.nn.Linear(3, 2).parameters()).state_dict(),
        "plain": [None, True, 1, 2.5, "x", b"y", (1, [2])],
        "by_number": {1: "one"},
    }
    save_checkpoint(tmp_path, payload, step=0, keep=1)
    loaded = load_checkpoint(tmp_path)
    for name, array in arrays.items():
        back = loaded["arrays"][name].numpy()
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)
    assert loaded["empty"].shape == (0, 7)
    np.testing.assert_array_equal(loaded["strided"].numpy(), payload["strided"])
    assert loaded["scalar"] == 0.5
    assert loaded["rng"] == payload["rng"]
    assert all(torch.equal(loaded["model"][name], tensor) for name, tensor in payload["model"].items())
    assert loaded["optimizer"] == payload["optimizer"]
    assert loaded["plain"] == payload["plain"]
    assert loaded["by_number"] == {1: "one"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Path("x"), r"payload\.a\[1\]: .* got PosixPath"),
        ({1, 2}, r"payload\.a\[1\]: .* got set"),
        (np.array(["x"]), r"payload\.a\[1\]: expected numbers, got an array of <U1"),
        (np.array([None]), r"payload\.a\[1\]: expected numbers, got an array of object"),
        ({(1, 2): 3}, r"payload\.a\[1\]: expected keys"),
        (torch.float32, r"payload\.a\[1\]: .* got dtype"),
    ],
)
def test_what_cannot_be_stored_is_named_and_nothing_is_written(value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=message):
        save_checkpoint(tmp_path / "checkpoints", {"a": [0, value]}, step=1, keep=1)
    assert not (tmp_path / "checkpoints").exists()


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in range(1, 6):
        save_checkpoint(tmp_path, _payload(step), step=step, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "manifest.json",
        "step_000000004.pt",
        "step_000000005.pt",
    ]
    assert latest(tmp_path) == 5
    assert load_checkpoint(tmp_path)["step"] == 5
    assert load_checkpoint(tmp_path, step=4)["step"] == 4
    with pytest.raises(CheckpointError, match=r"step_000000001\.pt: there is no such checkpoint"):
        load_checkpoint(tmp_path, step=1)


def test_the_same_step_can_be_saved_again(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, _payload(1), step=5, keep=1)
    save_checkpoint(tmp_path, _payload(2), step=5, keep=1)
    assert load_checkpoint(tmp_path)["step"] == 2


def test_going_back_drops_what_lay_ahead_first(tmp_path: Path) -> None:
    _three(tmp_path)
    save_checkpoint(tmp_path, _payload(15), step=15, keep=2)
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["step_000000010.pt", "step_000000015.pt"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "foreign", "remove", "swap"])
def test_a_damaged_newest_is_passed_over_with_a_warning(damage: str, tmp_path: Path, seed: int) -> None:
    good, newest = _three(tmp_path)[1:]
    content = bytearray(newest.read_bytes())
    if damage == "flip":
        bit = int(np.random.default_rng(seed).integers(8 * len(content)))
        content[bit // 8] ^= 1 << (bit % 8)
        newest.write_bytes(content)
    elif damage == "truncate":
        newest.write_bytes(content[:-1])
    elif damage == "empty":
        newest.write_bytes(b"")
    elif damage == "foreign":
        torch.save(_payload(30), newest)
        newest.write_bytes(newest.read_bytes() + b"\0")
    elif damage == "remove":
        newest.unlink()
    else:
        newest.write_bytes(good.read_bytes())
    with pytest.warns(CheckpointWarning, match=r"step_000000030\.pt: .*using step_000000020\.pt instead"):
        assert load_checkpoint(tmp_path)["step"] == 20
    with pytest.raises(CheckpointError, match=r"step_000000030\.pt"):
        load_checkpoint(tmp_path, step=30)


def test_every_single_byte_is_covered_by_the_digest(tmp_path: Path, seed: int) -> None:
    path = save_checkpoint(tmp_path, _payload(1), step=1, keep=1)
    content = path.read_bytes()
    for position in np.random.default_rng(seed).integers(len(content), size=25):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"step_000000001\.pt: is damaged"):
            load_checkpoint(tmp_path)


def test_a_stranger_in_the_folder_is_not_loaded(tmp_path: Path) -> None:
    _three(tmp_path)
    torch.save(_payload(99), tmp_path / "step_000000099.pt")
    with pytest.warns(CheckpointWarning, match=r"step_000000099\.pt: is not listed"):
        assert load_checkpoint(tmp_path)["step"] == 30


def test_nothing_intact_is_one_error_that_names_every_file(tmp_path: Path) -> None:
    for path in _three(tmp_path):
        path.write_bytes(b"x")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path)
    assert all(f"step_0000000{step}.pt" in str(caught.value) for step in (10, 20, 30))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "manifest.json: is missing"),
        ("", "manifest.json: is damaged"),
        ("[]", "manifest.json: is damaged"),
        ('{"format": 1}', "manifest.json: is damaged"),
        ('{"format": 1, "sha256": {"step_000000010.pt": 3}}', "manifest.json: is damaged"),
        ('{"format": 9, "sha256": {}}', "manifest.json: expected format 1, got 9"),
    ],
)
def test_without_a_good_manifest_nothing_is_loaded(manifest: str | None, message: str, tmp_path: Path) -> None:
    _three(tmp_path)
    if manifest is None:
        (tmp_path / "manifest.json").unlink()
    else:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path)
    assert len(list(tmp_path.glob("*.pt"))) == 3


def test_a_verified_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, _payload(1), step=1, keep=1)
    for content, message in ((b"not torch", "cannot be read"), (None, "expected a dictionary, got list")):
        torch.save([1], path) if content is None else path.write_bytes(content)
        manifest = {"format": 1, "sha256": {path.name: [checkpoint._sha256(path)]}}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(tmp_path)


def test_an_empty_or_missing_folder(tmp_path: Path) -> None:
    assert latest(tmp_path) is None
    with pytest.raises(CheckpointError, match="manifest"):
        load_checkpoint(tmp_path / "nowhere")
    (tmp_path / "manifest.json").write_text('{"format": 1, "sha256": {}}')
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("crash_at", range(1, 9))
@pytest.mark.parametrize("step", [20, 30])
def test_a_crash_at_any_point_of_a_save_leaves_a_good_checkpoint(
    crash_at: int, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stops a save at each write to the folder in turn: a new step, and the one kept step saved again."""
    save_checkpoint(tmp_path, _payload(20), step=20, keep=1)
    calls = 0

    def crashing(name: str, owner: Any) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == crash_at:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapped)

    crashing("replace", Path)
    crashing("unlink", Path)
    crashing("fsync", checkpoint.os)
    try:
        save_checkpoint(tmp_path, _payload(step + 1), step=step, keep=1)
        crashed = False
    except KeyboardInterrupt:
        crashed = True
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)
        assert load_checkpoint(tmp_path)["step"] in (20, step + 1)
        save_checkpoint(tmp_path, _payload(40), step=40, keep=1)
        assert load_checkpoint(tmp_path)["step"] == 40
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "step_000000040.pt"]
    assert crashed or crash_at > 7


def test_impossible_numbers(tmp_path: Path) -> None:
    for step, keep in ((-1, 1), (0, 0)):
        with pytest.raises(ValueError, match="step >= 0 and keep >= 1"):
            save_checkpoint(tmp_path, {}, step=step, keep=keep)


def test_a_run_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert prepare_run_dir(folder, resume=False) == folder
    assert prepare_run_dir(folder, resume=False) == folder
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(RunDirError, match="is not empty"):
        prepare_run_dir(folder, resume=False)
    with pytest.raises(RunDirError, match="has no checkpoint"):
        prepare_run_dir(folder, resume=True)
    save_checkpoint(folder / "checkpoints", _payload(1), step=1, keep=1)
    assert prepare_run_dir(folder, resume=True) == folder
    with pytest.raises(RunDirError, match="cannot be made"):
        prepare_run_dir(folder / "notes.txt" / "below", resume=False)
    assert (folder / "notes.txt").read_text() == "mine"
