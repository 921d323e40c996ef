"""Files of data that a manifest names: weights and counters, or a pack of episodes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import CheckpointError
from muzero_wm.storage import arrayfile
from muzero_wm.storage.files import open_regular

KIND = "episodes"


@dataclass(frozen=True)
class StoredFile:
    """Where data lies on the disk.

    Attributes:
        path: the file.
        sha256: of its content.
        size: in bytes.
    """

    path: Path
    sha256: str
    size: int

    def arrays(self, max_bytes: int | None = None) -> dict[str, NDArray]:
        """Returns the arrays of a pack of episodes, after the digest was compared.

        Args:
            max_bytes: most bytes they may take together.

        Raises:
            CheckpointError: the file is missing, damaged or not plausible.
        """
        verify(self)
        payload = read_file(self, KIND, max_bytes=max_bytes)
        if not isinstance(payload, dict) or not all(isinstance(value, np.ndarray) for value in payload.values()):
            raise CheckpointError(f"{self.path}: cannot be read: expected arrays by name")
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
