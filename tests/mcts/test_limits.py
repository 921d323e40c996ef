"""What a process may use is the smallest of what machine, control groups and ulimit leave."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import numpy as np
import pytest

import mcts
from mcts import checks
from mcts._limits import memory_limit

GIB = 2**30
V1, V2 = "memory.limit_in_bytes", "memory.max"


def fake(tmp_path, groups, files):
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        # Version 2: in the container's own namespace, with the host's path, and nested.
        ("0::/\n", {"sys/fs/cgroup/memory.max": "104857600\n"}, (104857600, V2)),
        ("0::/docker/abc\n", {"sys/fs/cgroup/memory.max": "104857600\n"}, (104857600, V2)),
        (
            "0::/a/b\n",
            {"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "2097152\n"},
            (2097152, V2),
        ),
        (
            "0::/a/b\n",
            {"sys/fs/cgroup/a/b/memory.max": "1048576\n", "sys/fs/cgroup/a/memory.max": "2097152\n"},
            (1048576, V2),
        ),
        # A group that is not this process's does not limit it.
        ("0::/a\n", {"sys/fs/cgroup/a/memory.max": "max\n", "sys/fs/cgroup/b/memory.max": "4096\n"}, None),
        # Version 1, with and without the host's path, and without a limit.
        ("5:cpu,cpuacct:/x\n4:memory:/x\n", {"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "8192\n"}, (8192, V1)),
        ("4:memory:/docker/abc\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "8192\n"}, (8192, V1)),
        ("4:memory:/\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("5:cpu:/x\n", {"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "8192\n"}, None),
        # Both at once: the smaller counts.
        (
            "4:memory:/x\n0::/y\n",
            {"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "8192\n", "sys/fs/cgroup/y/memory.max": "4096\n"},
            (4096, V2),
        ),
        ("", {}, None),
        ("0::/with:colon\n", {"sys/fs/cgroup/with:colon/memory.max": "4096\n"}, (4096, V2)),
    ],
)
def test_control_groups(groups, files, expected, tmp_path):
    limit, source = memory_limit(fake(tmp_path, groups, files))
    if expected is None:
        assert limit == memory_limit(tmp_path / "nothing")[0] > GIB // 4
    else:
        assert (limit, source) == (expected[0], f"of its control group ({expected[1]})")


LIMITED = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, resource.getrlimit(resource.RLIMIT_AS)[1]))
from mcts._limits import memory_limit
print(*memory_limit(Path("/nowhere")))
"""


@pytest.mark.skipif(memory_limit()[0] < 3 * GIB, reason="has less than the test would limit it to")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer reserves terabytes")
def test_address_space():
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert done.stdout == f"{3 * GIB} that RLIMIT_AS (ulimit -v) allows\n"
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != 3 * GIB


def test_a_search_beyond_the_limit_is_refused_before_it_starts(monkeypatch):
    monkeypatch.setattr(checks, "memory_limit", lambda: (100 * 2**20, "of its control group (memory.max)"))
    root = mcts.RootOutput(np.zeros((64, 100)), np.zeros(64))
    message = r"num_simulations: .* needs \d+,\d+,\d+ bytes; expected at most the 104,857,600 of its control group"
    with pytest.raises(ValueError, match=message):
        mcts.muzero_policy(root, print, 4000, rng=0)
