"""Fixtures of the planner's tests."""

from __future__ import annotations

import pytest

from mcts.search import BACKENDS


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Runs a test over both implementations."""
    return request.param
