"""Puts the agent of a run into the package: exports it in half precision, measures it and writes its card.

python benchmarks/learning/ship.py runs/othello othello6 --trained-on "two cores of an AMD EPYC 7763"

It goes to muzero_wm/agents/NAME, where everybody finds it by its name; an agent that is there already is replaced.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import muzero_wm
from muzero_wm import envs
from muzero_wm.agent import Agent
from muzero_wm.agents import shipped
from muzero_wm.basis.errors import UserError
from muzero_wm.bench.machine import machine
from muzero_wm.cli.arguments import integer
from muzero_wm.config import Config
from muzero_wm.config.presets import load_config, preset_names
from muzero_wm.evaluation.evaluate import EXHAUSTIVE_ENVS, evaluate
from muzero_wm.evaluation.exact import exact_game
from muzero_wm.evaluation.exhaustive import play_every_reply
from muzero_wm.evaluation.grading import grade
from muzero_wm.evaluation.players import AgentPlayer
from muzero_wm.storage.exported import WEIGHTS

FORMAT = 1
MOST_BYTES = 2_000_000
KEPT = ("opponent", "games", "wins", "draws", "losses", "score", "ci95", "distinct_games", "opening_plies", "seats")
OPPONENTS = ("random", "mcts:100", "mcts:1000", "perfect")


def command_of(config: Config) -> str:
    """Returns the shortest command whose run has a configuration, whatever its own command was."""
    budget = {name: value for name in ("max_minutes", "max_updates", "max_steps")
              if (value := getattr(config.learning, name)) is not None}  # fmt: skip
    wanted = flat(config.model_dump(mode="json"))
    found: list[list[str]] = []
    for source in (*preset_names(), None):
        base = load_config(source, env=config.env if source is None else None, seed=config.seed, **budget)
        if base.env == config.env:
            given = flat(base.model_dump(mode="json"))
            found.append([source or config.env, *(f"{k}={json.dumps(v)}" for k, v in wanted.items() if given[k] != v)])
    source, *settings = min(found, key=len)
    words = ["muzero-wm", "train", source, "--seed", str(config.seed)]
    for name, value in budget.items():
        words += [f"--{name.replace('_', '-')}", f"{value:g}" if name == "max_minutes" else str(value)]
    return shlex.join([*words, *(["--set", *settings] if settings else [])])


def flat(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Returns the settings of a configuration by their dotted paths."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, dict) and value
        found |= flat(value, f"{path}{key}.") if nested else {f"{path}{key}": value}
    return found


def halving(agent: Agent, half: Agent, positions: int, seed: int) -> dict[str, Any]:
    """Returns what half precision changes in positions of random games."""
    env, rng = envs.make(agent.spec.name, positions, seed), np.random.default_rng(seed)
    step, kept = env.reset(), []
    for _ in range(agent.spec.max_episode_steps or 100):
        kept.append((step.observation, step.legal_actions))
        step = env.step((rng.random(step.legal_actions.shape) * step.legal_actions).argmax(1))
    plies = rng.integers(0, len(kept), positions)
    observations = np.stack([kept[ply][0][i] for i, ply in enumerate(plies)])
    legal = np.stack([kept[ply][1][i] for i, ply in enumerate(plies)])
    (policy, value), (policy_half, value_half) = (each.policy(observations, legal) for each in (agent, half))
    moves, moves_half = (each.search(observations, legal).action for each in (agent, half))
    return {
        "positions": positions,
        "same_move": float((moves == moves_half).mean()),
        "largest_policy_difference": float(np.abs(policy - policy_half).max()),
        "largest_value_difference": float(np.abs(value - value_half).max()),
    }


def training(run: Path, updates: int) -> dict[str, Any]:
    """Returns what the log of a run says of the moment at which it had made so many updates, and of its end."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    then = next((row for row in rows if row["updates"] >= updates), rows[-1])
    return {
        "steps": then["steps"],
        "games": then["games"],
        "minutes": round(then["elapsed"] / 60, 1),
        "updates_of_the_run": rows[-1]["updates"],
    }


def matches(agent: Agent, opponents: list[str], games: int, seed: int) -> list[dict[str, Any]]:
    """Returns what came of games against others, by search and by the network alone."""
    found = []
    for opponent in opponents:
        print(f"{games} games against {opponent} ...", flush=True)
        try:
            report = evaluate(agent, opponent, games, seed=seed)
        except UserError as error:
            print(f"  left out: {error}")
            continue
        result = {key: report[key] for key in KEPT}
        result["network_alone"] = {key: report["raw_policy"][key] for key in ("score", "ci95")}
        found.append(result)
        print(f"  {summary(result)}", flush=True)
    return found


def every_reply(agent: Agent, seed: int) -> dict[str, int] | None:
    """Returns the results against every sequence of replies, None where there are too many."""
    if agent.spec.name not in EXHAUSTIVE_ENVS:
        return None
    found = play_every_reply(agent.spec.name, AgentPlayer(agent, None, seed).choose)
    return {key: found[key] for key in ("games", "wins", "draws", "losses")}


def solved(agent: Agent, positions: int, seed: int) -> dict[str, Any] | None:
    """Returns how often the best outcome is kept in solved positions, None where the game is not solved."""
    try:
        exact_game(agent.spec.name)
    except UserError:
        return None
    print(f"{positions} solved positions ...", flush=True)
    report = grade(agent, positions, None, seed)
    kept = {who: report[who]["kept"] for who in ("search", "raw_policy", "random")}
    return {"positions": report["positions"], "outcome_kept": kept}


def summary(match: Mapping[str, Any]) -> str:
    """Returns the points of a match in a line."""
    low, high = match["ci95"]
    counts = f"{match['wins']} won, {match['draws']} drawn, {match['losses']} lost"
    return f"{counts}: {100 * match['score']:.1f} % of the points ({100 * low:.1f} to {100 * high:.1f})"


def text(card: Mapping[str, Any]) -> str:
    """Returns a card for people."""
    trained, weights, measured, half = (card[key] for key in ("trained", "weights", "evaluated", "half_precision"))
    size = f"{weights['numbers']:,} weights in half precision, {weights['bytes'] / 1000:.0f} kB"
    lasted = f"{trained['updates']:,} updates on {trained['games']:,} games of itself, {trained['minutes']:g} minutes"
    part = trained["updates_of_the_run"] != trained["updates"]
    of_run = f", a checkpoint of a run of {trained['updates_of_the_run']:,} updates" if part else ""
    changed = f"{100 * (1 - half['same_move']):.1f} % of {half['positions']:,} positions"
    lines = [
        f"# {card['name']}",
        "",
        f"Plays `{card['env']}` with {card['simulations']} simulations a move: `muzero-wm play {card['name']}`.",
        "",
        f"- Network: {card['network']}, {size}.",
        f"- Training: {lasted} on {trained['machine']}, seed {trained['seed']}{of_run}:",
        f"  `{trained['command']}`",
        f"- Half precision changes the move in {changed}.",
        "",
        f"Measured with seed {measured['seed']}, {measured['date']}, {measured['machine']}; 95 % intervals:",
        "",
        "| against | games | won / drawn / lost | points, % | by the network alone |",
        "|---|---|---|---|---|",
    ]
    for match in measured["matches"]:
        (low, high), alone = match["ci95"], match["network_alone"]["score"]
        lines.append(
            f"| `{match['opponent']}` | {match['games']} | {match['wins']} / {match['draws']} / {match['losses']} "
            f"| {100 * match['score']:.1f} ({100 * low:.1f} to {100 * high:.1f}) | {100 * alone:.1f} |"
        )
    if (every := measured["exhaustive"]) is not None:
        lines += ["", f"Against every sequence of replies: {every['losses']} losses in {every['games']} games."]
    if (exact := measured["solved"]) is not None:
        kept = {who: 100 * found["share"] for who, found in exact["outcome_kept"].items()}
        said = f"{kept['search']:.1f} % with search, {kept['raw_policy']:.1f} % by the network alone"
        lines += [
            "",
            f"In {exact['positions']:,} solved positions moves keep the outcome of best play in {said}, "
            f"random ones in {kept['random']:.1f} %.",
        ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Reads the words of the command line, measures and writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("name", help="of the agent: small letters and digits")
    parser.add_argument("--trained-on", metavar="TEXT", required=True, help="the machine of the run")
    parser.add_argument("--checkpoint", default="last", metavar="C", help="last, best or a number of updates")
    parser.add_argument(
        "--opponents", nargs="+", default=list(OPPONENTS), metavar="O", help="those that there are count"
    )
    parser.add_argument("--games", type=integer(2), default=200, metavar="N", help="against each (default: 200)")
    parser.add_argument("--positions", type=integer(1), default=1000, metavar="N", help="solved ones (default: 1000)")
    parser.add_argument("--seed", type=integer(0), default=0, metavar="N", help="of the evaluation (default: 0)")
    args = parser.parse_args()
    if not re.fullmatch(r"[a-z][a-z0-9]*", args.name) or args.name in ("random", "perfect", "mcts", "shipped"):
        parser.error(f"name: expected small letters and digits that name no opponent, got {args.name!r}")
    checkpoint = int(args.checkpoint) if args.checkpoint.isdecimal() else args.checkpoint
    try:
        agent = muzero_wm.load(args.run, checkpoint)
    except UserError as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / args.name
        agent.save(folder, half=True)
        size = (folder / WEIGHTS).stat().st_size
        if size > MOST_BYTES:
            parser.error(f"{WEIGHTS}: expected at most {MOST_BYTES:,} bytes, got {size:,}; train a smaller network")
        half, about = muzero_wm.load(folder), machine()
        card = {
            "format": FORMAT,
            "name": args.name,
            "env": agent.spec.name,
            "simulations": agent.config.search.num_simulations,
            "network": f"{agent.model.torso.name}, {agent.config.model.width} wide",
            "weights": {
                "numbers": sum(w.numel() for w in agent.model.parameters()),
                "bytes": size,
                "precision": "float16",
            },
            "trained": {
                "command": command_of(agent.config),
                "seed": agent.config.seed,
                "updates": agent.updates,
                **training(args.run, agent.updates),
                "machine": args.trained_on,
            },
            "half_precision": halving(agent, half, 1000, args.seed),
            "evaluated": {
                "seed": args.seed,
                "date": about["date"],
                "machine": about["processor"],
                "version": muzero_wm.__version__,
                "matches": matches(half, args.opponents, args.games, args.seed),
                "exhaustive": every_reply(half, args.seed),
                "solved": solved(half, args.positions, args.seed),
            },
        }
        (folder / shipped.CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        (folder / shipped.TEXT).write_text(text(card), encoding="utf-8")
        goal = shipped.folder(args.name)
        shutil.rmtree(goal, ignore_errors=True)
        shutil.copytree(folder, goal)
    print(f"\n{text(card)}\nShipped: {goal}")


if __name__ == "__main__":
    main()
