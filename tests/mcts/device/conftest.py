"""The tests of the search on a device: in Triton's interpreter, see `tests/conftest.py`, or on the first GPU."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="mcts.device needs PyTorch")
pytest.importorskip("triton", reason="mcts.device needs Triton, which is there for Linux only")

import torch


@pytest.fixture
def device() -> torch.device:
    """Returns where the searches of the tests run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
