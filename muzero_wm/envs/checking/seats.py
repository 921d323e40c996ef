"""Two players: does the reward belong to the player who moved, and the view to the player to move?

Neither can be known from outside. Both mistakes leave traces in random games, and only clear traces are told. A
reward of the wrong seat shows where whoever moves last wins (or loses); where either may happen, as in Go, it does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs.checking.findings import Findings
from muzero_wm.envs.slots.single import Moment

WRONG_SEAT = "probably a reward of the wrong seat"
SAME_VIEW = "probably the same view for both players"
NO_WINNER = "no game was decided"

_ENOUGH_ENDS = 5  # decided games for each seat that ends them: by chance alone at most one fair game in 1000 looks so
_ENOUGH_VIEWS = 30
_ENOUGH_GAMES = 10


class Seats:
    """Watches random games and adds them up.

    Attributes:
        results: [3] finished games: won by the first player, won by the second, drawn (by the sum of the rewards).
    """

    def __init__(self) -> None:
        """Starts with no games."""
        self.results = [0, 0, 0]
        self._ends = np.zeros((2, 2), np.int64)  # [seat that moved last, won or lost]
        self._changed = np.zeros(2)  # numbers that differ after one move, after two
        self._views = 0
        self._low: list[NDArray[Any] | None] = [None, None]  # per seat: smallest number seen at each place
        self._high: list[NDArray[Any] | None] = [None, None]
        self._game: list[tuple[int, NDArray[Any]]] = []
        self._lead = 0.0

    def begin(self, moment: Moment) -> None:
        """Takes the first moment of a game."""
        self._game, self._lead = [], 0.0
        self._look(moment)

    def follow(self, mover: int, moment: Moment) -> None:
        """Takes the moment after a move of `mover`."""
        self._lead += moment.reward if mover == 0 else -moment.reward
        if not (moment.terminated or moment.truncated):
            self._look(moment)
            return
        self.results[0 if self._lead > 0 else 1 if self._lead < 0 else 2] += 1
        if moment.reward != 0:
            self._ends[mover, int(moment.reward < 0)] += 1

    def judge(self, findings: Findings, rewards_may_be_wrong: bool = True) -> None:
        """Adds what the games show.

        Args:
            findings: where to add it.
            rewards_may_be_wrong: False leaves the question of the wrong seat out.
        """
        if rewards_may_be_wrong:
            self._judge_rewards(findings)
        games = sum(self.results)
        if games >= _ENOUGH_GAMES and self.results[2] == games:
            remedy = "give the player who moves last the reward of the end: 1 for a win, -1 for a loss"
            findings.add("note", NO_WINNER, f"all of {games} random games are drawn", remedy)
        one, two = self._changed
        if self._views >= _ENOUGH_VIEWS and 0 < one < 0.9 * two and not self._seat_is_shown():
            per_move = f"a move changes {one / self._views:.1f} numbers, two moves {two / self._views:.1f}"
            remedy = "show mine and theirs from the view of the player to move (fine as it is where both own the same)"
            findings.add("note", SAME_VIEW, f"{per_move}, and no number says whose turn it is", remedy)

    def _judge_rewards(self, findings: Findings) -> None:
        (won_0, lost_0), (won_1, lost_1) = self._ends.tolist()
        remedy = "return the reward from the view of the player who has just moved"
        if min(won_0, lost_1) >= _ENOUGH_ENDS and lost_0 == won_1 == 0:
            seen = f"the first player wins all {won_0} decided games that they end, the second loses all {lost_1}"
            findings.add("warning", WRONG_SEAT, f"{seen}: as if always seen by the first player", remedy)
        if min(lost_0, won_1) >= _ENOUGH_ENDS and won_0 == lost_1 == 0:
            seen = f"the first player loses all {lost_0} decided games that they end, the second wins all {won_1}"
            findings.add("warning", WRONG_SEAT, f"{seen}: as if always seen by the second player", remedy)
        if won_0 == won_1 == 0 and min(lost_0, lost_1) >= 3 and lost_0 + lost_1 >= 2 * _ENOUGH_ENDS:
            seen = f"whoever makes the last move loses, in all of {lost_0 + lost_1} decided games"
            findings.add("warning", WRONG_SEAT, seen, f"{remedy} (fine as it is if the last move is meant to lose)")

    def _look(self, moment: Moment) -> None:
        seat, view = moment.to_play, np.array(moment.observation, np.float64).ravel()
        low, high = self._low[seat], self._high[seat]
        self._low[seat] = view if low is None else np.minimum(low, view)
        self._high[seat] = view if high is None else np.maximum(high, view)
        self._game = [*self._game[-2:], (seat, view)]
        if len(self._game) == 3 and [seat for seat, _ in self._game] in ([0, 1, 0], [1, 0, 1]):
            before, between, now = (view for _, view in self._game)
            self._changed += (between != now).sum(), (before != now).sum()
            self._views += 1

    def _seat_is_shown(self) -> bool:
        """Returns whether some number of the observation is never the same for both players."""
        if any(bound is None for bound in (*self._low, *self._high)):
            return True
        low_0, low_1, high_0, high_1 = (np.asarray(bound) for bound in (*self._low, *self._high))
        return bool(((high_0 < low_1) | (high_1 < low_0)).any())
