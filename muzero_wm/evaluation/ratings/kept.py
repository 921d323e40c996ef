"""Finished games on the disk, one line of JSON for each block of them: what was played is never played again."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

from muzero_wm.basis.errors import UserError
from muzero_wm.storage.files import open_append

_FORMAT = 1
_REMEDY = "what was kept before is still there, and the same command goes on"


@dataclass(frozen=True)
class Task:
    """What determines the games of a block; games of the same task are the same games.

    Attributes:
        env: the environment.
        seed: of the arena.
        opening_plies: random moves at the beginning of every game.
        max_steps: moves after which a game is drawn, None for the environment's own limit.
        first: name of one player.
        first_print: of its weights, "" where it has none.
        second: name of the other.
        second_print: of its weights.
        start: number of the first pair of games.
        pairs: of games, each one opening from both seats.
    """

    env: str
    seed: int
    opening_plies: int
    max_steps: int | None
    first: str
    first_print: str
    second: str
    second_print: str
    start: int
    pairs: int


@dataclass(frozen=True)
class Block:
    """What came of the games of a task.

    Attributes:
        points: for each pair, what the first player won with the first move and with the second: 0, 1/2 or 1.
        digests: for each pair, of the moves of both games.
        moves: in all games together.
        cut: games that reached the limit of moves.
        forfeits: games that were given up: by whom ("player" is the first), game, ply, reason.
    """

    points: list[list[float]]
    digests: list[str]
    moves: int
    cut: int
    forfeits: list[dict[str, Any]]


class KeptGames:
    """The blocks that were finished, in a file or, without one, in memory.

    Args:
        stream: of the file, open for appending.
        path: of it.
        blocks: that it holds.
    """

    def __init__(self, stream: IO[str] | None, path: Path | None, blocks: dict[Task, Block]) -> None:
        self._stream, self._path, self._blocks = stream, path, blocks

    def find(self, task: Task) -> Block | None:
        """Returns what came of a task, None where it was not played yet."""
        return self._blocks.get(task)

    def add(self, task: Task, block: Block) -> None:
        """Keeps a block, on the disk before this returns.

        Raises:
            UserError: it cannot be written; the blocks before are kept.
        """
        self._blocks[task] = block
        if self._stream is None:
            return
        try:
            self._stream.write(json.dumps({"format": _FORMAT, **asdict(task), **asdict(block)}) + "\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            with suppress(OSError):  # of what could not be written, once more
                self._stream.close()
            raise UserError(f"{self._path}: cannot be written: {error.strerror}; {_REMEDY}") from None


@contextmanager
def keep_games(path: Path | None) -> Iterator[KeptGames]:
    """Holds a file of finished games; no other arena writes to it meanwhile.

    Args:
        path: the file, made when missing; a last line that a crash cut short is removed. None for memory alone.

    Yields:
        What it holds.

    Raises:
        UserError: it holds something else, cannot be written, or another arena writes to it.
    """
    if path is None:
        yield KeptGames(None, None, {})
        return
    with ExitStack() as files:
        yield _hold(path, files)


def _hold(path: Path, files: ExitStack) -> KeptGames:
    """Opens and locks the file; nothing else is done here, so that no other failure is taken for one of the file."""
    try:
        before = path.stat().st_size if path.exists() else 0
        if before and not _is_ours(path):
            raise UserError(f"{path}: expected the finished games of an arena, got something else; name another file")
        lock = files.enter_context(open(path, "a", opener=_no_links))  # noqa: SIM115 - that is one
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{path}: another arena writes to it; wait for it, or name another file") from None
        stream = files.enter_context(open_append(path, _is_whole))
        return KeptGames(stream, path, dict(_read(path)))
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}; {_REMEDY}") from None


def _no_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def _is_whole(line: bytes) -> bool:
    """Returns whether a line is a block and not the beginning of one."""
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _is_ours(path: Path) -> bool:
    """Returns whether a file begins as ours do, be it with a line that was cut short."""
    with open(path, "rb") as stream:
        begin = json.dumps({"format": _FORMAT})[:-1].encode()
        return stream.read(len(begin)) == begin[: path.stat().st_size]


def _read(path: Path) -> Iterator[tuple[Task, Block]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            said = json.loads(line)
            task = Task(**{field.name: said[field.name] for field in fields(Task)})
            block = Block(**{field.name: said[field.name] for field in fields(Block)})
            points = [float(point) for pair in block.points for point in pair]
            if not len(points) == 2 * len(block.digests) == 2 * task.pairs or not {0.0, 0.5, 1.0} >= set(points):
                raise ValueError
            yield task, block
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}: line {number} is damaged; remove it, and its games are played again") from None
