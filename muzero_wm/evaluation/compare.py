"""Runs side by side: the same episodes for all of them, and how sure it is that one is better.

Runs that differ by their seed only are a group. Where every group of an environment has two runs or more, a run is one
sample, its mean return, and intervals say what other seeds may bring. Else every episode is one, and intervals say what
other episodes of these very runs may bring, which is less.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from muzero_wm.agent import load
from muzero_wm.basis.errors import UserError
from muzero_wm.evaluation.affordable import affordable_opponent
from muzero_wm.evaluation.aggregate import aggregate
from muzero_wm.evaluation.arena import Progress, play_match
from muzero_wm.evaluation.bootstrap import Scores, improvement, summary
from muzero_wm.evaluation.curves import Learning, read_learning
from muzero_wm.evaluation.episodes import play_episodes
from muzero_wm.evaluation.evaluate import default_openings
from muzero_wm.evaluation.normalised import reference
from muzero_wm.evaluation.opponents import opponent_from_name
from muzero_wm.evaluation.players import AgentPlayer, SearchingAgent, release


@dataclass(frozen=True)
class Outcome:
    """What one run has reached.

    Attributes:
        group: it belongs to.
        folder: of the run.
        env: it has learnt, of Atari the game.
        updates: its weights have seen.
        simulations: per move.
        scores: [episodes] returns, or between two players points of the games: 1, 1/2 or 0. Empty where none was
            played.
        learning: what it has logged.
    """

    group: str
    folder: Path
    env: str
    updates: int
    simulations: int
    scores: Scores
    learning: Learning


def measure(
    groups: Mapping[str, Sequence[Path]],
    episodes: int,
    seed: int = 0,
    *,
    simulations: int | None = None,
    opponent: str | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[list[Outcome], dict[str, str]]:
    """Plays the same episodes with every run.

    Args:
        groups: the folders of the runs by the name of their group.
        episodes: of each run, or games between two players; with 0 none is played.
        seed: of environments, opponents and searches; the same for all runs.
        simulations: per move, None for as many as each was trained with.
        opponent: two players: whom all meet; None for the strongest there is time for.
        progress: called as progress(played, all episodes).
        tell: called with what must be known.

    Returns:
        What each run has reached, and the opponents by environment.

    Raises:
        UserError: a run cannot be read, or the opponent does not fit.
    """
    opponents = _opponents(groups, episodes, opponent, tell)
    found: list[Outcome] = []
    total = episodes * sum(map(len, groups.values()))
    for group, folders in groups.items():
        for folder in folders:
            agent = load(folder)
            name = agent.spec.name
            two = agent.spec.num_players == 2
            done = episodes * len(found)

            def report(now: int, _: int, done: int = done) -> None:
                if progress is not None:
                    progress(done + now, total)

            scores = np.zeros(0)
            if episodes and two:
                scores, given_up = _points(agent, opponents[name], episodes, seed, simulations, report)
                if given_up:
                    tell(f"{folder}: {given_up}")
            elif episodes:
                player = AgentPlayer(agent, simulations, seed)
                scores = np.array(play_episodes(name, player, episodes, seed, progress=report).returns)
            game = reference(name)
            found.append(
                Outcome(
                    group,
                    folder,
                    f"ale:{game.game}" if game else name,
                    agent.updates,
                    agent.config.search.num_simulations if simulations is None else simulations,
                    scores,
                    read_learning(folder),
                )
            )
    return found, opponents


def compare(outcomes: Sequence[Outcome], seed: int = 0) -> dict[str, Any]:
    """Puts what runs have reached side by side.

    Args:
        outcomes: of `measure`, with episodes.
        seed: of the bootstrap.

    Returns:
        Ready for JSON: environments, by name sample (run or episode), groups (runs, samples; mean, median and iqm with
        score and ci95) and improvement: for each pair of groups `of`, `over`, probability and ci95. And normalised,
        None unless there are several environments, all of which have reference scores (Atari): the same on a scale on
        which random play is 0 and a person 1, with a run as the sample and the median over the games.
    """
    names = list(dict.fromkeys(each.env for each in outcomes))
    tables = {env: _table([each for each in outcomes if each.env == env], seed) for env in names}
    scaled = len(names) > 1 and all(reference(env) is not None for env in names)
    return {"environments": tables, "normalised": _normalised(outcomes, seed) if scaled else None}


def _opponents(
    groups: Mapping[str, Sequence[Path]], episodes: int, opponent: str | None, tell: Callable[[str], None]
) -> dict[str, str]:
    """Looks at every run before anything is played; returns whom those of two players meet, by environment."""
    found: dict[str, str] = {}
    for folder in itertools.chain.from_iterable(groups.values()):
        spec = load(folder).spec  # one after the other: many agents at once may not fit
        if spec.num_players == 1 and opponent is not None:
            raise UserError(f"opponent {opponent!r}: {folder} plays {spec.name}, which is for one player")
        if spec.num_players == 2 and episodes and spec.name not in found:
            found[spec.name] = opponent or affordable_opponent(spec, episodes, tell)
            release(opponent_from_name(found[spec.name], spec))
    return found


def _points(
    agent: SearchingAgent, opponent: str, games: int, seed: int, simulations: int | None, report: Progress
) -> tuple[Scores, str]:
    """Returns the points of the games, and who gave some of them up."""
    spec = agent.spec
    player, other = AgentPlayer(agent, simulations, seed), opponent_from_name(opponent, spec, seed)
    plies = default_openings(spec.name, games)
    try:
        result = play_match(spec.name, player, other, games, seed, report, opening_plies=plies)
    finally:
        release(other)
    total = result.total
    return np.repeat([1.0, 0.5, 0.0], [total.wins, total.draws, total.losses]), result.given_up


def _by_group(outcomes: Sequence[Outcome]) -> dict[str, list[Scores]]:
    found: dict[str, list[Scores]] = {}
    for each in outcomes:
        found.setdefault(each.group, []).append(each.scores)
    return found


def _table(outcomes: Sequence[Outcome], seed: int) -> dict[str, Any]:
    runs = _by_group(outcomes)
    by_run = all(len(scores) > 1 for scores in runs.values())
    strata = {group: [_means(scores)] if by_run else scores for group, scores in runs.items()}
    return {
        "sample": "run" if by_run else "episode",
        "groups": {
            group: {"runs": len(runs[group]), "samples": sum(map(len, parts)), **summary(parts, seed)}
            for group, parts in strata.items()
        },
        "improvement": [
            {"of": a, "over": b, **improvement([strata[a]], [strata[b]], seed)}
            for a, b in itertools.combinations(strata, 2)
        ],
    }


def _normalised(outcomes: Sequence[Outcome], seed: int) -> dict[str, Any]:
    games: dict[str, dict[str, list[float]]] = {}
    for each in outcomes:
        scale = reference(each.env)
        assert scale is not None
        scores = games.setdefault(each.group, {}).setdefault(each.env, [])
        scores.append(float(scale.normalised(each.scores.mean())))
    pairs = []
    for a, b in itertools.combinations(games, 2):
        shared = [game for game in games[a] if game in games[b]]
        if shared:
            ours, theirs = ([[np.array(games[group][game])] for game in shared] for group in (a, b))
            pairs.append({"of": a, "over": b, "games": len(shared), **improvement(ours, theirs, seed)})
    return {
        "sample": "run",
        "groups": {group: aggregate(scores, seed) for group, scores in games.items()},
        "improvement": pairs,
    }


def _means(scores: Sequence[Scores]) -> Scores:
    return np.array([each.mean() for each in scores])
