"""Numba functions that are compiled once, kept on disk where that is possible, and work where it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def cached(decorator: Any, signature: Any, **options: Any) -> Callable[[Function], Any]:
    """Applies a Numba decorator with its disk cache, and without where the cache is of no use.

    Args:
        decorator: `numba.njit` or `numba.cfunc`.
        signature: types of the result and of all arguments: with them the function is compiled here and now, so that a
            cache that makes trouble does so here.
        **options: of the decorator.

    Returns:
        A decorator.
    """

    def apply(function: Function) -> Any:
        try:
            return decorator(signature, cache=True, **options)(function)
        except Exception:
            # No writable cache folder, a full disk, a damaged cache file. A mistake in the function itself comes again.
            return decorator(signature, **options)(function)

    return apply


def compiled(signature: Any, **options: Any) -> Callable[[Function], Any]:
    """Compiles a function that Python calls, for one signature.

    Args:
        signature: types of the result and of all arguments.
        **options: of `numba.njit`.

    Returns:
        A decorator.
    """
    return cached(njit, signature, **options)
