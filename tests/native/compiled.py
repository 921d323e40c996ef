"""Leaves out what runs on the NumPy reference alone where native code is checked: `-p tests.native.compiled`."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the tests whose backend is the reference."""
    reference = [item for item in items if getattr(item, "callspec", None) and _backend(item) == "python"]
    config.hook.pytest_deselected(items=reference)
    left_out = set(reference)
    items[:] = [item for item in items if item not in left_out]


def _backend(item: pytest.Item) -> object:
    return item.callspec.params.get("backend")  # type: ignore[attr-defined]
