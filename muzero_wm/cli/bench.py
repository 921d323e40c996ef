"""``muzero-wm bench``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from muzero_wm.basis.errors import UserError
from muzero_wm.cli.arguments import Command, CommandParser, add_parser, integer, json_argument, settings_argument

Report = dict[str, Any]


class MissingLibraryError(UserError):
    """Names a library that a benchmark needs."""


_WORDS = {
    "search": (
        "time the tree search, alone or with --network",
        "muzero-wm bench search --only 64,82,200 --json s.json",
    ),
    "inference": ("time the network in every way it can run", "muzero-wm bench inference --batch 1 128"),
    "atari": ("say where the time of training goes in Atari games", "muzero-wm bench atari Pong Breakout --seconds 20"),
    "learner": ("time the updates of presets", "muzero-wm bench learner connect4 --seconds 20"),
}


def _declare(bench: CommandParser) -> None:
    command = bench.get_default("command")
    bench.set_defaults(command=None)  # nothing to do until a benchmark is named
    kinds = bench.add_subparsers(metavar="BENCHMARK")
    parsers: dict[str, CommandParser] = {}
    for name, (what, example) in _WORDS.items():
        parsers[name] = kind = add_parser(kinds, name, what, example)
        kind.set_defaults(command=command, benchmark=name)
        kind.add_argument(
            "--seconds", type=_positive, default=1.0, metavar="S", help="for each measurement (default: 1)"
        )
        kind.add_argument("--threads", type=integer(1), default=1, metavar="N", help="threads (default: 1)")
        kind.add_argument("--seed", type=integer(0), default=0, metavar="N", help="of all numbers (default: 0)")
        json_argument(kind)
    search = parsers["search"]
    search.add_argument("--only", type=_case, metavar="B,A,S", help="one case: roots, actions, simulations")
    search.add_argument(
        "--model", choices=("random", "constant", "both"), default="both", help="the free network (default: both)"
    )
    search.add_argument(
        "--network",
        nargs="*",
        type=integer(1),
        metavar="B",
        help="with real networks instead, for B roots (default: 1 16 128)",
    )
    parsers["inference"].add_argument(
        "--batch", nargs="+", type=integer(1), metavar="B", help="batch sizes (default: 1 16 128 256)"
    )
    atari = parsers["atari"]
    atari.add_argument("games", nargs="*", metavar="GAME", help="which (default: Pong)")
    atari.add_argument("--preset", metavar="P", help="whose settings (default: as train would take here)")
    settings_argument(atari)
    learner = parsers["learner"]
    learner.add_argument("presets", nargs="*", metavar="PRESET", help="which (default: connect4 tictactoe)")
    settings_argument(learner)


def _positive(text: str) -> float:
    """Converts to a finite number > 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number > 0, got {text!r}")
    return value


def _case(text: str) -> tuple[int, int, int]:
    """Converts "roots,actions,simulations"."""
    parts = text.split(",")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"expected roots,actions,simulations like 64,82,200, got {text!r}")
    return int(parts[0]), int(parts[1]), int(parts[2])


def _run(args: argparse.Namespace) -> None:
    from muzero_wm.cli.reports import check_writable, progress_bar, write_json
    from muzero_wm.cli.tables import show

    check_writable(args.json)
    with progress_bar("measurements") as progress:
        report = _BENCHMARKS[args.benchmark](args, progress)
    show(report)
    write_json(args.json, report)


def _search(args: argparse.Namespace, progress: Callable[[int, int], None]) -> Report:
    common = {"seconds": args.seconds, "threads": args.threads, "seed": args.seed, "progress": progress}
    if args.network is not None:
        _needs_torch("search --network")
        from muzero_wm.bench.network import ROOTS, bench_network

        return bench_network(args.network or ROOTS, **common)
    from muzero_wm.bench.search import CASES, MODELS, bench_search

    models = MODELS if args.model == "both" else (args.model,)
    return bench_search([args.only] if args.only else CASES, models, **common)


def _inference(args: argparse.Namespace, progress: Callable[[int, int], None]) -> Report:
    _needs_torch("inference")
    from muzero_wm.bench.inference import BATCH_SIZES, bench_inference

    sizes = args.batch or BATCH_SIZES
    return bench_inference(sizes, seconds=args.seconds, threads=args.threads, seed=args.seed, progress=progress)


def _atari(args: argparse.Namespace, progress: Callable[[int, int], None]) -> Report:
    _needs_torch("atari")
    from muzero_wm.bench.atari import GAMES, bench_atari

    return bench_atari(
        args.games or GAMES,
        args.preset,
        args.set,
        seconds=args.seconds,
        threads=args.threads,
        seed=args.seed,
        progress=progress,
    )


def _learner(args: argparse.Namespace, progress: Callable[[int, int], None]) -> Report:
    _needs_torch("learner")
    from muzero_wm.bench.learner import PRESETS, bench_learner

    return bench_learner(
        args.presets or PRESETS,
        args.set,
        seconds=args.seconds,
        threads=args.threads,
        seed=args.seed,
        progress=progress,
    )


_BENCHMARKS: dict[str, Callable[[argparse.Namespace, Callable[[int, int], None]], Report]] = {
    "search": _search,
    "inference": _inference,
    "atari": _atari,
    "learner": _learner,
}


def _needs_torch(benchmark: str) -> None:
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingLibraryError(f"bench {benchmark}: needs torch; `bench search` runs without it") from None


COMMAND = Command("measure how fast this machine is", "muzero-wm bench search --network", _declare, _run)
