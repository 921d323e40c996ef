"""Runs a choice of the tests on processors that this machine is not, by emulation: `python -m tests.portable`.

PyTorch, oneDNN and the planner ask the processor itself what it can do, so no setting makes them behave as on another.
QEMU in user mode does: it is slow (about fifteen times), hence a choice. Both processors are emulated side by side.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import mcts

ROOT = Path(__file__).parents[1]
QEMU = "qemu-x86_64"
PROCESSORS = {
    "Haswell-noTSX": "AVX2, neither AVX-512 nor bf16",
    "Nehalem": "SSE4.2, no AVX at all",
}


_HANGS = 10  # times as long as its processor time: something waits for what never comes


class Step(NamedTuple):
    """Some tests in one process.

    Attributes:
        name: what they are about.
        seconds: of processor time that they may take, several times what they need; it does not matter what else runs.
        tests: files and functions.
        only: pytest's -k.
    """

    name: str
    seconds: int
    tests: tuple[str, ...]
    only: str = ""


PLANNER = Step(
    "planner",
    300,
    ("tests/mcts/test_known_answers.py", "tests/mcts/test_textbook.py", "tests/mcts/test_mlp.py"),
    "known_answers or confident_head or search_equals_the_textbook and native-7-None",
)
NETWORK = Step(
    "backends, observations and a little training",
    500,
    (
        "tests/inference/test_backends.py",
        "tests/model/test_observation.py",
        "tests/model/test_precision.py",
        "tests/test_training.py",
    ),
    "every_backend_computes and turns or treats_observations and vector or bf16_is_there and bf16-mlp]"
    " or refuses_bf16 or every_variant and overrides4",
)


def main() -> int:
    """Runs everything; returns 0 where all of it passed, 1 where not, 2 where the emulator is missing."""
    if shutil.which(QEMU) is None:
        print(f"error: {QEMU} is not installed (Debian, Ubuntu: apt install qemu-user)", file=sys.stderr)
        return 2
    results = dict.fromkeys(PROCESSORS, False)

    def emulate(processor: str) -> None:
        passed = [_run(step, [QEMU, "-cpu", processor], processor) for step in (PLANNER, NETWORK)]
        results[processor] = all(passed)

    threads = [threading.Thread(target=emulate, args=(processor,)) for processor in PROCESSORS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # the planner again, on this processor, with every instruction set that it has
    for name in mcts.instruction_sets():
        results[name] = _run(PLANNER, [], f"MCTS_INSTRUCTION_SET={name}", MCTS_INSTRUCTION_SET=name)
    return 0 if all(results.values()) else 1


def _run(step: Step, emulator: list[str], where: str, **environment: str) -> bool:
    """Runs one step and says in one line how it went, with the end of what it printed where it failed."""
    command = [*emulator, sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *step.tests]
    command += ["-k", step.only]
    limited = ["sh", "-c", 'ulimit -t "$0" && exec "$@"', str(step.seconds), *command]
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    begin = time.monotonic()
    done = subprocess.run(
        limited,
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_HANGS * step.seconds,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if "TCG doesn't support" not in line]
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        lines.append(f"no end after {step.seconds} s of processor time")
    passed = done.returncode == 0
    took = f"{time.monotonic() - begin:.0f} s"
    about = f"{where} ({PROCESSORS[where]})" if where in PROCESSORS else where
    print(f"{about}, {step.name}: {lines[-1] if lines else 'nothing was printed'} [{took}]", flush=True)
    if not passed:
        print("\n".join(lines[-60:]), flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(main())
