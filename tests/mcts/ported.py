"""What the native core does not do yet."""

from __future__ import annotations

import pytest


def require_port(backend: str, *, leaves_per_step: int = 1, kept: bool = False) -> None:
    """Skips a test of several leaves per step or of kept trees on the native backend."""
    if backend == "native" and (leaves_per_step > 1 or kept):
        pytest.skip("the native core has one leaf per step and keeps no trees")
