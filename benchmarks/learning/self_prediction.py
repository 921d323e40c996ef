"""Connect Four with self-prediction off, against the online encoder (stop-gradient), and against the EMA teacher.

Same budget of updates, same seeds, everything else equal: games are played with the online weights in all three, so
that `ema_decay` reaches nothing but the self-prediction. Strength is the share of solved positions in which the move
chosen keeps the game-theoretic outcome. One process per run:
    python benchmarks/learning/self_prediction.py run off --seed 0 --updates 4000 --json off-0.json
    python benchmarks/learning/self_prediction.py table *.json --plot docs/self_prediction.png
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from muzero_wm.agent import Agent
from muzero_wm.bench.machine import describe
from muzero_wm.config.presets import load_config
from muzero_wm.evaluation.solved import share_kept
from muzero_wm.learning.learner import Learner
from muzero_wm.run.progress import Progress
from muzero_wm.training import train

VARIANTS = {
    "off": ["learning.self_prediction_weight=0", "model.ema_decay=0.99"],
    "stop-gradient": ["model.ema_decay=0"],
    "ema": ["model.ema_decay=0.99"],
}
COMMON = ["acting.process=false", "acting.ema_weights=false", "learning.max_minutes=null", "run.tensorboard=false"]
POINTS = 8


def run(args: argparse.Namespace) -> None:
    """Trains one variant with one seed and writes its curve."""
    overrides = [*COMMON, *VARIANTS[args.variant], *args.set]
    config = load_config("connect4", seed=args.seed, overrides=overrides, max_updates=args.updates)
    curve: list[dict[str, Any]] = []

    def measure(learner: Learner, progress: Progress) -> None:
        if learner.updates < args.updates * (len(curve) + 1) / POINTS:
            return
        agent = Agent(config, learner.spec, learner.model, learner.updates)
        kept = share_kept(agent, num_simulations=args.simulations, count=args.positions)
        learner.model.train()
        curve.append({"updates": learner.updates, "games": progress.games, "elapsed": progress.elapsed, **kept})
        print(args.variant, args.seed, curve[-1], flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        train(config, Path(scratch) / "run", on_round=measure)
        rows = [json.loads(line) for line in (Path(scratch) / "run" / "metrics.jsonl").read_text().splitlines()]
    health = [{k: row[k] for k in row if k == "updates" or k.startswith(("latent/", "loss/"))} for row in rows]
    entry = {"variant": args.variant, "seed": args.seed, "machine": describe(), "curve": curve, "health": health}
    args.json.write_text(json.dumps(entry))


def table(args: argparse.Namespace) -> None:
    """Prints the curves of several runs, seeds side by side, and draws them."""
    runs = [json.loads(path.read_text()) for path in args.files]
    for entry in sorted(runs, key=lambda entry: (entry["variant"], entry["seed"])):
        points = "  ".join(f"{p['updates']}: {p['share_kept']:.3f}/{p['raw_policy']:.3f}" for p in entry["curve"])
        last = entry["health"][-1]
        print(f"{entry['variant']:14} seed {entry['seed']}  {points}")
        print(f"{'':14} latent std {last.get('latent/std')}, effective rank {last.get('latent/effective_rank')}")
    if args.plot:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(figsize=(6.4, 4.2))
        for colour, variant in zip(("tab:red", "tab:orange", "tab:blue"), VARIANTS, strict=True):
            curves = [entry["curve"] for entry in runs if entry["variant"] == variant]
            updates = np.mean([[p["updates"] for p in curve] for curve in curves], 0)
            for key, name, style in (("share_kept", "search", "-"), ("raw_policy", "raw policy", ":")):
                shares = np.array([[p[key] for p in curve] for curve in curves])
                axes.plot(updates, shares.mean(0), style, color=colour, label=f"{variant}, {name}")
                axes.fill_between(updates, shares.min(0), shares.max(0), color=colour, alpha=0.12)
        axes.set(xlabel="updates", ylabel="share of solved positions kept", title="Connect Four, self-prediction")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        figure.tight_layout()
        figure.savefig(args.plot, dpi=120)


def main() -> None:
    """Parses the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("run", help="train one variant")
    one.add_argument("variant", choices=VARIANTS)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--updates", type=int, default=4000)
    one.add_argument("--positions", type=int, default=500)
    one.add_argument("--simulations", type=int, default=32)
    one.add_argument("--set", action="extend", nargs="+", default=[], metavar="A.B=C")
    one.add_argument("--json", type=Path, required=True)
    one.set_defaults(call=run)
    many = commands.add_parser("table", help="print and draw finished runs")
    many.add_argument("files", type=Path, nargs="+")
    many.add_argument("--plot", type=Path)
    many.set_defaults(call=table)
    args = parser.parse_args()
    args.call(args)


if __name__ == "__main__":
    main()
