"""``muzero-wm train``."""

from __future__ import annotations

import argparse
import sys

from muzero_wm.cli.arguments import Command, CommandParser, integer, settings_argument
from muzero_wm.cli.lines import tell


def _declare(parser: CommandParser) -> None:
    parser.add_argument(
        "source", nargs="?", metavar="PRESET|FILE|ENV", help="name of a preset, a YAML file, or an environment"
    )
    parser.add_argument("--env", metavar="ENV", help="environment; with it alone, the preset follows from it")
    parser.add_argument("--run-dir", metavar="DIR", help="where the run is kept (default: runs/<name>-<n>)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --run-dir")
    parser.add_argument("--seed", type=integer(0), metavar="N", help="seed of the run")
    parser.add_argument("--max-minutes", type=float, metavar="M", help="stop after M minutes")
    parser.add_argument("--max-updates", type=integer(1), metavar="N", help="stop after N updates")
    parser.add_argument("--max-steps", type=integer(1), metavar="N", help="stop after N steps of all environments")
    parser.add_argument("--device", metavar="D", help="auto, cpu, cuda or cuda:N (the setting run.device)")
    settings_argument(parser)


def _run(args: argparse.Namespace) -> None:
    tell("Reading the settings ...")  # what follows is silent for seconds, and for longer the first time
    from muzero_wm.config.presets import plan_run

    config, run_dir = plan_run(
        args.source,
        run_dir=args.run_dir,
        resume=args.resume,
        env=args.env,
        seed=args.seed,
        overrides=[*args.set, *([] if args.device is None else [f"run.device={args.device}"])],
        max_minutes=args.max_minutes,
        max_updates=args.max_updates,
        max_steps=args.max_steps,
        tell=tell,
    )
    tell("Importing PyTorch, loading compiled kernels ...")
    from muzero_wm.training import train

    tell("Making the network, looking for what evaluates it fastest here ...")
    try:
        train(config, run_dir, resume=args.resume)
    except KeyboardInterrupt as interrupt:
        what = "the run is saved" if getattr(interrupt, "saved", True) else "ended at once; the last checkpoint stands"
        print(f"{what}; go on with: muzero-wm train --resume --run-dir {run_dir}", file=sys.stderr)
        raise
    print(f"The run is in {run_dir}. Next: muzero-wm evaluate {run_dir}")


COMMAND = Command(
    "train an agent",
    "muzero-wm train connect4 --seed 1 --max-minutes 5 --set search.num_simulations=50",
    _declare,
    _run,
)
