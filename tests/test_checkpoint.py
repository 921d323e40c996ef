"""Checkpoints: what comes back is what went in, or a clear refusal."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from muzero_wm.basis.errors import CheckpointError
from muzero_wm.basis.packs import EpisodePack
from muzero_wm.storage import files
from muzero_wm.storage.checkpoint import CheckpointWarning, latest, load_checkpoint, save_checkpoint


def _payload(step: int) -> dict[str, Any]:
    rng = np.random.default_rng(step)
    return {"step": step, "weights": {"a": torch.full((300,), float(step))}, "noise": rng.bytes(400)}


def _three(folder: Path) -> list[Path]:
    return [save_checkpoint(folder, _payload(step), step=step, keep=3) for step in (10, 20, 30)]


def _state(manifest: Path) -> Path:
    return manifest.parent / json.loads(manifest.read_text())["state"]


def _edit(manifest: Path, **changes: Any) -> None:
    """Rewrites a manifest with a check sum that is right again, as a stranger would."""
    content = {**json.loads(manifest.read_text()), **changes}
    content.pop("check")
    content["check"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    manifest.write_text(json.dumps(content))


def test_everything_comes_back(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = {str(np.dtype(kind)): rng.integers(0, 2, (3, 4)).astype(kind) for kind in "?bBhHiIlLqQefdFD"}
    conv = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    payload = {
        "arrays": arrays,
        "empty": np.zeros((0, 7), np.float32),
        "strided": np.arange(12).reshape(3, 4).T,
        "scalar": np.float32(0.5),
        "rng": rng.bit_generator.state,
        "model": conv.state_dict(),
        "optimizer": torch.optim.AdamW(torch.nn.Linear(3, 2).parameters()).state_dict(),
        "plain": [None, True, 1, 2.5, "x", b"y", (1, [2]), [], (), {}, -(2**100), float("inf"), "[]", ["a", 0]],
        "by_number": {1: "one"},
        "half": torch.randn(5, 3).bfloat16(),
        "views": [torch.arange(24).reshape(2, 3, 4)[:, 1:, ::2], torch.ones(1).expand(5), torch.tensor(3.5)],
    }
    save_checkpoint(tmp_path, payload, step=0, keep=1)
    loaded = load_checkpoint(tmp_path)
    assert list(loaded) == list(payload)
    for name, array in arrays.items():
        back = loaded["arrays"][name].numpy()
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)
    assert loaded["empty"].shape == (0, 7)
    np.testing.assert_array_equal(loaded["strided"].numpy(), payload["strided"])
    assert loaded["scalar"] == 0.5
    assert loaded["rng"] == payload["rng"]
    for name, tensor in payload["model"].items():
        assert torch.equal(loaded["model"][name], tensor)
        assert loaded["model"][name].stride() == tensor.stride()
    assert loaded["optimizer"] == payload["optimizer"]
    assert loaded["plain"] == payload["plain"]
    assert loaded["by_number"] == {1: "one"}
    assert loaded["half"].dtype == torch.bfloat16 and torch.equal(loaded["half"], payload["half"])
    assert all(torch.equal(back, view) for back, view in zip(loaded["views"], payload["views"], strict=True))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Path("x"), r"payload\.a\[1\]: .* got PosixPath"),
        ({1, 2}, r"payload\.a\[1\]: .* got set"),
        (np.array(["x"]), r"payload\.a\[1\]: expected numbers, got an array of <U1"),
        (np.array([None]), r"payload\.a\[1\]: expected numbers, got an array of object"),
        ({(1, 2): 3}, r"payload\.a\[1\]: expected keys"),
        (torch.float32, r"payload\.a\[1\]: .* got dtype"),
        (torch.eye(2).to_sparse(), r"payload\.a\[1\]: expected a dense tensor"),
    ],
)
def test_what_cannot_be_stored_is_named_and_nothing_is_written(value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=message):
        save_checkpoint(tmp_path / "checkpoints", {"a": [0, value]}, step=1, keep=1)
    assert not (tmp_path / "checkpoints").exists()


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in range(1, 6):
        save_checkpoint(tmp_path, _payload(step), step=step, keep=2)
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["step_000000004.json", "step_000000005.json"]
    assert len(list(tmp_path.iterdir())) == 5
    assert latest(tmp_path) == 5
    assert load_checkpoint(tmp_path)["step"] == 5
    assert load_checkpoint(tmp_path, step=4)["step"] == 4
    with pytest.raises(CheckpointError, match=r"step_000000001\.json: there is no such checkpoint"):
        load_checkpoint(tmp_path, step=1)


def test_the_best_is_kept_beside_the_newest(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint has a metric"):
        load_checkpoint(tmp_path, "best")
    metrics = [None, 3.0, 9.0, float("nan"), 9.0, 1.0, 2.0]
    for step, metric in enumerate(metrics):
        save_checkpoint(tmp_path, _payload(step), step=step, keep=1, metric=metric)
    assert load_checkpoint(tmp_path, "best")["step"] == 4, "of equals the later"
    assert load_checkpoint(tmp_path)["step"] == load_checkpoint(tmp_path, "last")["step"] == 6
    assert len(list(tmp_path.iterdir())) == 5
    save_checkpoint(tmp_path, _payload(7), step=7, keep=1, metric=10.0)
    assert load_checkpoint(tmp_path, "best")["step"] == 7
    assert len(list(tmp_path.iterdir())) == 3


def test_the_same_step_can_be_saved_again(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, _payload(1), step=5, keep=1)
    save_checkpoint(tmp_path, _payload(2), step=5, keep=1)
    assert load_checkpoint(tmp_path)["step"] == 2
    assert len(list(tmp_path.iterdir())) == 3


def test_going_back_drops_what_lay_ahead_first(tmp_path: Path) -> None:
    _three(tmp_path)
    save_checkpoint(tmp_path, _payload(15), step=15, keep=2)
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["step_000000010.json", "step_000000015.json"]


def test_the_newest_is_the_one_saved_last_though_a_better_one_lies_ahead(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, _payload(10), step=10, keep=2)
    save_checkpoint(tmp_path, _payload(30), step=30, keep=2, metric=5.0)
    save_checkpoint(tmp_path, _payload(15), step=15, keep=2, metric=1.0)
    assert load_checkpoint(tmp_path)["step"] == 15
    assert load_checkpoint(tmp_path, "best")["step"] == 30


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "foreign", "remove", "swap", "manifest", "append"])
def test_a_damaged_newest_is_passed_over_with_a_warning(damage: str, tmp_path: Path, seed: int) -> None:
    good, newest = _three(tmp_path)[1:]
    state = _state(newest)
    content = bytearray(state.read_bytes())
    if damage == "flip":
        bit = int(np.random.default_rng(seed).integers(8 * len(content)))
        content[bit // 8] ^= 1 << (bit % 8)
        state.write_bytes(content)
    elif damage == "truncate":
        state.write_bytes(content[:-1])
    elif damage == "append":
        state.write_bytes(content + b"\0")
    elif damage == "empty":
        state.write_bytes(b"")
    elif damage == "foreign":
        torch.save(_payload(30), state)
    elif damage == "remove":
        state.unlink()
    elif damage == "manifest":
        newest.write_text(newest.read_text().replace('"step": 30', '"step": 31'))
    else:
        state.write_bytes(_state(good).read_bytes())
    with pytest.warns(CheckpointWarning, match=r"using step 20 instead") as caught:
        assert load_checkpoint(tmp_path)["step"] == 20
    assert len(caught) == 1 and str(newest if damage == "manifest" else state) in str(caught[0].message)
    with pytest.raises(CheckpointError, match=r"is damaged|is missing"):
        load_checkpoint(tmp_path, step=30)


def test_every_single_byte_is_covered_by_a_digest(tmp_path: Path, seed: int) -> None:
    manifest = save_checkpoint(tmp_path, _payload(1), step=1, keep=1)
    for path in (manifest, _state(manifest)):
        content = path.read_bytes()
        for position in np.random.default_rng(seed).integers(len(content), size=60):
            damaged = bytearray(content)
            damaged[position] ^= 1 << int(position) % 8
            path.write_bytes(damaged)
            try:
                same = path == manifest and json.loads(damaged) == json.loads(content)
            except ValueError:
                same = False
            if not same:  # a changed blank between two entries says nothing else
                with pytest.raises(CheckpointError, match=r"is damaged|newer muzero-wm"):
                    load_checkpoint(tmp_path)
        path.write_bytes(content)


@pytest.mark.parametrize(("older", "newer"), [(10, 30), (20, 99)])
def test_an_older_checkpoint_under_a_newer_name_is_not_taken_for_it(older: int, newer: int, tmp_path: Path) -> None:
    _three(tmp_path)
    shutil.copy(tmp_path / f"step_{older:09d}.json", tmp_path / f"step_{newer:09d}.json")
    with pytest.warns(CheckpointWarning, match=rf"it is the one of step {older} under another name"):
        assert load_checkpoint(tmp_path)["step"] == (20 if newer == 30 else 30)


@pytest.mark.parametrize("back", [False, True])
def test_a_newest_checkpoint_whose_manifest_is_gone_is_missed(back: bool, tmp_path: Path) -> None:
    _three(tmp_path)
    last = (
        save_checkpoint(tmp_path, _payload(15), step=15, keep=3, metric=-1.0)
        if back
        else tmp_path / "step_000000030.json"
    )
    last.unlink()
    expected = rf"{last.name}: there is no such checkpoint; using step {30 if back else 20} instead"
    with pytest.warns(CheckpointWarning, match=expected):
        load_checkpoint(tmp_path)
    (tmp_path / "newest").write_text("nonsense")
    with warnings.catch_warnings():
        warnings.simplefilter("error", CheckpointWarning)
        load_checkpoint(tmp_path)


def test_a_stranger_in_the_folder_is_not_loaded(tmp_path: Path) -> None:
    _three(tmp_path)
    torch.save(_payload(99), tmp_path / "step_000000099.pt")
    (tmp_path / "step_000000099.json").write_text("{}")
    (tmp_path / "step_99.json").write_text("{}")
    with pytest.warns(CheckpointWarning, match=r"step_000000099\.json: is damaged") as caught:
        assert load_checkpoint(tmp_path)["step"] == 30
    assert len(caught) == 1


def test_nothing_intact_is_one_error_that_names_every_file(tmp_path: Path) -> None:
    for path in _three(tmp_path):
        path.write_bytes(b"x")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path)
    assert all(f"step_0000000{step}.json" in str(caught.value) for step in (10, 20, 30))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 9}, "was written by a newer muzero-wm"),
        ({"format": 1}, "expected format 2, got 1"),
        ({"format": "x" * 1000}, "expected format 2, got xxx"),
        ({"step": -1}, "it is the one of step -1 under another name"),
        ({"step": 30.0}, "it is the one of step 30.0"),
        ({"serial": -3}, "expected a serial number > 0"),
        ({"serial": 10**30}, "expected a serial number > 0"),
        ({"metric": "good"}, "expected a finite metric"),
        ({"metric": float("nan")}, "expected a finite metric"),
        ({"files": []}, "wrong type"),
        ({"files": {"../../secret": {"sha256": "0" * 64, "bytes": 1}}}, "no name of a file it may hold"),
        ({"files": {"/etc/passwd": {"sha256": "0" * 64, "bytes": 1}}}, "no name of a file it may hold"),
        ({"files": {"state-" + "0" * 32 + ".mzw": {"sha256": "0", "bytes": 1}}}, "expected size and SHA-256"),
        ({"files": {"state-" + "0" * 32 + ".mzw": {"sha256": "0" * 64, "bytes": -1}}}, "expected size and SHA-256"),
        ({"state": "episodes-" + "0" * 32 + ".mzw"}, "its state is no state file"),
        ({"state": "state-" + "0" * 32 + ".mzw"}, "an entry is missing"),
        ({"state": None}, "wrong type"),
    ],
)
def test_manifests_that_a_stranger_wrote(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    _edit(_three(tmp_path)[-1], **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(tmp_path, step=30)
    assert len(str(caught.value).replace(str(tmp_path), "")) < 200 and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"format": 2, "format": 2}', "\xff", "9" * 10_000])
def test_manifests_that_are_none(text: str, tmp_path: Path) -> None:
    _three(tmp_path)[-1].write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(tmp_path, step=30)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
@pytest.mark.parametrize("which", ["manifest", "state"])
def test_only_regular_files_are_read(kind: str, which: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    manifest = _three(folder)[-1]
    path = manifest if which == "manifest" else _state(manifest)
    outside = tmp_path / "outside"
    path.rename(outside)
    {"link": lambda: path.symlink_to(outside), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    with pytest.raises(CheckpointError, match="is not readable"):
        load_checkpoint(folder, step=30)
    with pytest.warns(CheckpointWarning):
        assert load_checkpoint(folder)["step"] == 20


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    _three(tmp_path / "elsewhere")
    (tmp_path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="is a link"):
        load_checkpoint(tmp_path / "checkpoints")
    with pytest.raises(CheckpointError, match="is a link"):
        save_checkpoint(tmp_path / "checkpoints", {}, step=1, keep=1)


def test_an_empty_or_missing_folder(tmp_path: Path) -> None:
    assert latest(tmp_path / "nowhere") is None
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match="holds no checkpoint"):
            load_checkpoint(folder)
    (tmp_path / "manifest.json").write_text('{"format": 1, "sha256": {}}')
    with pytest.raises(CheckpointError, match=r"of muzero-wm 0\.1\.0 \(format 1\), which this version does not read"):
        load_checkpoint(tmp_path)


def test_packs_are_written_once_and_removed_with_the_last_checkpoint_that_names_them(tmp_path: Path) -> None:
    first, second = (EpisodePack({"x": np.arange(1000) * factor}) for factor in (1, 3))
    save_checkpoint(tmp_path, {"packs": [first]}, step=1, keep=2)
    (file,) = tmp_path.glob("episodes-*")
    written = file.stat().st_mtime_ns, file.stat().st_ino
    save_checkpoint(tmp_path, {"packs": [first, second]}, step=2, keep=2)
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == written
    packs = load_checkpoint(tmp_path)["packs"]
    assert [pack.arrays()["x"].tolist() for pack in packs] == [[*range(1000)], [*range(0, 3000, 3)]]
    save_checkpoint(tmp_path, {"packs": packs[1:]}, step=3, keep=2)
    assert file.is_file(), "step 2 names it"
    save_checkpoint(tmp_path, {"packs": packs[1:]}, step=4, keep=2)
    assert not file.exists()
    assert len(list(tmp_path.glob("episodes-*"))) == 1


def test_a_checkpoint_whose_pack_is_damaged_is_passed_over_but_its_weights_can_be_used(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"step": 1}, step=1, keep=2)
    save_checkpoint(tmp_path, {"step": 2, "packs": [EpisodePack({"x": np.arange(9)})]}, step=2, keep=2)
    (file,) = tmp_path.glob("episodes-*")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.warns(CheckpointWarning, match=r"episodes-.* is damaged"):
        assert load_checkpoint(tmp_path)["step"] == 1
    loaded = load_checkpoint(tmp_path, episodes_too=False)
    assert loaded["step"] == 2
    with pytest.raises(CheckpointError, match="is damaged"):
        loaded["packs"][0].arrays()


@pytest.mark.parametrize("crash_at", range(1, 19))
@pytest.mark.parametrize("step", [20, 30])
def test_a_crash_at_any_point_of_a_save_leaves_a_good_checkpoint(
    crash_at: int, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stops a save at each write to the folder in turn: a new step, and the one kept step saved again."""
    save_checkpoint(tmp_path, {**_payload(20), "pack": EpisodePack({"x": np.arange(20)})}, step=20, keep=1)
    calls = 0

    def crashing(name: str, owner: Any) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= crash_at:
                raise KeyboardInterrupt  # and whatever would tidy up after it is stopped too
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapped)

    crashing("replace", Path)
    crashing("unlink", Path)
    crashing("fsync", files.os)
    payload = {**_payload(step + 1), "pack": EpisodePack({"x": np.arange(step + 1)})}
    try:
        save_checkpoint(tmp_path, payload, step=step, keep=1)
        crashed = False
    except KeyboardInterrupt:
        crashed = True
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error", CheckpointWarning)
        loaded = load_checkpoint(tmp_path)
        assert loaded["step"] in (20, step + 1)
        assert len(loaded["pack"].arrays()["x"]) == loaded["step"]
        save_checkpoint(tmp_path, _payload(40), step=40, keep=1)
        assert load_checkpoint(tmp_path)["step"] == 40
    assert len(list(tmp_path.iterdir())) == 3
    assert crashed or crash_at > 14


def test_impossible_numbers(tmp_path: Path) -> None:
    for step, keep in ((-1, 1), (0, 0), (10**18, 1)):
        with pytest.raises(ValueError, match="step >= 0 and keep >= 1"):
            save_checkpoint(tmp_path, {}, step=step, keep=keep)
