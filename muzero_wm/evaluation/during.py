"""Small evaluations while a run trains, between two rounds.

An evaluation looks at a copy of the teacher and at environments of its own, and draws from streams of its own: no
weight, no random stream and no schedule of the run changes, so a run learns the same with and without. Its time is not
part of the budget.
"""

from __future__ import annotations

import copy
import time
from typing import NamedTuple

from muzero_wm.agent import Agent
from muzero_wm.basis.errors import UserError
from muzero_wm.basis.signals import StopSignals
from muzero_wm.config import Config
from muzero_wm.envs import EnvSpec
from muzero_wm.evaluation.affordable import quick_opponent
from muzero_wm.evaluation.arena import Progress, play_match
from muzero_wm.evaluation.episodes import play_episodes
from muzero_wm.evaluation.evaluate import default_openings
from muzero_wm.evaluation.limits import step_limit
from muzero_wm.evaluation.opponents import opponent_from_name
from muzero_wm.evaluation.players import AgentPlayer, release
from muzero_wm.model.world_model import WorldModel


class _GivenUpError(Exception):
    """A signal came: the run is to end, and the evaluation with it."""


class Measured(NamedTuple):
    """What an evaluation found.

    Attributes:
        metrics: by name, for the log; none where it failed.
        line: for the terminal.
    """

    metrics: dict[str, float]
    line: str


class TrainingEvaluation:
    """Evaluates a run every few minutes, by `run.evaluate_every_minutes`.

    Args:
        config: of the run, with the backend that it acts by.
        spec: of its environment.
        elapsed: seconds trained so far.

    Attributes:
        reached: the score of `learning.stop_at_score` was reached.

    Raises:
        UserError: there is no such opponent.
    """

    def __init__(self, config: Config, spec: EnvSpec, elapsed: float = 0.0) -> None:
        """Looks whether the opponent exists; see the class for the arguments."""
        self._config, self._spec = config, spec
        self._last, self._updates = elapsed, -1
        self._opponent = config.run.evaluate_opponent or quick_opponent(spec.name)
        self.reached = self._failed = False
        if config.run.evaluate_every_minutes is not None and spec.num_players == 2:
            release(opponent_from_name(self._opponent, spec))

    def due(self, elapsed: float, updates: int, last: bool = False) -> bool:
        """Returns whether it is time; at the end of a run always, unless these weights have just been evaluated.

        Args:
            elapsed: seconds trained.
            updates: made so far.
            last: the run ends here.
        """
        minutes = self._config.run.evaluate_every_minutes
        if minutes is None or self._failed or updates in (0, self._updates):
            return False
        return last or elapsed - self._last >= 60.0 * minutes

    def measure(self, teacher: WorldModel, updates: int, elapsed: float, stop: StopSignals) -> Measured | None:
        """Plays the games of `run.evaluate_games`.

        Args:
            teacher: whose weights play; not changed.
            updates: they have seen.
            elapsed: seconds trained.
            stop: a signal ends the evaluation.

        Returns:
            What was found, None where a signal came.
        """
        self._last, self._updates = elapsed, updates
        start = time.monotonic()
        agent = Agent(self._config, self._spec, copy.deepcopy(teacher), updates)

        def look(*_: int) -> None:
            if stop.requested is not None:
                raise _GivenUpError

        try:
            score, metrics, line = self._play(AgentPlayer(agent, seed=self._config.seed), look)
        except _GivenUpError:
            return None
        except UserError as error:  # of the environment, or of an opponent that it allows no more
            self._failed = True
            return Measured({}, f"warning: no more evaluations: {error}")
        seconds = time.monotonic() - start
        goal = self._config.learning.stop_at_score
        self.reached = goal is not None and score >= goal
        if self.reached:
            line += f"; learning.stop_at_score is {goal:g}, so the run ends"
        metrics["evaluation/seconds"] = seconds
        return Measured(metrics, f"{updates:,} updates: {line} ({seconds:.1f} s beside the budget)")

    def _play(self, player: AgentPlayer, look: Progress) -> tuple[float, dict[str, float], str]:
        run, name, seed = self._config.run, self._spec.name, self._config.seed
        # who has not learnt to begin anew may stand still until the limit, in Breakout for half an hour
        longest = min(step_limit(self._spec, None), run.evaluate_max_steps)
        if self._spec.num_players == 1:
            played = play_episodes(name, player, run.evaluate_games, seed, max_steps=longest, progress=look)
            found = played.summary()
            metrics = {"evaluation/return": found["mean_return"], "evaluation/length": found["mean_length"]}
            line = f"return {found['mean_return']:.4g} in {run.evaluate_games} episodes"
            line += f", {played.cut} cut after {longest} steps" if played.cut else ""
            return found["mean_return"], metrics, line
        opponent = opponent_from_name(self._opponent, self._spec, seed)
        plies = default_openings(name, run.evaluate_games)
        try:
            result = play_match(
                name, player, opponent, run.evaluate_games, seed, look, opening_plies=plies, max_steps=longest
            )
        finally:
            release(opponent)
        score = result.total.score
        line = f"{score:.0%} of {run.evaluate_games} games against {self._opponent}"
        line += f"; {result.given_up}" if result.given_up else ""
        return score, {"evaluation/score": score, "evaluation/draws": result.total.draws / run.evaluate_games}, line
