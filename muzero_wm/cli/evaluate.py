"""``muzero-wm evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muzero_wm.cli.arguments import (
    Command,
    CommandParser,
    device_argument,
    integer,
    json_argument,
    run_argument,
    run_or_shipped,
    simulations_argument,
)
from muzero_wm.cli.lines import tell

if TYPE_CHECKING:
    from muzero_wm.agent import Agent

GAMES = 100


def _declare(parser: CommandParser) -> None:
    run_argument(parser)
    parser.add_argument(
        "--opponent",
        metavar="O",
        help="random, perfect, mcts:N with N playouts a move, gtp:COMMAND or uci:COMMAND for another program "
        "('gtp:gnugo --level 1'), or your own (default: the strongest there is time for)",
    )
    parser.add_argument(
        "--checkpoint",
        type=_checkpoint,
        default="last",
        metavar="C",
        help="last, best (by run.keep_best) or a number of updates (default: last)",
    )
    parser.add_argument("--games", type=integer(1), metavar="N", help=f"games (default: {GAMES})")
    parser.add_argument(
        "--positions",
        type=integer(1),
        metavar="N",
        help="instead of games: moves and values in N positions with exact scores (connect4, tictactoe)",
    )
    parser.add_argument(
        "--max-steps",
        type=integer(1),
        metavar="N",
        help="cut games there (default: the environment's limit, else 5000)",
    )
    simulations_argument(parser)
    parser.add_argument(
        "--seed", type=integer(0), default=0, metavar="N", help="seed of games or positions (default: 0)"
    )
    device_argument(parser)
    json_argument(parser)
    parser.add_argument(
        "--video", type=Path, metavar="FILE", help="film one more episode, with what the agent thinks (.mp4 or .gif)"
    )


def _checkpoint(text: str) -> Any:
    """Returns which checkpoint was meant."""
    if text in ("last", "best") or (text.isdecimal() and len(text) <= 18):
        return text if text in ("last", "best") else int(text)
    raise argparse.ArgumentTypeError(f"expected last, best or a number of updates, got {text[:40]!r}")


def _run(args: argparse.Namespace) -> None:
    from muzero_wm.cli.reports import check_writable, progress_bar, write_json

    word = run_or_shipped(args.run)
    check_writable(args.json)
    if args.video is not None:
        from muzero_wm.evaluation.film import check_film

        check_film(args.video)
    from muzero_wm import agent

    if args.positions is not None:
        from muzero_wm.cli.positions import check_options, measure_positions

        check_options(args)
        trained = agent.load(word, args.checkpoint, device=args.device)
        report = measure_positions(args, trained)
    else:
        trained = agent.load(word, args.checkpoint, device=args.device)
        report = _play(args, trained)
    write_json(args.json, report)
    if args.video is not None:
        from muzero_wm.evaluation.film import MOST_STEPS, write_film

        with progress_bar("steps") as progress:
            film = write_film(
                args.video, trained, args.simulations, args.seed, args.max_steps or MOST_STEPS, progress=progress
            )
        end = "" if film.ended else ", where the film ends"
        tell(f"Filmed {film.steps} steps{end}, return {film.result:g}: {film.path}")


def _play(args: argparse.Namespace, trained: Agent) -> dict[str, Any]:
    """Plays games, prints what came of them and returns it."""
    from muzero_wm.cli.reports import print_evaluation, progress_bar
    from muzero_wm.evaluation import evaluate

    games, opponent = args.games or GAMES, args.opponent
    if opponent is None and trained.spec.num_players == 2:
        from muzero_wm.evaluation.affordable import affordable_opponent

        opponent = affordable_opponent(trained.spec, games, tell)
    with progress_bar("games", "moves") as progress:
        report = evaluate(
            trained,
            opponent=opponent,
            games=games,
            simulations=args.simulations,
            seed=args.seed,
            progress=progress,
            max_steps=args.max_steps,
        )
    print_evaluation(report)
    return report


COMMAND = Command(
    "measure an agent, against an opponent where there are two players",
    "muzero-wm evaluate runs/quickstart --opponent mcts:1000 --games 100 --json result.json",
    _declare,
    _run,
)
