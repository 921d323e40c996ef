"""The run folder: made, checked, and held by one process at a time."""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from muzero_wm.basis.errors import UserError
from muzero_wm.storage.checkpoint import latest, remove_litter

LOCK_NAME = "run.lock"


class RunDirError(UserError):
    """Names the run folder that cannot be used, and what to do instead."""


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
    try:
        if path.exists() and not path.is_dir():
            raise RunDirError(f"{path}: expected a run folder, got a file")
        if resume:
            if not path.is_dir():
                raise RunDirError(f"{path}: there is no run to resume")
            if latest(path / "checkpoints") is None:
                raise RunDirError(f"{path}: has no checkpoint to resume from; train without --resume in another folder")
            return path
        if path.is_dir() and any(entry.name != LOCK_NAME for entry in path.iterdir()):
            raise RunDirError(f"{path}: is not empty; go on with its run by --resume, or choose another --run-dir")
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        if isinstance(error, RunDirError):
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RunDirError(f"{path}: cannot be made: {reason}") from None
    return path


def new_run_dir(root: Path, name: str) -> Path:
    """Makes and returns the first folder ``<root>/<name>-<n>`` that is not there yet, n = 1, 2, ..."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:100] or "run"
    path = next(path for n in itertools.count(1) if not os.path.lexists(path := root / f"{stem}-{n}"))
    return prepare_run_dir(path, resume=False)


@contextmanager
def open_run(path: Path, resume: bool) -> Iterator[Path]:
    """Holds a run folder for training: no other process trains in it meanwhile.

    The kernel releases the lock when the process ends, however it ends. Who only reads (evaluate, play) needs none.

    Args:
        path: the run folder, made for a new run.
        resume: as for `prepare_run_dir`.

    Yields:
        The path; what an interrupted save left behind has been removed.

    Raises:
        RunDirError: as for `prepare_run_dir`, or another process trains in the folder.
    """
    prepare_run_dir(path, resume)
    try:
        handle = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RunDirError(f"{path}: cannot be locked: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _printable(os.pread(handle, 200, 0)) or "another process"
            raise RunDirError(f"{path}: {holder} trains in it; wait for it, or choose another --run-dir") from None
        except OSError as error:
            raise RunDirError(f"{path}: cannot be locked: {error.strerror}") from None
        prepare_run_dir(path, resume)  # whoever held the lock until now may have begun a run
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            if (path / "checkpoints").is_dir():
                remove_litter(path / "checkpoints")
        except OSError as error:
            raise RunDirError(f"{path}: cannot be written: {error.strerror}") from None
        yield path
    finally:
        os.close(handle)


def _printable(text: bytes) -> str:
    """Returns what a stranger may have written as one harmless line."""
    return "".join(c for c in text.decode("utf-8", "replace") if c.isprintable())
