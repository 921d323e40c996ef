"""Mistakes a person can mend, all of one base: the command line prints them without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Says in one line (or a few) what was wrong with the input and what was expected."""


class CheckpointError(UserError):
    """Names the checkpoint file that cannot be used, and why."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns a hint that names the closest known word, or "" when none is close.

    Args:
        word: what came.
        known: what would have been right.

    Returns:
        For example ``, did you mean 'width'?``, ready to be put at the end of a message.
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""


def one_line(error: BaseException) -> str:
    """Returns kind and text of an error without line breaks."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
