"""Does chance act within an episode, and how much of a step does it decide?

An episode that is repeatable is played again up to some step, and chance is drawn anew there (`SingleEnv.stir`): what
then differs is chance, for certain. Where it cannot be drawn anew, other reset seeds may still begin alike and go on
differently. That nothing was seen is no proof: chance may be rare, or drawn from where nobody can reach.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs.checking.trial import Episode, first_difference, replayed
from muzero_wm.envs.slots.single import Moment, SingleEnv

_TRIED_SEEDS, _TRIED_STEPS, _ENOUGH_TRIES = 3, 50, 5


@dataclass(frozen=True)
class Chance:
    """What was seen of chance.

    Attributes:
        told: where it acts and how sure that is, in words.
        share: what another draw changes, measured by what a step changes, on average from 0 to 1; None where chance
            could not be drawn anew at any step.
        surely: what the share is at least, were more steps looked at: two standard errors below; 0 for few steps.
        tried: at how many steps it was drawn anew.
    """

    told: str
    share: float | None = None
    surely: float = 0.0
    tried: int = 0


def look_for_chance(env: SingleEnv, episodes: Sequence[Episode], tries: int, seconds: float) -> Chance:
    """Plays episodes again, with other reset seeds and with chance drawn anew within them.

    Args:
        env: an environment whose episodes follow from their reset seeds.
        episodes: that were played in it, one of them with a step at least.
        tries: steps at which to draw anew.
        seconds: to spend on that.

    Returns:
        What was seen.
    """
    longest = max(episodes, key=lambda episode: len(episode.shown))
    begun = longest._replace(shown=longest.shown[: _TRIED_STEPS + 1])
    seeds = [(longest.seed + other) % 2**31 for other in range(1, 1 + _TRIED_SEEDS)]
    partings = [first_difference(begun.shown, replayed(env, begun, seed)) for seed in seeds]
    parted = [parting[0] for parting in partings if parting is not None]
    starts_differ, later_differ = 0 in parted, any(step > 0 for step in parted)
    changes = _changes(env, episodes, tries, seconds)
    tried = len(changes)
    share = float(np.mean(changes)) if changes else None
    surely = float(np.mean(changes) - 2.0 * np.std(changes) / math.sqrt(tried)) if tried >= _ENOUGH_TRIES else 0.0
    if seen := sum(change > 0 for change in changes):
        also = ", and in how it starts" if starts_differ else ", the start is always the same"
        told = f"during an episode{also} (sure: drawn anew, it went on differently {seen} times of {tried})"
        return Chance(told, share, surely, tried)
    sure = f"none later in {tried} tries" if tried else "not known whether later: it cannot be drawn anew"
    if later_differ:
        told = "probably during an episode, the start is always the same"
        return Chance(f"{told} (or hidden in the start: other reset seeds go on differently)", share, surely, tried)
    if starts_differ:
        return Chance(f"in how an episode starts ({sure})", share, surely, tried)
    more = f" and {tried} tries to draw anew" if tried else ""
    return Chance(f"none seen, other reset seeds{more} play the same", share, surely, tried)


def _changes(env: SingleEnv, episodes: Sequence[Episode], tries: int, seconds: float) -> list[float]:
    """Returns how much another draw changes, for steps from all over the episodes."""
    places = [(episode, step) for episode in episodes for step in range(len(episode.shown) - 1)]
    chosen = [places[i] for i in np.unique(np.linspace(0, len(places) - 1, tries).astype(int))] if places else []
    changes: list[float] = []
    end = time.monotonic() + seconds
    for number, (episode, step) in enumerate(chosen):
        if number and time.monotonic() > end:
            break
        try:
            before, plain = _play_to(env, episode, step, None)
            _, drawn = _play_to(env, episode, step, number)
        except _CannotDraw:
            return []
        except Exception:  # chance that makes an environment fail was looked for, and nothing more can be said
            break
        changes.append(_change(_numbers(before), plain, drawn))
    return changes


class _CannotDraw(Exception):  # noqa: N818 - it ends a search, it is no mistake
    """There is no way to draw chance anew."""


def _play_to(env: SingleEnv, episode: Episode, step: int, draw: int | None) -> tuple[Moment, Moment]:
    """Returns the moments before and after a step of an episode, before which chance is drawn anew."""
    moment = env.new_game(episode.seed)
    for action in episode.actions[:step]:
        moment = env.step(action)
    before = Moment(np.array(moment.observation))  # the environment may use its array again
    if draw is not None and not env.stir(draw):
        raise _CannotDraw
    after = env.step(episode.actions[step])
    after.observation = np.array(after.observation)
    return before, after


def _change(before: NDArray[np.float64], plain: Moment, drawn: Moment) -> float:
    """Returns how far two draws are apart, measured by the larger step of the two: 0 the same, at most 1."""
    if plain.terminated != drawn.terminated or plain.to_play != drawn.to_play:
        return 1.0
    one, other = _numbers(plain), _numbers(drawn)
    apart, step = np.abs(one - other).sum(), max(np.abs(one - before).sum(), np.abs(other - before).sum())
    return float(min(1.0, apart / step)) if step > 0 else 0.0


def _numbers(moment: Moment) -> NDArray[np.float64]:
    return np.asarray(moment.observation, np.float64)
