"""Three ways in which training goes wrong while every number stays finite, and the thresholds that tell.

Collapse: latents of different positions become alike, that is their mean deviation per dimension (`latent/std`) falls
below MIN_LATENT_STD or their effective rank (`latent/effective_rank`) below MIN_EFFECTIVE_RANK.

Explosion: predicted values, in the mean over a round (`value/abs_mean`), are more than EXPLOSION times the largest
return that the stored rewards and the length of the stored episodes make possible (`value/bound`).

Clipping: more than MAX_OUTSIDE of the targets (`value/outside`, `reward/outside`) lie beyond the bins they are learnt
by and count as the outermost one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from muzero_wm.replay.buffer import ReplayBuffer

MIN_LATENT_STD = 0.01
MIN_EFFECTIVE_RANK = 1.5
EXPLOSION = 1.5
MAX_OUTSIDE = 0.001


def return_bound(buffer: ReplayBuffer) -> float:
    """Returns the largest return any stored episode could have had: the largest reward at every step of the longest.

    Args:
        buffer: holds at least one episode.

    Returns:
        A number >= 0, in the units of targets; infinity where episodes were cut short and nothing is discounted.
    """
    ring, discount = buffer.ring, buffer.discount
    reward = float(np.abs(np.sign(ring["reward"]) if buffer.clip_rewards else ring["reward"]).max())
    steps = int(ring["to_end"].max())
    if reward == 0.0:
        return 0.0
    cut = (ring["to_end"] == 1) & ~ring["terminated"]  # the last step of an episode that a limit ended
    if cut.any():
        return reward / (1.0 - discount) if discount < 1.0 else float("inf")
    return reward * (steps if discount == 1.0 else (1.0 - discount**steps) / (1.0 - discount))


class HealthMonitor:
    """Turns metrics into flags, and into one warning each time a flag goes up.

    Args:
        promised: size of the values that a new network promises on purpose, which are no explosion.
    """

    def __init__(self, promised: float = 0.0) -> None:
        """Has seen nothing wrong yet."""
        self._promised = promised
        self._up: set[str] = set()
        self._clipped: set[str] = set()  # told once: the share of rare rewards comes and goes

    def watch(self, metrics: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
        """Judges the metrics of a round.

        Args:
            metrics: of the learner, with `value/bound` where it is known.

        Returns:
            The flags `health/latent_collapse`, `health/value_explosion`, `health/value_clipped` and
            `health/reward_clipped`, 0 or 1, where they can be judged; and the warnings that are due, one line each.
        """
        warnings: dict[str, str] = {}
        flags: dict[str, float] = {}
        if "latent/std" in metrics:
            std, rank = metrics["latent/std"], metrics["latent/effective_rank"]
            flags["health/latent_collapse"] = float(std < MIN_LATENT_STD or rank < MIN_EFFECTIVE_RANK)
            warnings["health/latent_collapse"] = (
                f"the latent collapses: deviation {std:.3g} per dimension (warned below {MIN_LATENT_STD}), effective "
                f"rank {rank:.3g} (below {MIN_EFFECTIVE_RANK}); every position looks alike to the model"
            )
        if "value/abs_mean" in metrics and metrics.get("value/bound", 0.0) > 0.0:
            value, bound = metrics["value/abs_mean"], metrics["value/bound"]
            flags["health/value_explosion"] = float(value > EXPLOSION * max(bound, self._promised))
            warnings["health/value_explosion"] = (
                f"predicted values explode: {value:.3g} in the mean, where no return can be beyond {bound:.3g} "
                f"(warned above {EXPLOSION:g} times that)"
            )
        for kind in ("value", "reward"):
            share = metrics.get(f"{kind}/outside")
            if share is None:
                continue
            flag, setting = f"health/{kind}_clipped", f"model.{kind}_support"
            clipped = share > MAX_OUTSIDE
            flags[flag] = float(clipped)
            if clipped and flag not in self._clipped:
                self._clipped.add(flag)
                warnings[flag] = (
                    f"{share:.2%} of the {kind} targets are beyond the bins of {setting} and are learnt as its ends; "
                    "begin a new run with wider ones, for numbers up to 160000 with "
                    f'--set "{setting}={{low: -12, high: 12, num_bins: 97, transform: symlog}}"'
                )
        now = {name for name, flag in flags.items() if flag}
        due = [warnings[name] for name in sorted(now - self._up) if name in warnings]
        self._up = now | (self._up - flags.keys())
        return flags, due


def latent_health(latent: Tensor) -> dict[str, float]:
    """Returns the collapse metrics of a batch of latents [n, d].

    `latent/std` is the mean deviation per dimension (0: every position looks alike), `latent/effective_rank` the
    number of directions in use (1: all on a line).
    """
    return {"latent/std": float(latent.std(0).mean()), "latent/effective_rank": effective_rank(latent)}


def effective_rank(latents: Tensor) -> float:
    """Returns exp(entropy) of the normalised singular values of centred latents.

    Source: Roy and Vetterli, "The effective rank" (EUSIPCO 2007).

    Args:
        latents: [n, d] floating point.

    Returns:
        A number in [1, min(n, d)]; 1 means collapse onto a line (or a point).
    """
    singular = torch.linalg.svdvals(latents.float() - latents.float().mean(0))
    total = singular.sum()
    if total <= 1e-12:
        return 1.0
    share = singular / total
    return float(torch.exp(-(share * torch.log(share.clamp_min(1e-12))).sum()))
