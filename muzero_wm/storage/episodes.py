"""Packs of stored episodes: written once, shared by every checkpoint that needs them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import UserError
from muzero_wm.storage import arrayfile
from muzero_wm.storage.files import open_regular

KIND = "episodes"


class CheckpointError(UserError):
    """Names the checkpoint file that cannot be used, and why."""


@dataclass(frozen=True)
class StoredFile:
    """Where a pack lies on the disk.

    Attributes:
        path: the file.
        sha256: of its content.
        size: in bytes.
    """

    path: Path
    sha256: str
    size: int


class EpisodePack:
    """Arrays that never change again, in memory until they are stored and on the disk from then on.

    `save_checkpoint` stores the packs it meets in a payload; `load_checkpoint` gives them back without reading them.

    Args:
        arrays: by name; None where they are stored already.
        stored: where they are stored; None until then.
    """

    def __init__(self, arrays: Mapping[str, NDArray] | None = None, stored: StoredFile | None = None) -> None:
        if (arrays is None) == (stored is None):
            raise ValueError("expected arrays or stored, and not both")
        self._arrays = None if arrays is None else dict(arrays)
        self.stored = stored

    def now_stored(self, stored: StoredFile) -> None:
        """Frees the memory: from now on the arrays are read from the disk."""
        self._arrays, self.stored = None, stored

    def arrays(self, max_bytes: int | None = None) -> dict[str, NDArray]:
        """Returns the arrays, from the disk after their digest was compared.

        Args:
            max_bytes: most bytes they may take together.

        Raises:
            CheckpointError: the file is missing, damaged or not plausible.
        """
        if self._arrays is not None:
            return dict(self._arrays)
        assert self.stored is not None
        verify(self.stored)
        payload = read_file(self.stored, KIND, max_bytes=max_bytes)
        if not isinstance(payload, dict) or not all(isinstance(value, np.ndarray) for value in payload.values()):
            raise CheckpointError(f"{self.stored.path}: cannot be read: expected arrays by name")
        return payload


def verify(stored: StoredFile) -> None:
    """Compares a file with its digest.

    Raises:
        CheckpointError: it is missing, of another kind, or damaged; one line.
    """
    try:
        with open_regular(stored.path) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
            size = stream.tell()
    except FileNotFoundError:
        raise CheckpointError(f"{stored.path}: is missing") from None
    except OSError as error:
        raise CheckpointError(f"{stored.path}: is not readable ({error.strerror or 'not a regular file'})") from None
    if size != stored.size:
        raise CheckpointError(f"{stored.path}: is damaged (expected {stored.size} bytes, got {size})")
    if digest != stored.sha256:
        raise CheckpointError(f"{stored.path}: is damaged (its SHA-256 is not the one in the manifest)")


def read_file(stored: StoredFile, kind: str, max_bytes: int | None = None, **leaves: Any) -> Any:
    """Returns the content of a verified file.

    Args:
        stored: the file.
        kind: what it must be.
        max_bytes: most bytes that its arrays may take together.
        **leaves: `array` and `reference` of `arrayfile.read`; NumPy arrays when left out.

    Raises:
        CheckpointError: it is no such file; one line.
    """
    leaves.setdefault("array", lambda array, _: array)
    try:
        with open_regular(stored.path) as stream:
            return arrayfile.read(stream, stored.size, kind=kind, max_bytes=max_bytes, **leaves)
    except (OSError, arrayfile.ArrayFileError) as error:
        raise CheckpointError(f"{stored.path}: cannot be read: {error}") from None
