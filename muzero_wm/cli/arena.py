"""``muzero-wm arena``."""

from __future__ import annotations

import argparse
from pathlib import Path

from muzero_wm.cli.arguments import Command, CommandParser, device_argument, integer, json_argument
from muzero_wm.cli.lines import tell

_PLAYERS = """\
PLAYER is one of
  RUN             a run folder, or one with the two files of an agent
  RUN@2000        its checkpoint of 2000 updates; RUN@best, RUN@last, and RUN@all
                  for every one that is kept
  RUN:64          with 64 simulations a move, RUN:0 by the network alone; also
                  RUN@2000:64
  connect4        a shipped agent (`muzero-wm agents` lists them), also connect4:64;
                  a folder of that name wins, shipped:connect4 is never one
  random, perfect, mcts:N, or an opponent of your own
  gtp:COMMAND, uci:COMMAND
                  a program, for example "gtp:gnugo --mode gtp"
A folder whose name is like this wins; RUN/@2000 is always a checkpoint. A run
in a folder called random is ./random.
"""


def _declare(parser: CommandParser) -> None:
    parser.epilog = f"{_PLAYERS}\n{parser.epilog}"
    parser.add_argument("players", metavar="PLAYER", nargs="+", help="at least two, see below")
    parser.add_argument(
        "--games",
        type=integer(2),
        metavar="N",
        help="of every two players, an even number (default: 100; with --until-interval or --sprt the most, 1000)",
    )
    parser.add_argument("--env", metavar="ENV", help="environment, where no run names one")
    parser.add_argument(
        "--simulations",
        type=integer(0),
        metavar="S",
        help="of runs that name no number of their own (default: as they were trained)",
    )
    parser.add_argument("--anchor", metavar="PLAYER", help="whose rating is 0 (default: random, or the first)")
    parser.add_argument(
        "--until-interval",
        type=float,
        metavar="ELO",
        help="stop when no interval is wider than ELO points; who tells most plays next",
    )
    parser.add_argument(
        "--sprt",
        type=float,
        nargs=2,
        metavar=("ELO0", "ELO1"),
        help="two players: stop when it is clear whether the first is stronger by ELO0 or by ELO1 points",
    )
    parser.add_argument(
        "--opening-plies",
        type=integer(0),
        metavar="N",
        help="random moves before each pair of games (default: as many as make openings differ)",
    )
    parser.add_argument("--max-steps", type=integer(1), metavar="N", help="draw games there (default: by the rules)")
    parser.add_argument("--seed", type=integer(0), default=0, metavar="N", help="seed of everything (default: 0)")
    device_argument(parser)
    json_argument(parser)
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the ratings over the updates of runs (.png, .svg or .pdf)"
    )


def games_file(path: Path) -> Path:
    """Returns where finished games are kept, beside the numbers in `path`."""
    return path.with_name(f"{path.name}.games.jsonl")


def _run(args: argparse.Namespace) -> None:
    from muzero_wm.cli.reports import check_writable, progress_bar, write_json
    from muzero_wm.cli.standings import print_arena

    check_writable(args.json)
    if args.plot is not None:
        from muzero_wm.evaluation.plots import check_plot

        check_plot(args.plot)
    from muzero_wm.agents import shipped
    from muzero_wm.evaluation.ratings.arena import arena
    from muzero_wm.evaluation.ratings.pool import agent_of

    for word in args.players:
        if line := shipped.which(agent_of(word) or ""):
            tell(line)
    keep = None if args.json is None else games_file(args.json)
    try:
        with progress_bar("games", "moves side by side") as progress:
            result = arena(
                args.players,
                games=args.games,
                seed=args.seed,
                env=args.env,
                simulations=args.simulations,
                anchor=args.anchor,
                until_interval=args.until_interval,
                sprt=None if args.sprt is None else (args.sprt[0], args.sprt[1]),
                keep=keep,
                opening_plies=args.opening_plies,
                max_steps=args.max_steps,
                device=args.device,
                progress=progress,
            )
    except KeyboardInterrupt:
        kept = f"{keep} keeps the games that were finished, and the same command goes on"
        tell(f"Stopped: {'nothing is kept; with --json FILE finished games are' if keep is None else kept}.")
        raise
    print_arena(result)
    write_json(args.json, result.to_dict())
    if args.plot is not None:
        from muzero_wm.evaluation.ratings.picture import save_ratings

        save_ratings(args.plot, result)
        tell(f"Drawn: {args.plot}")


COMMAND = Command(
    "let runs, their checkpoints and others meet, and rate them",
    "muzero-wm arena runs/quickstart@all random mcts:100 --games 100 --json arena.json",
    _declare,
    _run,
)
