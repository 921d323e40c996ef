"""What a run on an environment may expect, from what a check saw and how fast it was."""

from __future__ import annotations

import math
from typing import Any

from muzero_wm.basis.registry import TORSOS
from muzero_wm.envs.base import EnvSpec
from muzero_wm.envs.checking.findings import Finding

FLAT_IMAGE = "an image as flat numbers"
LARGE_IMAGE = "an image that is too large"

_SMALL_IMAGE = 16 * 16  # cells; what is smaller is learnt without neighbours too
_MUCH_TIME = 0.3  # of acting, from which on processes for the environments are worth a thought
_SLOW_MS = 5.0  # of one step of all environments: messages to processes cost a tenth of a millisecond
_SOME_CHANCE = 0.05
_ENOUGH_EPISODES = 2


def judge_images(spec: EnvSpec, torso: str) -> Finding | None:
    """Returns that an image would be learnt as numbers without neighbours, or not at all; None where it is well.

    Args:
        spec: the environment.
        torso: of the network that training would take.
    """
    parts = spec.language.observed.parts if spec.language is not None else ()
    inside = next((part for part in parts if len(parts) > 1 and _is_large(part.shape)), None)
    network = None if torso == "auto" else TORSOS.find(torso)
    if inside is not None:
        shape, remedy = inside.shape, "show the image alone, for a convolutional network"
        seen = f"{inside.path[-1]!r}, an image of {shape[1]} x {shape[2]}, is put beside other parts"
    elif network is not None and _is_large(spec.observation_shape):
        shape = spec.observation_shape
        seen = f"an image of {shape[1]} x {shape[2]}"
        if (needs := network.refuses(spec)) is not None:
            remedy = "show it smaller, for example by resize=96 in its name"
            return Finding("error", LARGE_IMAGE, f"{seen}, and the network {torso} needs {needs}", remedy)
        if network.spatial:
            return None
        seen, remedy = f"{seen} is given to the network {torso}", "set model.torso to pixels"
    else:
        return None
    numbers = f"it would be learnt as {math.prod(shape):,} numbers of which none is beside another"
    return Finding("warning", FLAT_IMAGE, f"{seen}: {numbers}, and hardly generalise", remedy)


def expect(facts: dict[str, Any], built_in: bool, cores: int) -> list[str]:
    """Returns what a run may expect, a line each.

    Args:
        facts: of `check_env`, with what `bench_environment` measured as "speed".
        built_in: the environment is a board game of ours.
        cores: of this machine.
    """
    speed, returns, share = facts["speed"], facts.get("returns"), facts["chance_share"]
    lines = []
    if speed["share"] is not None:
        rate = 1.0 / (1.0 / speed["steps_per_second"] + 1.0 / speed["searches_per_second"])
        within = speed["max_minutes"]
        most = "" if within is None else f", at most {_rounded(60.0 * within * rate)} in its {within:g} minutes"
        lines.append(f"some {_rounded(rate)} steps a second{most}; fewer where learning takes longer than acting")
        if (told := workers(speed, built_in, cores)) is not None:
            lines.append(told)
    if returns is not None and facts["episodes"] >= _ENOUGH_EPISODES and returns["min"] == returns["max"]:
        lines.append(
            f"all {facts['episodes']} random episodes earn {returns['mean']:.4g}: something better must be met by "
            "chance before it can be learnt, which may take for ever"
        )
    elif returns is not None:
        lines.append(f"random play earns {returns['mean']:.4g} an episode: the return that training shows should rise")
    if share is not None and share >= _SOME_CHANCE:
        lines.append(
            f"chance decides {share:.0%} of what a step changes; the model learns what comes on average, so luck is "
            "neither foreseen nor insured against"
        )
    return lines


def workers(speed: dict[str, Any], built_in: bool, cores: int) -> str | None:
    """Returns whether processes for the environments would pay, None where they take little of the time anyway.

    Args:
        speed: from `bench_environment`.
        built_in: the environment is a board game of ours, which takes no workers.
        cores: of this machine.
    """
    if built_in or speed["share"] is None or speed["share"] <= _MUCH_TIME:
        return None
    count, ms = speed["num_envs"], 1e3 * speed["num_envs"] / speed["steps_per_second"]
    step = f"a step of all {count} environments takes {ms:.3g} ms"
    if ms < _SLOW_MS:
        return f"acting.env_workers would not pay: {step}"
    if cores <= 2:
        here = "one core" if cores == 1 else "two cores"
        return f"acting.env_workers would not pay on {here}: search and learner need them"
    return f"acting.env_workers would help where cores are free, {cores} there are: {step}"


def _is_large(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and math.prod(shape[1:]) >= _SMALL_IMAGE


def _rounded(number: float) -> str:
    """Returns a number with two digits that count."""
    digits = max(0, int(math.log10(max(number, 1.0))) - 1)
    return f"{round(number, -digits):,.0f}"
