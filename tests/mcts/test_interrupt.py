"""Ctrl-C ends a search that runs without Python, whatever the number of threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, threading
import numpy as np
import mcts
{network}
root = mcts.RootOutput(np.zeros(({roots}, 4), np.float32), np.zeros({roots}, np.float32))
threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    mcts.gumbel_muzero_policy(root, network, 200_000, rng=0, num_threads={threads})
except KeyboardInterrupt:
    print("interrupted", flush=True)
else:
    print("finished", flush=True)
"""
NATIVE = """
import numba
@numba.cfunc("int32(voidptr, voidptr, voidptr, int32, int32, int32, int32, voidptr, voidptr, voidptr, voidptr)")
def evaluate(context, parent, action, node, rows, begin, end, reward, discount, logits, value):
    rewards, discounts = numba.carray(reward, (rows,), numba.float32), numba.carray(discount, (rows,), numba.float32)
    policy, values = numba.carray(logits, (rows, 4), numba.float32), numba.carray(value, (rows,), numba.float32)
    for row in range(begin, end):
        rewards[row], discounts[row], values[row], policy[row] = 0.0, 1.0, 0.0, 0.0
        for i in range(300):  # a network takes its time
            values[row] = values[row] * 0.5 + (node * 7919 + i) % 13 - 6
    return 0
network = mcts.NativeRecurrentFn(evaluate.address, 0, evaluate)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name != "posix", reason="sends a POSIX signal")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_native_search_can_be_interrupted(threads):
    program = PROGRAM.format(network=NATIVE, roots=40, threads=threads)
    # Left alone it would take minutes; the deadline is there for where the signal is not seen.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=90)
    assert done.stdout == "interrupted\n", done.stderr
