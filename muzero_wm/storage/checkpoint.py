"""Checkpoints that are either whole or refused.

A folder holds a manifest for each checkpoint and the files that the manifests name. Files of data are named after their
content and never change. Order of a save: new files of data are on the disk, then the manifest appears by a rename,
and only then is removed what no kept manifest names. A crash between any two of these leaves the previous checkpoint.
torch is imported where it is needed, so that a run folder is checked without it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import CheckpointError
from muzero_wm.basis.packs import EpisodePack
from muzero_wm.storage import arrayfile, episodes
from muzero_wm.storage.episodes import StoredFile
from muzero_wm.storage.files import sync_folder, write_temporary
from muzero_wm.storage.manifest import (
    DATA_NAME,
    Manifest,
    manifest_path,
    read_manifest,
    read_newest,
    steps_in,
    write_manifest,
    write_newest,
)

_KIND = "checkpoint"
_ATTEMPTS = 5

Which = int | Literal["last", "best"]


class CheckpointWarning(UserWarning):
    """Names a checkpoint file that was passed over."""


class SaveError(CheckpointError):
    """A checkpoint could not be written; the earlier ones are as they were."""


def save_checkpoint(
    folder: Path, payload: Mapping[str, Any], *, step: int, keep: int, metric: float | None = None
) -> Path:
    """Writes one checkpoint durably, then removes the oldest beyond `keep`.

    Args:
        folder: where checkpoints are kept; made when missing.
        payload: nested dicts, lists and tuples of tensors, NumPy arrays and scalars, numbers, strings, bytes, None and
            `EpisodePack`s. Arrays come back from `load_checkpoint` as tensors of the same dtype.
        step: number of the checkpoint, >= 0.
        keep: how many of the newest to keep, >= 1. The one with the largest metric is kept beside them.
        metric: how good the agent is now, larger is better; None where that is not known.

    Returns:
        The manifest written.

    Raises:
        TypeError: something in the payload cannot be stored; nothing is written.
        ValueError: step or keep is out of range.
        SaveError: the disk is full or the folder cannot be written; nothing is left of the attempt.
    """
    if not 0 <= step < 10**18 or keep < 1:
        raise ValueError(f"expected step >= 0 and keep >= 1, got step={step}, keep={keep}")
    encoded = arrayfile.encode(payload, shared=EpisodePack)
    metric = None if metric is None or not np.isfinite(metric) else float(metric)
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_link(folder)
        try:
            packs = [_store_pack(folder, pack, written) for pack in encoded.shared]
            names = [file.path.name for file in packs]
            state = _store(folder, "state", encoded, written, references=names)
            sync_folder(folder)
            there = _manifests(folder)
            serial = 1 + max((other.serial for other in there.values() if other), default=0)
            manifest = Manifest(step, serial, metric, state, tuple(dict.fromkeys((state, *packs))))
            write_manifest(folder, manifest)
            written = []
            write_newest(folder, manifest)
        except BaseException:
            for path in written:
                path.unlink(missing_ok=True)
            raise
        for pack, file in zip(encoded.shared, packs, strict=True):
            pack.now_stored(file)
        _prune(folder, there | {step: manifest}, step, keep)
    except OSError as error:
        raise SaveError(f"{folder}: cannot be saved to: {error.strerror or error}") from error
    return manifest_path(folder, step)


def load_checkpoint(folder: Path, step: Which | None = None, *, episodes_too: bool = True) -> dict[str, Any]:
    """Returns a checkpoint whose digests were verified.

    Args:
        folder: where checkpoints are kept.
        step: number of the one to load, or "best"; with None or "last" the newest intact one, and a `CheckpointWarning`
            for each newer one that had to be passed over.
        episodes_too: verify the packs of episodes as well; they are read when they are used, in either case.

    Returns:
        The payload as given to `save_checkpoint`, arrays as tensors on the CPU.

    Raises:
        CheckpointError: the one asked for, or every one, is missing, damaged or not ours.
    """
    _refuse_link(folder)
    if step is not None and step != "last":
        return _load(folder, best_step(folder) if step == "best" else step, episodes_too)
    for attempt in range(_ATTEMPTS):
        newest, there = read_newest(folder), _manifests(folder)
        payload, problems = None, []
        for candidate in _newest_first(there, newest):
            try:
                payload = _load(folder, candidate, episodes_too)
                break
            except CheckpointError as error:
                problems.append(str(error))
        if problems and attempt + 1 < _ATTEMPTS and (read_newest(folder), _manifests(folder)) != (newest, there):
            continue  # a run goes on here: what is missing was replaced by something newer
        if payload is None:
            raise CheckpointError("; ".join(problems) or _nothing_in(folder))
        for problem in problems:
            warnings.warn(f"{problem}; using step {candidate} instead", CheckpointWarning, stacklevel=2)
        return payload
    raise AssertionError("unreachable: the last attempt returns or raises")


def best_step(folder: Path) -> int:
    """Returns the number of the checkpoint with the largest metric.

    Raises:
        CheckpointError: no checkpoint has one (`run.keep_best` was not set).
    """
    measured = _best(_manifests(folder))
    if measured is None:
        raise CheckpointError(f"{folder}: no checkpoint has a metric; train with run.keep_best, or take the last one")
    return measured


def latest(folder: Path) -> int | None:
    """Returns the largest number of a checkpoint that is there (its content is not read), or None."""
    return max(steps_in(folder), default=None)


def _load(folder: Path, step: int, episodes_too: bool) -> dict[str, Any]:
    manifest = read_manifest(folder, step)
    for file in manifest.files if episodes_too else (manifest.state,):
        episodes.verify(file)
    packs = {file.path.name: file for file in manifest.files[1:]}

    def pack(name: str) -> EpisodePack:
        if name not in packs:
            raise arrayfile.ArrayFileError(f"it names {name[:60]!r}, which its manifest does not")
        return EpisodePack(stored=packs[name])

    payload = episodes.read_file(manifest.state, _KIND, array=_tensor, reference=pack)
    if not isinstance(payload, dict):
        raise CheckpointError(f"{manifest.state.path}: expected a dictionary, got {type(payload).__name__}")
    return payload


def _tensor(array: NDArray, code: str) -> Any:
    import torch

    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if code == arrayfile.BFLOAT16 else tensor


def _store_pack(folder: Path, pack: EpisodePack, written: list[Path]) -> StoredFile:
    """Returns the file of a pack, which is written unless it is there."""
    stored = pack.stored
    if isinstance(stored, StoredFile) and stored.path.parent == folder and _has_size(stored.path, stored.size):
        return stored
    return _store(folder, "episodes", arrayfile.encode(pack.arrays()), written)


def _store(
    folder: Path,
    prefix: Literal["state", "episodes"],
    encoded: arrayfile.Encoded,
    written: list[Path],
    references: list[str] | None = None,
) -> StoredFile:
    kind = _KIND if prefix == "state" else episodes.KIND
    temporary = folder / f"{prefix}.tmp"
    for compress in (True, False):
        digest, size = write_temporary(
            temporary,
            lambda stream, compress=compress: arrayfile.write(  # type: ignore[misc]
                stream, encoded, kind=kind, references=references, compress=compress
            ),
        )
        if compress and arrayfile.plausible(encoded, size):
            break
    path = folder / f"{prefix}-{digest[:32]}.mzw"
    if not path.exists():
        written.append(path)
    temporary.replace(path)
    return StoredFile(path, digest, size)


def _manifests(folder: Path) -> dict[int, Manifest | None]:
    """Returns the manifest of each checkpoint, None where it is damaged."""
    found: dict[int, Manifest | None] = {}
    for step in steps_in(folder):
        try:
            found[step] = read_manifest(folder, step)
        except CheckpointError:
            found[step] = None
    return found


def _newest_first(there: Mapping[int, Manifest | None], newest: tuple[int, int] | None) -> list[int]:
    """Returns the checkpoints from the one saved last; a damaged one beside the step before it.

    Args:
        there: manifests by step.
        newest: step and serial number of the one saved last, which is named even if it is gone.
    """
    order: dict[int, int] = {}
    serial = 0
    for step in sorted(there):
        manifest = there[step]
        serial = manifest.serial if manifest else serial
        order[step] = serial
    if newest is not None and newest[1] > max((found.serial for found in there.values() if found), default=0):
        order[newest[0]] = newest[1]
    return sorted(order, key=lambda step: (order[step], step), reverse=True)


def _best(there: Mapping[int, Manifest | None]) -> int | None:
    measured = [(found.metric, step) for step, found in there.items() if found and found.metric is not None]
    return max(measured)[1] if measured else None


def _prune(folder: Path, there: dict[int, Manifest | None], step: int, keep: int) -> None:
    """Removes the checkpoints beyond the kept ones, then the files that no manifest names any more."""
    # Steps beyond this one are left from before a resume from further back: they go first.
    by_age = sorted(there, key=lambda number: (number <= step, number))
    best = _best(there)
    for number in by_age[:-keep]:
        if number != best:
            manifest_path(folder, number).unlink(missing_ok=True)
            del there[number]
    sync_folder(folder)
    remove_litter(folder, there)


def remove_litter(folder: Path, there: Mapping[int, Manifest | None] | None = None) -> None:
    """Removes temporary files and, unless a manifest is damaged, the files of data that none names.

    Args:
        folder: where checkpoints are kept.
        there: the manifests in it, where the caller knows them.

    Raises:
        OSError: something cannot be removed.
    """
    there = _manifests(folder) if there is None else there
    needed = {file.path.name for found in there.values() if found for file in found.files}
    readable = all(found is not None for found in there.values())
    for path in list(folder.iterdir()):
        if path.name.endswith(".tmp") or (readable and DATA_NAME.fullmatch(path.name) and path.name not in needed):
            path.unlink(missing_ok=True)


def _refuse_link(folder: Path) -> None:
    if folder.is_symlink():
        raise CheckpointError(f"{folder}: is a link; checkpoints are neither read nor written outside their run folder")


def _nothing_in(folder: Path) -> str:
    if (folder / "manifest.json").is_file():
        return f"{folder}: holds checkpoints of muzero-wm 0.1.0 (format 1), which this version does not read"
    return f"{folder}: holds no checkpoint"


def _has_size(path: Path, size: int) -> bool:
    try:
        return not path.is_symlink() and path.stat().st_size == size
    except OSError:
        return False
