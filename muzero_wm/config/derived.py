"""Settings that follow from an environment alone, for a run that names no preset.

The spaces say the torso and the players; a short random roll-out says how large rewards are and how long episodes last.
Every choice comes with the reason that is shown to the user.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.basis.registry import PREFERRED_TORSOS, TORSOS
from muzero_wm.basis.seeding import pick, stream_keys
from muzero_wm.config import MAX_SYMLOG
from muzero_wm.envs import EnvSpec

PROBE_ENVS, PROBE_STEPS = 4, 256
_SHORT_DISCOUNT, _LONG_DISCOUNT = 0.97, 0.997
_FEWEST_STEPS, _MOST_STEPS = 100, 1000
_UNSEEN = 1000.0  # times as large as in random play may rewards and values become before they are beyond the bins
_SMALL_SEARCH, _FEW_ACTIONS = 16, 4  # EfficientZero V2 (arXiv:2403.00564) on Atari
_IMAGE_STEPS, _IMAGE_BATCH, _IMAGE_MIB = 5, 64, 2048.0
_VALUE_STEP, _REWARD_STEP = 0.3, 0.5  # between bins, in symlog: values have to be told apart more finely


@dataclass(frozen=True)
class Glimpse:
    """What random play showed.

    Attributes:
        steps: environment steps taken.
        lengths: steps of the episodes that ended.
        largest_reward: largest absolute reward.
        mean_size: mean absolute reward.
        mean_reward: mean reward.
    """

    steps: int
    lengths: NDArray[np.int64]
    largest_reward: float
    mean_size: float
    mean_reward: float


@dataclass
class Derived:
    """A preset made for one environment.

    Attributes:
        settings: nested settings, a layer over the defaults.
        lines: what was chosen and why, a line each.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def choose(self, why: str, **sections: dict[str, Any]) -> None:
        """Adds settings and their reason."""
        shown = []
        for section, values in sections.items():
            self.settings.setdefault(section, {}).update(values)
            shown += [f"{section}.{name} {_brief(value)}" for name, value in values.items()]
        self.lines.append(f"{why}: {', '.join(shown)}")


def derive(env: str, seed: int = 0) -> Derived:
    """Returns the settings that follow from an environment.

    Args:
        env: name of an environment.
        seed: of the random roll-out.

    Returns:
        The settings and their reasons.

    Raises:
        EnvError: the environment cannot be made, or fails within the roll-out.
    """
    spec = envs.spec(env)
    derived = Derived({"env": env})
    _choose_network(derived, spec)
    if spec.num_players == 2:
        _choose_for_two(derived, spec, glimpse(spec, seed))
    else:
        _choose_for_one(derived, spec, glimpse(spec, seed))
    return derived


def glimpse(spec: EnvSpec, seed: int = 0) -> Glimpse:
    """Plays random moves for a while.

    Args:
        spec: of the environment.
        seed: of environment and moves.

    Returns:
        What there was to see, in as many steps for every environment: the clock must not decide about settings.
    """
    env = envs.make(spec.name, PROBE_ENVS, seed)
    rewards, lengths, running = [], [], np.zeros(PROBE_ENVS, np.int64)
    try:
        step = env.reset()
        for t in range(PROBE_STEPS):
            keys = stream_keys(seed, "probe", np.arange(PROBE_ENVS), t)
            step = env.step(pick(step.legal_actions, keys))
            running += 1
            done = step.terminated | step.truncated
            lengths += running[done].tolist()
            running[done] = 0
            rewards.append(step.reward)
    finally:
        env.close()
    seen = np.concatenate(rewards)
    return Glimpse(
        steps=len(seen),
        lengths=np.array(lengths, np.int64),
        largest_reward=float(np.abs(seen).max()),
        mean_size=float(np.abs(seen).mean()),
        mean_reward=float(seen.mean()),
    )


def _choose_network(derived: Derived, spec: EnvSpec) -> None:
    suggestions = ((name, TORSOS.find(name).suggests(spec)) for name in PREFERRED_TORSOS)
    torso, (why, settings) = next((name, found) for name, found in suggestions if found is not None)
    derived.choose(why, model={"torso": torso, **settings})


def _has_pixels(derived: Derived) -> bool:
    return bool(derived.settings["model"]["torso"] == "pixels")


def _is_spatial(derived: Derived) -> bool:
    return bool(TORSOS.find(derived.settings["model"]["torso"]).spatial)


def _choose_for_two(derived: Derived, spec: EnvSpec, seen: Glimpse) -> None:
    spatial = _is_spatial(derived)
    length = float(seen.lengths.mean()) if len(seen.lengths) else float(PROBE_STEPS)
    low, high = spec.value_bounds or (-1.0, 1.0)
    turns = "taking turns" if spec.alternating else "whose turn it is follows from the game"
    derived.choose(
        f"two players, {turns}, results {low:g} to {high:g}",
        model={"value_support": _support(low, high), "reward_support": _support(low, high)},
        search={"discount": 1.0, "value_scale": 0.4, "rescale_floor": (high - low) / 2.0},
    )
    built_in = envs.is_built_in(spec.name)
    derived.choose(
        f"random games last {length:.0f} moves",
        acting={
            "num_envs": 256 if built_in else 128,
            "random_openings": 0.5,
            "max_random_plies": max(1, round(length / 3)),
        },
        replay={
            "n_step": 0,
            "outcome_weight": 0.5,
            "terminal_fraction": 0.2,
            "unroll_steps": 3,
            "min_steps": 4000,
        },
        learning={
            "updates_per_round": 16,
            "terminal_weight": 2.0,
            "self_prediction_weight": 2.0 if spatial else 0.3,
            "max_minutes": 10.0,
        },
    )


def _choose_for_one(derived: Derived, spec: EnvSpec, seen: Glimpse) -> None:
    spatial, pixels = _is_spatial(derived), _has_pixels(derived)
    longest = int(seen.lengths.max()) if len(seen.lengths) else _MOST_STEPS
    # random play seldom lasts, and a limit may be far beyond what anybody reaches
    horizon = min(max(10 * longest, _FEWEST_STEPS), spec.max_episode_steps or _MOST_STEPS)
    discount = round(min(max(1.0 - 3.0 / horizon, _SHORT_DISCOUNT), _LONG_DISCOUNT), 4)
    seen_episodes = f"random episodes of up to {longest} steps" if len(seen.lengths) else "no random episode ended"
    derived.choose(
        f"one player, {seen_episodes}, {horizon} steps to look ahead",
        search={
            "discount": discount,
            **({} if pixels else {"num_simulations": 25}),
            "rescale_share": 0.25,
            "final_rescale_share": 0.1,
        },
        acting={"num_envs": 64, "random_moves": 0.4, "min_noise": 0.0},
        replay={
            "max_steps": 200_000,
            "min_steps": 2000,
            **({} if pixels else {"unroll_steps": 3 if spatial else 5, "n_step": _returns(discount)}),
            "bootstrap": "teacher",
            "priority_exponent": 0.6,
            "symmetries": False,
        },
    )
    if pixels:
        derived.choose(
            "images are dear to look at and to keep: a small search, short returns, a small batch, more memory",
            search={"num_simulations": _SMALL_SEARCH, "max_num_considered_actions": _FEW_ACTIONS},
            replay={"max_mib": _IMAGE_MIB, "unroll_steps": _IMAGE_STEPS, "n_step": _IMAGE_STEPS},
            learning={"batch_size": _IMAGE_BATCH},
        )
    if spec.value_bounds is not None:
        largest = value = spec.value_bounds[1] - spec.value_bounds[0]
    else:
        # who plays well may see other numbers than random play
        largest = 1.25 * max(1.0, seen.largest_reward)
        steps = min(float(horizon), 1.0 / (1.0 - discount))
        value = _UNSEEN * (largest + 1.5 * steps * max(seen.mean_size, 0.1 * largest))
        largest *= _UNSEEN
    # a new network hopes that what was not tried goes on as random play does, for ever, and is worth 0 at least
    hope = max(0.0, seen.mean_reward) / (1.0 - discount)
    derived.choose(
        f"rewards of up to {seen.largest_reward:g}, {seen.mean_reward:.3g} on average",
        model={
            "reward_support": _wide(largest, _REWARD_STEP),
            "value_support": _wide(value, _VALUE_STEP),
            "initial_value": float(f"{hope:.3g}"),
        },
        search={"rescale_floor": round(0.02 * max(seen.largest_reward, 0.5), 4)},
    )
    derived.choose(
        "what such environments take",
        learning={"learning_rate": 3e-3 if spatial else 1e-3, "updates_per_round": 16, "max_minutes": 20.0},
    )


def _returns(discount: float) -> int:
    """Returns after how many steps returns end with a value: a tenth of how far the discount reaches."""
    return round(min(max(0.1 / (1.0 - discount), 5.0), 30.0))


def _support(low: float, high: float) -> dict[str, Any]:
    """Returns bins for results between two bounds: three for win, draw and loss."""
    bins = 3 if (low, high) == (-1.0, 1.0) else int(min(max(high - low, 2.0), 200.0)) // 2 * 2 + 1
    return {"low": low, "high": high, "num_bins": bins, "transform": False}


def _wide(bound: float, step: float) -> dict[str, Any]:
    """Returns bins from -bound to bound and hardly farther, `step` apart in symlog."""
    each_side = math.ceil(min(math.log1p(bound), MAX_SYMLOG - step) / step)
    end = round(each_side * step, 2)
    return {"low": -end, "high": end, "num_bins": 2 * each_side + 1, "transform": "symlog"}


def _brief(value: Any) -> str:
    """Returns a setting in a few characters."""
    if isinstance(value, dict):
        if value["transform"] == "symlog":
            return (
                f"{-math.expm1(-value['low']):.3g}..{math.expm1(value['high']):.3g} ({value['num_bins']} bins, symlog)"
            )
        return f"{value['low']:g}..{value['high']:g} ({value['num_bins']} bins)"
    return f"{value:g}" if isinstance(value, float) else str(value)
