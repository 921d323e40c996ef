"""Tries an environment out before a run is spent on it: random play, played again, and what looks wrong.

Every finding comes with what was seen and a remedy. What cannot be known for certain from outside is called "probably",
and told only where chance would hardly show it.
"""

from __future__ import annotations

import contextlib
import shlex
import statistics
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from muzero_wm.envs import registry
from muzero_wm.envs.base import EnvError
from muzero_wm.envs.board import BoardGame
from muzero_wm.envs.declared import gymnasium_complaints
from muzero_wm.envs.findings import Findings, Report
from muzero_wm.envs.naming import parse_name
from muzero_wm.envs.slots import Moment, SingleEnv
from muzero_wm.envs.trial import Trial, first_difference
from muzero_wm.errors import one_line

Made = TypeVar("Made")

NONDETERMINISTIC = "not repeatable"
NOT_ANEW = "reset does not begin anew"
SEED_IGNORED = "the reset seed is not followed"
NO_END = "no end in sight"
CHANNELS = "channels first or last?"

QUICK_STEPS = 200
_QUICK_SECONDS = 1.0
_SECONDS = 30.0
_REPLAYED_STEPS, _QUICK_REPLAYED_STEPS = 200, 40
_TRIED_STEPS = 50  # of an episode, with other seeds
_PATIENT_STEPS = 20_000  # that an episode without a limit is given to end
_PATIENT_SECONDS = 3.0
_REWARDED_BY_SEAT = ("openspiel", "pettingzoo")  # these libraries keep one reward for each seat, so none is mixed up
_UNREPEATABLE = (NONDETERMINISTIC, NOT_ANEW, SEED_IGNORED)


def check_env(env: str | Callable[[], SingleEnv], steps: int = 500, seed: int = 0, quick: bool = False) -> Report:
    """Plays random episodes of an environment and reports what is wrong with it.

    Args:
        env: its name, or what makes one.
        steps: random steps to play, >= 1; fewer where they take longer than half a minute.
        seed: of the actions and of the episodes, >= 0.
        quick: at most 200 steps and about a second; Gymnasium's own checker and missing ends are left out.

    Returns:
        The findings, and what was measured.

    Raises:
        EnvError: the environment cannot be made, or it is of a kind that is not supported.
    """
    make = _safely(lambda: _maker(env)) if isinstance(env, str) else env
    findings = Findings()
    first = _safely(make)
    others: list[SingleEnv] = []
    try:
        report = Report(first.spec.name)
        trial = Trial(first, findings, seed)
        trial.play(min(steps, QUICK_STEPS) if quick else steps, _QUICK_SECONDS if quick else _SECONDS)
        randomness = None
        if trial.kept and not trial.broken:
            others.append(_safely(make))
            randomness = _check_repetition(
                trial, others[0], findings, _QUICK_REPLAYED_STEPS if quick else _REPLAYED_STEPS
            )
            if not quick:
                _check_end(trial, findings)
        for doubt in first.doubts:
            findings.add(
                "warning", CHANNELS, doubt, "say which it is in the name, as an option: channels=first or last"
            )
        by_seat = isinstance(env, str) and parse_name(env).kind in _REWARDED_BY_SEAT
        trial.seats.judge(findings, rewards_may_be_wrong=not by_seat)
        report.facts = _facts(trial, randomness)
        if not quick and others and first.raw is not None:
            _ask_gymnasium(others[0], findings)
        report.findings = findings.sorted()
        return report
    finally:
        for made in (first, *others):
            with contextlib.suppress(Exception):  # what matters has been seen
                made.close()


def try_out(env: str) -> None:
    """Makes the quick check of an environment that a run is about to use.

    Args:
        env: its name.

    Raises:
        EnvError: something in it would stop the run or spoil what is learnt.

    Warns:
        EnvWarning: something in it looks wrong.
    """
    report = check_env(env, quick=True)
    command = f"see muzero-wm check-env {shlex.quote(env)}"
    if errors := report.of("error"):
        raise EnvError("\n".join(f"{env}: {error.title}: {error.seen}; {error.remedy}; {command}" for error in errors))
    for warning in report.of("warning"):
        text = f"{env}: {warning.title}: {warning.seen}; {warning.remedy}; {command}"
        warnings.warn(text, EnvWarning, stacklevel=2)


class EnvWarning(UserWarning):
    """Tells of an environment that can be trained on and looks wrong."""


class _OneBoard(SingleEnv):
    """One game of a board game in Numba, so that it can be tried out like all others."""

    def __init__(self, game: BoardGame) -> None:
        self._game, self.spec = game, game.spec()
        self._states = game.first_states(1)

    def reset(self, seed: int) -> Moment:
        self._states = self._game.first_states(1)
        return self._moment()

    def step(self, action: int) -> Moment:
        self._states = self._game.play(self._states, [action])
        over, result = self._game.outcome(self._states)
        moment = self._moment()
        moment.terminated, moment.reward = bool(over[0]), float(result[0])
        return moment

    def _moment(self) -> Moment:
        observation, legal, to_play = self._game.look(self._states)
        return Moment(observation[0], legal[0], int(to_play[0]))


def _maker(name: str) -> Callable[[], SingleEnv]:
    """Returns what makes one environment of a name."""
    registry.spec(name)  # what random games show of it is kept, so that those made here have the same past
    found = registry.find(name)
    return found if callable(found) else lambda: _OneBoard(found)


def _safely(make: Callable[[], Made]) -> Made:
    try:
        return make()
    except EnvError:
        raise
    except Exception as error:  # an environment of a user may fail in any way
        raise EnvError(f"the environment cannot be made: {one_line(error)}") from error


def _check_repetition(trial: Trial, fresh: SingleEnv, findings: Findings, steps: int) -> str:
    """Plays the first episodes again, in another environment and in the same; returns what the reset seed decides."""
    again = Trial(fresh, Findings(), 0)
    kept, total = [], 0
    for episode in trial.kept:
        if total < steps:
            kept.append(episode)
            total += len(episode.shown)
    # the other one has the same past, so only chance can differ; in this one every episode follows another than before
    for same, player, order in ((False, again, kept), (True, trial, kept[::-1])):
        for episode in order:
            parted = first_difference(episode.shown, player.again(episode))
            if parted is not None:
                _tell_difference(trial, findings, same, f"reset seed {episode.seed}", *parted)
                return "does not follow the reset seed"
    longest = max(kept, key=lambda episode: len(episode.shown))
    begun = longest._replace(shown=longest.shown[: _TRIED_STEPS + 1])
    seeds = [(longest.seed + other) % 2**31 for other in range(1, 4)]
    partings = [first_difference(begun.shown, trial.again(begun, seed)) for seed in seeds]
    steps_of = [parted[0] for parted in partings if parted is not None]
    if not steps_of:
        return "none seen, every reset seed plays the same"
    return "in how an episode starts" if min(steps_of) == 0 else "during an episode, the start is always the same"


def _tell_difference(trial: Trial, findings: Findings, same: bool, where: str, step: int, what: str) -> None:
    if not trial.env.repeatable:
        seen = f"{where}: another {what} at step {step}, as it is registered (nondeterministic)"
        findings.add("note", NONDETERMINISTIC, seen, "nothing to do; unfinished episodes are dropped on resume")
        return
    seen = f"{where} and the same actions show another {what} at step {step}"
    cost = "else runs are not repeatable, and unfinished episodes are lost on resume"
    if same:
        remedy = f"let reset(seed) set back everything, chance included ({cost})"
        findings.add("warning", NOT_ANEW, f"{seen}, after other episodes were played", remedy)
        return
    remedy = f"in reset call super().reset(seed=seed), and draw all chance from self.np_random ({cost})"
    findings.add("warning", SEED_IGNORED, f"{seen}, in a second environment", remedy)


def _check_end(trial: Trial, findings: Findings) -> None:
    """Plays on where no episode has ended yet, and warns when none ends."""
    if trial.lengths or trial.spec.max_episode_steps is not None or trial.broken:
        return
    trial.play(trial.steps + _PATIENT_STEPS, _PATIENT_SECONDS)
    if not trial.lengths:
        seen = f"no episode ended in {trial.steps:,} random steps, and no time limit is declared"
        remedy = "set a limit: gymnasium.register(..., max_episode_steps=1000), or gym:ID(max_episode_steps=1000)"
        findings.add("warning", NO_END, seen, remedy)


def _facts(trial: Trial, randomness: str | None) -> dict[str, Any]:
    spec, lengths = trial.spec, trial.lengths
    facts: dict[str, Any] = {
        "observation_shape": list(spec.observation_shape),
        "observation_dtype": spec.observation_dtype.name,
        "observation_bounds": None if spec.observation_bounds is None else list(spec.observation_bounds),
        "read_as": [] if spec.language is None else spec.language.told(),
        "actions": spec.num_actions,
        "masked": trial.masked,
        "players": spec.num_players,
        "alternating": spec.alternating,
        "max_episode_steps": spec.max_episode_steps,
        "steps": trial.steps,
        "episodes": len(lengths),
        "terminated": trial.terminated,
        "lengths": _summary(lengths),
        "chance": randomness,
    }
    if spec.num_players == 1:
        return facts | {"returns": _summary(trial.returns)}
    first, second, drawn = trial.seats.results
    return facts | {"results": {"first": first, "second": second, "drawn": drawn}}


def _summary(values: list[Any]) -> dict[str, float] | None:
    if not values:
        return None
    return {"mean": statistics.fmean(values), "min": min(values), "max": max(values)}


def _ask_gymnasium(env: SingleEnv, findings: Findings) -> None:
    """Adds what Gymnasium's own checker says, unless we have said it."""
    repeats = not any(title in findings for title in _UNREPEATABLE)
    observed = any("observation" in finding.title for finding in findings.sorted())
    for complaint in gymnasium_complaints(env.raw):
        about_chance = any(word in complaint for word in ("seed", "random", "determinis"))
        if (about_chance and not repeats) or ("observation" in complaint and observed) or "share an obj" in complaint:
            continue
        remedy = "look it up in gymnasium.utils.env_checker"
        if about_chance:
            remedy = "nothing to do here: played again with their seeds, episodes showed the same"
        findings.add("note", "Gymnasium's own checker objects", complaint[:200], remedy)
