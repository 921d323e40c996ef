"""Shared by all tests: one seed, one thread each (the suite itself runs on several cores)."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where there is no GPU, Triton's kernels run in its interpreter; it looks when it is first imported, by whomever.
if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
    os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest

# A shell's background ignores the one and nohup the other, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=42, help="seed of the tests; any of 0-99 must pass")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    value: int = request.config.getoption("--seed")
    return value


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    if (torch := sys.modules.get("torch")) is not None:  # the tests of the planner run where it is not installed
        torch.set_num_threads(1)


@pytest.fixture(scope="module")
def forked_children() -> Iterator[None]:
    """Acting processes and environment workers begin with the libraries imported (`tests/forked.py`)."""
    from muzero_wm.basis import processes
    from tests import forked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "subprocess", forked.INSTEAD)
        yield


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Half a gigabyte more than there is now, and not a byte beyond."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 500 * 2**20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
