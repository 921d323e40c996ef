"""Checkpoints that are either whole or refused.

A folder holds `step_000001234.pt` files and `manifest.json` with the SHA-256 of each: `torch.load` itself reads a file
with a flipped bit without a word. Order of a save: the new file is on the disk under another name, the manifest knows
its digest, the file takes its name, and only then are older ones removed. A crash between any two of these leaves the
previous checkpoint in place. torch is imported where it is needed, so that a run folder is checked without it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from muzero_wm.errors import UserError

_MANIFEST = "manifest.json"
_FORMAT = 1
_ARRAYS = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"])
_PLAIN = (bool, int, float, str, bytes, type(None))


class CheckpointError(UserError):
    """Names the checkpoint file that cannot be used, and why."""


class CheckpointWarning(UserWarning):
    """Names a checkpoint file that was passed over."""


class RunDirError(UserError):
    """Names the run folder that cannot be used, and what to do instead."""


def save_checkpoint(folder: Path, payload: Mapping[str, Any], *, step: int, keep: int) -> Path:
    """Writes one checkpoint durably, then removes the oldest beyond `keep`.

    Args:
        folder: where checkpoints are kept; made when missing.
        payload: nested dicts, lists and tuples of tensors, NumPy arrays and scalars, numbers, strings and None. Arrays
            come back from `load_checkpoint` as tensors of the same dtype.
        step: number of the checkpoint, >= 0.
        keep: how many of the newest to keep, >= 1.

    Returns:
        The file written.

    Raises:
        TypeError: something in the payload cannot be stored; nothing is written.
        ValueError: step or keep is out of range.
    """
    if step < 0 or keep < 1:
        raise ValueError(f"expected step >= 0 and keep >= 1, got step={step}, keep={keep}")
    import torch

    plain = _plain(payload, "payload")
    folder.mkdir(parents=True, exist_ok=True)
    path = _path(folder, step)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        torch.save(plain, stream)
        stream.flush()
        os.fsync(stream.fileno())
    digest = _sha256(temporary)

    digests = _read_manifest(folder, missing_ok=True)
    # Until the rename both the file that stands there and the one that replaces it are good.
    digests[path.name] = [*digests.get(path.name, []), digest]
    _write_manifest(folder, digests)
    temporary.replace(path)
    _sync_folder(folder)

    digests[path.name] = [digest]
    # Steps beyond this one are left from before a resume from further back: they go first.
    by_age = sorted(digests, key=lambda name: (_step(name) <= step, _step(name)))
    kept = by_age[-keep:]
    _write_manifest(folder, {name: digests[name] for name in sorted(kept)})
    for name in [*by_age[:-keep], *(stale.name for stale in folder.glob("step_*.tmp"))]:
        (folder / name).unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path, step: int | None = None) -> dict[str, Any]:
    """Returns a checkpoint whose digest was verified.

    Args:
        folder: where checkpoints are kept.
        step: number of the one to load, damaged or not; with None the newest intact one, and a `CheckpointWarning` for
            each newer one that had to be passed over.

    Returns:
        The payload as given to `save_checkpoint`, arrays as tensors on the CPU.

    Raises:
        CheckpointError: the one asked for, or every one, is missing, damaged or not ours.
    """
    if step is not None:
        return _load(_path(folder, step), _read_manifest(folder))
    digests = _read_manifest(folder)
    candidates = sorted({path.name for path in folder.glob("*.pt")} | set(digests), key=_step, reverse=True)
    problems = []
    for name in candidates:
        try:
            payload = _load(folder / name, digests)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            warnings.warn(f"{problem}; using {name} instead", CheckpointWarning, stacklevel=2)
        return payload
    raise CheckpointError("; ".join(problems) or f"{folder}: holds no checkpoint")


def latest(folder: Path) -> int | None:
    """Returns the number of the newest checkpoint that is there (its content is not read), or None."""
    steps = [_step(path.name) for path in folder.glob("step_*.pt")]
    return max(steps, default=None)


def prepare_run_dir(path: Path, resume: bool) -> Path:
    """Makes the folder of a new run, or checks that there is a run to resume; touches nothing that is there.

    Args:
        path: the run folder.
        resume: go on from the newest checkpoint in it.

    Returns:
        The path.

    Raises:
        RunDirError: a new run would overwrite something, or there is nothing to resume.
    """
    if path.exists() and not path.is_dir():
        raise RunDirError(f"{path}: expected a run folder, got a file")
    if resume:
        if not path.is_dir():
            raise RunDirError(f"{path}: there is no run to resume")
        if latest(path / "checkpoints") is None:
            raise RunDirError(f"{path}: has no checkpoint to resume from; train without --resume in another folder")
        return path
    if path.is_dir() and any(path.iterdir()):
        raise RunDirError(f"{path}: is not empty; go on with its run by --resume, or choose another --run-dir")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirError(f"{path}: cannot be made: {error.strerror}") from None
    return path


def new_run_dir(root: Path, name: str) -> Path:
    """Makes and returns the first folder ``<root>/<name>-<n>`` that is not there yet, n = 1, 2, ..."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
    path = next(path for n in itertools.count(1) if not os.path.lexists(path := root / f"{stem}-{n}"))
    return prepare_run_dir(path, resume=False)


def _path(folder: Path, step: int) -> Path:
    return folder / f"step_{step:09d}.pt"


def _step(name: str) -> int:
    """Returns the number in a checkpoint's name, -1 when it is no name of ours."""
    number = name.removeprefix("step_").removesuffix(".pt")
    return int(number) if number.isdecimal() else -1


def _load(path: Path, digests: Mapping[str, list[str]]) -> dict[str, Any]:
    import torch

    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    if path.name not in digests:
        raise CheckpointError(f"{path}: is not listed in {_MANIFEST}, so it was not written by this run")
    try:
        if _sha256(path) not in digests[path.name]:
            raise CheckpointError(f"{path}: is damaged (its SHA-256 is not the one in {_MANIFEST})")
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # torch.load answers a bad file with half a dozen unrelated types
        raise CheckpointError(f"{path}: cannot be read ({type(error).__name__})") from error
    if not isinstance(payload, dict):
        raise CheckpointError(f"{path}: expected a dictionary, got {type(payload).__name__}")
    return payload


def _plain(value: Any, path: str) -> Any:
    """Returns value in types that `torch.load(weights_only=True)` takes."""
    import torch

    if isinstance(value, np.ndarray):
        code = f"{value.dtype.kind}{value.dtype.itemsize}"
        if code not in _ARRAYS:
            raise TypeError(f"{path}: expected numbers, got an array of {value.dtype}")
        # The view gives types of one width one name: torch does not know NumPy's longlong.
        return torch.from_numpy(np.array(value, dtype=code, order="C").view(code))
    if isinstance(value, np.generic):
        return _plain(value.item(), path)
    if isinstance(value, torch.Tensor) or type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        if odd := [key for key in value if type(key) not in (str, int)]:
            raise TypeError(f"{path}: expected keys that are strings or integers, got {odd[0]!r}")
        return {key: _plain(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, f"{path}[{index}]") for index, item in enumerate(value))
    raise TypeError(f"{path}: expected tensors, arrays, numbers, strings, lists or dicts, got {type(value).__name__}")


def _read_manifest(folder: Path, missing_ok: bool = False) -> dict[str, list[str]]:
    """Returns the accepted digests of each file."""
    path = folder / _MANIFEST
    if not path.is_file():
        if missing_ok:
            return {}
        raise CheckpointError(f"{path}: is missing, so no checkpoint beside it can be verified")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != _FORMAT:
            raise CheckpointError(f"{path}: expected format {_FORMAT}, got {manifest['format']!r}")
        return {str(name): [str(digest) for digest in digests] for name, digests in manifest["sha256"].items()}
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{path}: is damaged, so no checkpoint beside it can be verified") from None


def _write_manifest(folder: Path, digests: Mapping[str, list[str]]) -> None:
    temporary = folder / f"{_MANIFEST}.tmp"
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump({"format": _FORMAT, "sha256": digests}, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(folder / _MANIFEST)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Makes renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
