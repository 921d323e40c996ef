"""Files that are written whole or not at all, and opened without following links."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

_CHUNK = 1 << 20


class HashingStream:
    """Writes through to a stream and keeps the SHA-256 and the number of the bytes.

    Args:
        stream: where the bytes go.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._hash, self.size = stream, hashlib.sha256(), 0

    def write(self, data: Any) -> int:
        """Writes bytes and returns how many."""
        self._hash.update(data)
        size = memoryview(data).nbytes
        self.size += size
        self._stream.write(data)
        return size

    def hexdigest(self) -> str:
        """Returns the SHA-256 of everything written."""
        return self._hash.hexdigest()


def write_temporary(path: Path, fill: Callable[[HashingStream], None]) -> tuple[str, int]:
    """Writes a file that nobody reads yet and forces it to the disk; leaves nothing behind when that fails.

    Args:
        path: the temporary file; what stands there is removed first, never followed.
        fill: writes the content.

    Returns:
        SHA-256 and size of the content.

    Raises:
        OSError: it cannot be written.
    """
    path.unlink(missing_ok=True)
    try:
        with open(path, "xb", opener=_no_links) as stream:
            hashing = HashingStream(stream)
            fill(hashing)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return hashing.hexdigest(), hashing.size


def write_atomic(path: Path, content: bytes) -> None:
    """Replaces a file by new content: after a crash either the old or the new one is there.

    Args:
        path: the file.
        content: what it holds afterwards.

    Raises:
        OSError: it cannot be written; the old file is untouched.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    write_temporary(temporary, lambda stream: void(stream.write(content)))
    temporary.replace(path)
    sync_folder(path.parent)


def why_not_writable(folder: Path) -> str:
    """Returns why no file can be made in a folder, or "" where one can; it is tried, and nothing is left behind."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def why_no_file(path: Path, formats: Sequence[str]) -> str:
    """Returns why a file of some formats cannot be made, or "" where it can.

    Args:
        path: the file.
        formats: how its name may end, at least two, in lower case.
    """
    if path.suffix.lower() not in formats:
        return f"expected a file that ends with {', '.join(formats[:-1])} or {formats[-1]}"
    if path.is_dir() or not path.parent.is_dir():
        return "expected a file in a folder that is there"
    reason = why_not_writable(path.parent)
    return reason and f"the folder {path.parent} cannot be written to: {reason}"


def open_regular(path: Path) -> IO[bytes]:
    """Opens a regular file for reading.

    Args:
        path: the file; links, pipes and devices are refused, so nothing outside the folder is read and nothing blocks.

    Returns:
        The open stream.

    Raises:
        OSError: it is missing or of another kind.
    """
    stream = open(path, "rb", opener=_no_links)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(f"{path}: not a regular file")
    return stream


def open_append(path: Path, keep: Callable[[bytes], bool] = bool) -> IO[str]:
    """Opens a file of JSON lines for appending, without a last line that a crash cut short.

    Args:
        path: the file, made when missing; links are refused.
        keep: tells whether a line belongs there; those behind the last one that does are removed.

    Returns:
        The open stream.

    Raises:
        OSError: it cannot be written, or it is a link.
    """
    stream = open(path, "a+b", opener=_no_links)  # noqa: SIM115 - the caller closes it
    end = _line_begin(stream, stream.seek(0, os.SEEK_END))
    while end > 0:
        begin = _line_begin(stream, end - 1)
        stream.seek(begin)
        if keep(stream.read(end - begin)):
            break
        end = begin
    stream.truncate(end)
    stream.close()
    return open(path, "a", encoding="utf-8", opener=_no_links)


def _line_begin(stream: IO[bytes], end: int) -> int:
    """Returns where the line begins that a position is in."""
    while end > 0:
        begin = max(0, end - _CHUNK)
        stream.seek(begin)
        if (newline := stream.read(end - begin).rfind(b"\n")) >= 0:
            return begin + newline + 1
        end = begin
    return 0


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def void(_: object) -> None:
    """Drops a result."""


def _no_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
