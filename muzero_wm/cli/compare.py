"""``muzero-wm compare``."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muzero_wm.basis.errors import UserError
from muzero_wm.cli.arguments import (
    Command,
    CommandParser,
    integer,
    json_argument,
    run_folder,
    simulations_argument,
)
from muzero_wm.cli.lines import tell

if TYPE_CHECKING:
    from muzero_wm.evaluation.compare import Outcome


def _declare(parser: CommandParser) -> None:
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="a run folder, or NAME=RUN,RUN for runs that differ by their seed only; the same NAME may come again",
    )
    parser.add_argument(
        "--episodes",
        type=integer(0),
        default=20,
        metavar="N",
        help="of each run, or games between two players; 0 for the learning curves alone (default: 20)",
    )
    parser.add_argument(
        "--opponent", metavar="O", help="two players: whom all meet (default: the strongest there is time for)"
    )
    simulations_argument(parser)
    parser.add_argument("--seed", type=integer(0), default=0, metavar="N", help="of the episodes (default: 0)")
    json_argument(parser)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the learning curves (.png, .svg or .pdf)")


def grouped(words: Sequence[str]) -> dict[str, list[Path]]:
    """Returns the folders of runs by the name of their group.

    Args:
        words: RUN, which is called as its folder where no other is, or NAME=RUN,RUN. A folder is a run, whatever its
            name.

    Raises:
        UserError: a run is not there, comes twice, or a name stands for nothing.
    """
    from muzero_wm.agents import shipped

    pairs: list[tuple[str, Path]] = []
    for word in words:
        name, equals, folders = word.partition("=")
        named = bool(equals) and not Path(word).exists()
        parts = folders.split(",") if named else [word]
        if (named and not name) or not all(parts):
            raise UserError(f"{word!r}: expected RUN or NAME=RUN,RUN, for example wide=runs/wide-0,runs/wide-1")
        for part in parts:
            if (known := shipped.named(part)) is not None:
                what = shipped.without_a_run(known, "no learning curve")
                raise UserError(f"{what}; `muzero-wm arena {part} RUN` rates it beside runs")
            folder = run_folder(part)
            if any(folder.resolve() == other.resolve() for _, other in pairs):
                raise UserError(f"{part}: comes twice, and every run counts once")
            pairs.append((name if named else "", folder))
    ends = Counter(name or folder.resolve().name for name, folder in dict.fromkeys(pairs))
    groups: dict[str, list[Path]] = {}
    for name, folder in pairs:
        short = folder.resolve().name
        groups.setdefault(name or (short if ends[short] == 1 else str(folder)), []).append(folder)
    return groups


def _run(args: argparse.Namespace) -> None:
    from muzero_wm.cli.comparison import print_comparison, print_runs
    from muzero_wm.cli.reports import check_writable, progress_bar, write_json

    groups = grouped(args.runs)
    check_writable(args.json)
    if args.plot is not None:
        from muzero_wm.evaluation.plots import check_plot

        check_plot(args.plot)
    from muzero_wm.evaluation.compare import compare, measure

    with progress_bar("episodes") as progress:
        outcomes, opponents = measure(
            groups,
            args.episodes,
            args.seed,
            simulations=args.simulations,
            opponent=args.opponent,
            progress=progress,
            tell=tell,
        )
    report: dict[str, Any] = {"episodes": args.episodes, "seed": args.seed, "opponents": opponents}
    report["runs"] = [_described(each) for each in outcomes]
    print_runs(report)
    if args.episodes:
        report |= compare(outcomes, args.seed)
        print_comparison(report)
    for line in dict.fromkeys(doubt for each in outcomes for doubt in each.learning.doubts):
        tell(line)
    write_json(args.json, report)
    if args.plot is not None:
        from muzero_wm.evaluation.plots import save_curves

        save_curves(args.plot, dict(_curves(outcomes)))
        tell(f"Learning curves: {args.plot}")


def _described(outcome: Outcome) -> dict[str, Any]:
    """Returns what is known of one run, ready for JSON."""
    played = {"mean": float(outcome.scores.mean()), "scores": outcome.scores} if len(outcome.scores) else {}
    return {
        "group": outcome.group,
        "run": str(outcome.folder),
        "env": outcome.env,
        "updates": outcome.updates,
        "simulations": outcome.simulations,
        "trained": outcome.learning.last,
        **played,
        "curves": {
            measure: {**curve.x, measure.partition("/")[2]: curve.y}
            for measure, curve in outcome.learning.curves.items()
        },
    }


def _curves(outcomes: Sequence[Outcome]) -> Iterable[tuple[str, Any]]:
    """Yields the curves of all runs, those of one group in one colour, environments apart."""
    from dataclasses import replace

    several = len({each.env for each in outcomes}) > 1
    for each in outcomes:
        for measure, curve in each.learning.curves.items():
            name = f"{each.env}\n{curve.name}" if several else curve.name
            yield f"{each.folder} {measure}", replace(curve, name=name, label=each.group)


COMMAND = Command(
    "put runs side by side: the same episodes for all, with intervals, and their learning curves",
    "muzero-wm compare wide=runs/wide-0,runs/wide-1 narrow=runs/narrow-0,runs/narrow-1 --plot curves.png",
    _declare,
    _run,
)
