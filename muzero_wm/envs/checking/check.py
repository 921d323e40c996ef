"""Tries an environment out before a run is spent on it: random play, played again, and what looks wrong.

Every finding comes with what was seen and a remedy. What cannot be known for certain from outside is called "probably",
and told only where chance would hardly show it.
"""

from __future__ import annotations

import contextlib
import shlex
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from muzero_wm.basis.errors import one_line
from muzero_wm.basis.foreign import foreign
from muzero_wm.envs import registry
from muzero_wm.envs.base import EnvError
from muzero_wm.envs.boards.board import BoardGame
from muzero_wm.envs.checking.chance import Chance, look_for_chance
from muzero_wm.envs.checking.declared import gymnasium_complaints
from muzero_wm.envs.checking.findings import Findings, Report
from muzero_wm.envs.checking.trial import Episode, Trial, first_difference, replayed
from muzero_wm.envs.naming.naming import parse_name
from muzero_wm.envs.slots.single import Moment, SingleEnv

Made = TypeVar("Made")

NONDETERMINISTIC = "not repeatable"
NOT_ANEW = "reset does not begin anew"
SEED_IGNORED = "the reset seed is not followed"
NO_END = "no end in sight"
CHANNELS = "channels first or last?"
CHANCE = "chance decides much"

QUICK_STEPS = 200
_QUICK_SECONDS = 1.0
_SECONDS = 30.0
_REPLAYED_STEPS, _QUICK_REPLAYED_STEPS = 200, 40
_DRAWS, _QUICK_DRAWS = 40, 10  # steps at which chance is drawn anew
_DRAW_SECONDS, _QUICK_DRAW_SECONDS = 2.0, 0.5
_MUCH_CHANCE = 0.2  # of a step, surely: slippery FrozenLake, which is not learnt, has .7; what is learnt at most .18
_PATIENT_STEPS = 20_000  # that an episode without a limit is given to end
_PATIENT_SECONDS = 3.0
_STUBBORN_STEPS, _STUBBORN_ACTIONS = 2000, 8  # of one action again and again, and how many are tried so
_STUBBORN_SECONDS = 0.5
_REWARDED_BY_SEAT = ("openspiel", "pettingzoo")  # these libraries keep one reward for each seat, so none is mixed up
_LIMITED_BY_NAME = ("gym", "minatar")
_UNREPEATABLE = (NONDETERMINISTIC, NOT_ANEW, SEED_IGNORED)


@foreign
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
        chance = Chance("")
        if trial.kept and not trial.broken:
            others.append(_safely(make))
            chance = _check_repetition(trial, others[0], findings, quick)
            if not quick:
                _check_end(trial, findings)
        for doubt in first.doubts:
            findings.add(
                "warning", CHANNELS, doubt, "say which it is in the name, as an option: channels=first or last"
            )
        by_seat = isinstance(env, str) and parse_name(env).kind in _REWARDED_BY_SEAT
        trial.seats.judge(findings, rewards_may_be_wrong=not by_seat)
        report.facts = _facts(trial, chance)
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


def _check_repetition(trial: Trial, fresh: SingleEnv, findings: Findings, quick: bool) -> Chance:
    """Plays the first episodes again, in another environment and in the same, and then looks for chance in them."""
    kept: list[Episode] = []
    total = 0
    for episode in trial.kept:
        if total < (_QUICK_REPLAYED_STEPS if quick else _REPLAYED_STEPS):
            kept.append(episode)
            total += len(episode.shown)
    # the other one has the same past, so only chance can differ; in this one every episode follows another than before
    for same, env, order in ((False, fresh, kept), (True, trial.env, kept[::-1])):
        for episode in order:
            parted = first_difference(episode.shown, replayed(env, episode))
            if parted is not None:
                _tell_difference(trial, findings, same, f"reset seed {episode.seed}", *parted)
                return Chance("does not follow the reset seed")
    tries = (_QUICK_DRAWS, _QUICK_DRAW_SECONDS) if quick else (_DRAWS, _DRAW_SECONDS)
    chance = look_for_chance(fresh, kept, *tries)
    if chance.share is not None and chance.surely >= _MUCH_CHANCE:
        seen = f"drawn anew at {chance.tried} steps, chance changed {chance.share:.0%} of what a step changes"
        remedy = (
            "the model is deterministic and will not learn this reliably: take chance out where that is possible (as "
            "FrozenLake's is_slippery=False does), or expect returns far from the best"
        )
        findings.add("warning", CHANCE, seen, remedy)
    return chance


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
    """Warns where no episode ends: of random play, or of one action again and again."""
    limit = trial.spec.max_episode_steps
    if trial.broken or (limit is not None and limit <= _PATIENT_STEPS):
        return
    declared = "no time limit is declared" if limit is None else f"the limit is {limit:,} steps"
    seen = ""
    if not trial.lengths:
        trial.play(trial.steps + _PATIENT_STEPS, _PATIENT_SECONDS)
        seen = "" if trial.lengths else f"no episode ended in {trial.steps:,} random steps, and {declared}"
    elif trial.spec.num_players == 1 and not trial.masked:
        stubborn = next((a for a in range(min(trial.spec.num_actions, _STUBBORN_ACTIONS)) if _goes_on(trial, a)), None)
        if stubborn is not None:
            seen = f"action {stubborn} again and again ends no episode in {_STUBBORN_STEPS:,} steps, and {declared}"
    if seen:
        findings.add("warning", NO_END, seen, _limited(trial.spec.name))


def _limited(name: str) -> str:
    """Returns how episodes of an environment of this name are given a limit."""
    plain = name.partition("(")[0]
    kind = plain.partition(":")[0]
    if kind == "ale":
        return f"nothing, where scores are to be those of the protocol; {plain}(max_frames=8000) cuts games sooner"
    if kind in _LIMITED_BY_NAME:
        return f"set a limit: {plain}(max_episode_steps=1000)"
    return "set a limit where it is made: gymnasium.wrappers.TimeLimit(env, 1000)"


def _goes_on(trial: Trial, action: int) -> bool:
    """Returns whether an action can be played again and again without an end; False where that takes too long."""
    end = time.monotonic() + _STUBBORN_SECONDS
    try:
        trial.env.new_game(trial.kept[0].seed)
        for _ in range(_STUBBORN_STEPS):
            moment = trial.env.step(action)
            if moment.terminated or moment.truncated or time.monotonic() > end:
                return False
    except Exception:  # what fails is told by random play
        return False
    return True


def _facts(trial: Trial, chance: Chance) -> dict[str, Any]:
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
        "chance": chance.told or None,
        "chance_share": chance.share,
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
