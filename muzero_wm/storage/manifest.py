"""The list of files that make one checkpoint, with the SHA-256 of each.

`step_000001234.json` appears last, by a rename: a checkpoint is there when its manifest is. The manifest holds a digest
of itself, so that not one changed character goes unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muzero_wm import __version__
from muzero_wm.basis.errors import CheckpointError
from muzero_wm.storage.episodes import StoredFile
from muzero_wm.storage.files import open_regular, write_atomic

FORMAT = 2
NEWEST = "newest"
DATA_NAME = re.compile(r"(state|episodes)-[0-9a-f]{32}\.mzw")
_MANIFEST_NAME = re.compile(r"step_([0-9]{9,18})\.json")
_MAX_BYTES = 8 << 20


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint consists of.

    Attributes:
        step: its number.
        serial: counts the saves of a run; the newest checkpoint is the one that was saved last.
        metric: what decides about the best one, None where nothing was measured.
        state: the file of weights, optimiser, counters and everything else that is new in each checkpoint.
        files: [state, *packs of episodes].
    """

    step: int
    serial: int
    metric: float | None
    state: StoredFile
    files: tuple[StoredFile, ...]


def manifest_path(folder: Path, step: int) -> Path:
    """Returns the file of a checkpoint's manifest."""
    return folder / f"step_{step:09d}.json"


def steps_in(folder: Path) -> list[int]:
    """Returns the numbers of the checkpoints in a folder, sorted; their content is not read."""
    if not folder.is_dir():
        return []
    names = (_MANIFEST_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(name[1]) for name in names if name and name[0] == manifest_path(folder, int(name[1])).name)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Makes a checkpoint visible: all at once.

    Raises:
        OSError: it cannot be written.
    """
    content = {
        "format": FORMAT,
        "muzero_wm": __version__,
        "step": manifest.step,
        "serial": manifest.serial,
        "metric": manifest.metric,
        "state": manifest.state.path.name,
        "files": {file.path.name: {"sha256": file.sha256, "bytes": file.size} for file in manifest.files},
    }
    text = json.dumps({**content, "check": _check(content)}, indent=1) + "\n"
    write_atomic(manifest_path(folder, manifest.step), text.encode())


def read_manifest(folder: Path, step: int) -> Manifest:
    """Returns a checkpoint's manifest.

    Raises:
        CheckpointError: it is missing, damaged, of another format, or names files it must not name; one line.
    """
    path = manifest_path(folder, step)
    try:
        with open_regular(path) as stream:
            text = stream.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ValueError
        content = json.loads(text.decode("utf-8"), object_pairs_hook=_no_doubles)
        found = content["format"]
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such checkpoint") from None
    except OSError as error:
        raise CheckpointError(f"{path}: is not readable ({error.strerror or 'not a regular file'})") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(f"{path}: is damaged (not a manifest)") from None
    if type(found) is int and found > FORMAT:
        raise CheckpointError(f"{path}: was written by a newer muzero-wm (format {found}, this one reads {FORMAT})")
    check = content.pop("check", None)
    if check != _check(content):
        raise CheckpointError(f"{path}: is damaged (it does not agree with its own check sum)")
    try:
        return _parse(folder, step, content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error) if isinstance(error, ValueError) else "an entry is missing or of the wrong type"
        raise CheckpointError(f"{path}: makes no sense: {reason}") from None


def write_newest(folder: Path, manifest: Manifest) -> None:
    """Notes which checkpoint was saved last, so that it is missed when its manifest is gone.

    Raises:
        OSError: it cannot be written.
    """
    write_atomic(folder / NEWEST, f"step {manifest.step} serial {manifest.serial}\n".encode())


def read_newest(folder: Path) -> tuple[int, int] | None:
    """Returns step and serial number of the checkpoint that was saved last, None where that is not known."""
    try:
        with open_regular(folder / NEWEST) as stream:
            found = re.fullmatch(rb"step ([0-9]{1,18}) serial ([0-9]{1,18})\n", stream.read(100))
    except OSError:
        return None
    return (int(found[1]), int(found[2])) if found else None


def _parse(folder: Path, step: int, content: Mapping[str, Any]) -> Manifest:
    if content["format"] != FORMAT:
        raise ValueError(f"expected format {FORMAT}, got {str(content['format'])[:20]}")
    if content["step"] != step or type(content["step"]) is not int:
        raise ValueError(f"it is the one of step {str(content['step'])[:20]} under another name")
    serial, metric = content["serial"], content["metric"]
    if type(serial) is not int or not 0 < serial < 1 << 62:
        raise ValueError("expected a serial number > 0")
    if metric is not None and (type(metric) is not float or not math.isfinite(metric)):
        raise ValueError("expected a finite metric")
    files = {}
    for name, entry in content["files"].items():
        size, digest = entry["bytes"], entry["sha256"]
        if not DATA_NAME.fullmatch(name):
            raise ValueError(f"{name[:60]!r} is no name of a file it may hold")
        if type(size) is not int or not 0 <= size < 1 << 62 or not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(f"expected size and SHA-256 of {name}")
        files[name] = StoredFile(folder / name, digest, size)
    if not content["state"].startswith("state-"):
        raise ValueError("its state is no state file")
    state = files.pop(content["state"])
    if any(name.startswith("state-") for name in files):
        raise ValueError("expected one state file")
    return Manifest(step, serial, metric, state, (state, *files.values()))


def _check(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError
    return dict(pairs)
