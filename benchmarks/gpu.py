"""What this GPU gives: agreement with the CPU, and times beside those of rivals, in one command.

    python benchmarks/gpu.py --json gpu.json

The parts, each of which can be left out (`--parts`), in order; results are written after every part, so what is there
stays when the command is cut off:

    agreement  the same searches on the host and on the device, in float32: roots whose visits differ
    tree       the search with a network that answers at once: what trees and launches cost
    search     the search with a network of Atari's size: as one CUDA graph, compiled by torch.compile before, launch by
               launch, with the trees on the host, and by mctx where JAX is there
    profile    where the time of one search goes, kernel by kernel
    planner    Connect Four's preset: searches with trees and network here and there
    learner    Connect Four's preset: updates here and there
    training   Connect Four's preset, trained for ten times `--seconds` on the GPU and on the CPU

Without a GPU the same runs in Triton's interpreter, with sizes that only show that it runs: TRITON_INTERPRET=1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # the worlds of the tests
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # both want the memory

import torch
import triton

from benchmarks import gpu_agent, gpu_search

PARTS: dict[str, Callable[[torch.device, float], Iterator[dict[str, Any]]]] = {
    "agreement": gpu_search.agreement,
    "tree": gpu_search.tree,
    "search": gpu_search.search,
    "profile": gpu_search.profile,
    "planner": gpu_agent.planner,
    "learner": gpu_agent.learner,
    "training": gpu_agent.training,
}


def _machine(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "Triton's interpreter"
    versions = {"python": platform.python_version(), "torch": torch.__version__, "triton": triton.__version__}
    return {"device": name, **versions, "date": time.strftime("%Y-%m-%d"), "command": " ".join(sys.argv)}


def main() -> None:
    """Runs the parts, and prints and keeps what each found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=1.0, help="for each contender")
    parser.add_argument("--json", type=Path, metavar="FILE", help="what was found, written after every part")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    report: dict[str, Any] = {"machine": _machine(device)}
    print(json.dumps(report["machine"]), flush=True)
    for name in args.parts:
        begin = time.perf_counter()
        report[name] = []
        try:
            for row in PARTS[name](device, args.seconds):
                report[name].append(row)
                print(
                    name,
                    json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}),
                    flush=True,
                )
        except Exception as error:  # the other parts are worth having
            report[name].append({"error": f"{type(error).__name__}: {error}"})
            print(name, "failed:", report[name][-1]["error"], file=sys.stderr, flush=True)
        print(f"{name}: {time.perf_counter() - begin:.0f} s", flush=True)
        if args.json:
            args.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
