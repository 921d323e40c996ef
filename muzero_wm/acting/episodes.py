"""What acting hands over at the border of a round, and how episodes are put together from it.

An episode is handed over when it ends, and in parts before that when it is long: when learning begins and how much
memory is held must not depend on how long episodes are. Whoever plays keeps no history: every step crosses once, at the
end of its round. So the unfinished episodes live where the replay lives, and a player that dies takes nothing with it
but the round it was in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import one_line
from muzero_wm.envs.base import EnvError, EnvSpec
from muzero_wm.replay.frames import stored_whole
from muzero_wm.replay.packs import KEPT
from muzero_wm.replay.room import Room, step_layout
from muzero_wm.replay.trajectory import Trajectories

RECENT = 100


@dataclass
class Played:
    """T steps of n environments, and the ends among them.

    Attributes:
        steps: arrays [T, n, ...] by the names of Trajectories; of stacked frames the newest.
        done: [T, n] bool.
        terminated: [T, n] bool; done but not terminated means truncated.
        final_observation: [E, *frame_shape] of the episodes that ended, by step, then by environment.
        final_value: [E] float32, 0 where terminated.
        final_to_play: [E] int8, who would be to move.
        stats: named means for the log.
    """

    steps: dict[str, NDArray[Any]]
    done: NDArray[np.bool_]
    terminated: NDArray[np.bool_]
    final_observation: NDArray[Any]
    final_value: NDArray[np.float32]
    final_to_play: NDArray[np.int8]
    stats: dict[str, float]


@dataclass
class ActingResult:
    """What one round of acting brings.

    Attributes:
        trajectories: episodes that ended, and parts of long ones that go on; None when there are none.
        steps: environment steps taken.
        stats: named means for the log.
        notes: what happened on the way that somebody should know, one line each.
    """

    trajectories: Trajectories | None
    steps: int
    stats: dict[str, float]
    notes: list[str] = field(default_factory=list)


@dataclass
class Absorbed:
    """What a round makes of the episodes in progress.

    Attributes:
        trajectories: the episodes that ended, by step, then by environment, and then what was cut off of others; None
            when there are none.
        lengths: [E] int64, steps of the episodes that ended, from their beginning.
        results: [E] float64, their undiscounted returns, between two players the first one's.
    """

    trajectories: Trajectories | None
    lengths: NDArray[np.int64]
    results: NDArray[np.float64]


class OpenEpisodes:
    """Episodes in progress: one row per environment, filled a column per step, handed over when done or long.

    Where targets look a bounded number of steps ahead, a long episode is cut at the border of a round, and what the
    targets of its last steps need stays in the row: the next segment begins with it. Where targets wait for the end,
    only an episode that outgrows its row is cut, and nothing is repeated for them. Where stacks of frames are shown, a
    few steps more stay in front of these (the lead), so that every stack can be put together within its segment.

    Args:
        spec: shapes.
        num_envs: rows.
        room: how long the rows are and when episodes are cut.
    """

    def __init__(self, spec: EnvSpec, num_envs: int, room: Room) -> None:
        """Allocates the rows, which do not grow."""
        self.length = np.zeros(num_envs, np.int64)
        self._spec, self._room = spec, room
        self._rows = np.arange(num_envs)
        self._moves = 0  # of every environment, since the run began
        self._repeated = np.zeros(num_envs, np.int64)  # steps of the row that were handed over before
        self._lead = np.zeros(num_envs, np.int64)  # how many of these only stacks of frames need
        self._steps = np.zeros(num_envs, np.int64)  # of the whole episode
        self._return = np.zeros(num_envs, np.float64)
        self._columns: dict[str, NDArray[Any]] = {}
        self._allocate(room.columns)

    def _allocate(self, columns: int) -> None:
        self._columns = {
            name: np.zeros((len(self._rows), columns, *shape), dtype)
            for name, (shape, dtype) in step_layout(self._spec, self._room.stored).items()
        }

    def absorb(self, played: Played) -> Absorbed:
        """Takes in a round.

        Args:
            played: T steps of every environment.

        Returns:
            The episodes that ended, and parts of long ones.
        """
        parts, lengths, results = [], [np.zeros(0, np.int64)], [np.zeros(0)]
        ended = 0
        for t, done in enumerate(played.done):
            self.append(**{name: column[t] for name, column in played.steps.items()})
            rows = np.flatnonzero(done)
            if len(rows):
                part = slice(ended, ended := ended + len(rows))
                lengths.append(self._steps[rows])
                results.append(self._return[rows])
                parts.append(
                    self.pack(
                        rows,
                        played.terminated[t, rows],
                        played.final_observation[part],
                        played.final_value[part],
                        played.final_to_play[part],
                    )
                )
        self._moves += len(played.done)
        long = np.flatnonzero(self.length - self._lead > self._longest(len(played.done)))
        if len(long):
            parts.append(self._cut(long))
        return Absorbed(
            Trajectories.concatenate(parts) if parts else None, np.concatenate(lengths), np.concatenate(results)
        )

    def append(self, **values: NDArray) -> None:
        """Writes one step of every environment; names are those of Trajectories."""
        for name, value in values.items():
            self._columns[name][self._rows, self.length] = value
        self.length += 1
        self._steps += 1
        self._return += _seen_first(values["reward"], values["to_play"])

    def pack(
        self,
        rows: NDArray[np.int64],
        terminated: NDArray[np.bool_],
        observation: NDArray,
        value: NDArray[np.float32],
        to_play: NDArray[np.int8],
    ) -> Trajectories:
        """Closes the episodes of some rows and returns them.

        Args:
            rows: [E] int64, ascending.
            terminated: [E] bool; False means truncated.
            observation: [E, *frame_shape] final observations.
            value: [E] float32 value of the final observation, 0 where terminated.
            to_play: [E] int8 player to move at the final observation.

        Returns:
            What is in the rows: the finished episodes, or what is left of them, in row order.
        """
        last = self.length[rows]
        final = {"observation": observation, "to_play": to_play, "value": value, "action": -1}
        for name, column in self._columns.items():
            column[rows, last] = final.get(name, 0)
        segments = self._segments(rows, last, terminated.copy(), cut=False)
        self._clear(rows)
        return segments

    def _longest(self, round_moves: int) -> int:
        """Returns the most steps that an episode may have at this border without being cut."""
        first = self._room.first_moves
        if self._room.reach and self._moves - round_moves < first <= self._moves:
            return self._room.reach  # the first update is due, and wants all that there is
        return self._room.cut_at

    def _cut(self, rows: NDArray[np.int64]) -> Trajectories:
        """Hands over the rows up to their last step, whose observation and value are known; the episodes go on."""
        last = self.length[rows] - 1
        segments = self._segments(rows, last, np.zeros(len(rows), np.bool_), cut=True)
        ends = np.cumsum(last + 1) - 1
        segments.action[ends], segments.reward[ends], segments.policy[ends] = -1, 0.0, 0.0
        for array in segments.stored.values():
            array[ends] = 0
        # the first of these steps is the first whose targets look beyond the cut
        needed = max(self._room.reach, 1)
        keep = np.minimum(self.length[rows], needed + self._room.lead)
        for row, kept in zip(rows, keep, strict=True):
            last_ones = slice(self.length[row] - kept, self.length[row])
            for column in self._columns.values():
                column[row, :kept] = column[row, last_ones].copy()
        self.length[rows], self._repeated[rows], self._lead[rows] = keep, keep - 1, keep - needed
        return segments

    def _segments(
        self, rows: NDArray[np.int64], last: NDArray[np.int64], terminated: NDArray[np.bool_], cut: bool
    ) -> Trajectories:
        width = int(last.max()) + 1
        inside = np.arange(width)[None, :] <= last[:, None]
        columns = {name: column[rows, :width][inside] for name, column in self._columns.items()}
        stored = {each.name: columns.pop(each.name) for each in self._room.stored}
        return Trajectories(
            lengths=last.copy(),
            terminated=terminated,
            cut=np.full(len(rows), cut),
            repeated=self._repeated[rows],
            lead=self._lead[rows],
            stored=stored,
            **columns,
        )

    def _clear(self, rows: NDArray[Any]) -> None:
        self.length[rows] = self._repeated[rows] = self._lead[rows] = self._steps[rows] = 0
        self._return[rows] = 0.0

    def drop(self, rows: NDArray[np.bool_]) -> None:
        """Forgets the unfinished episodes of the rows in `rows` [n] bool."""
        self._clear(rows)

    def state_dict(self) -> dict[str, Any]:
        """Returns copies of the unfinished episodes, laid end to end."""
        width = int(self.length.max())
        inside = np.arange(width)[None, :] < self.length[:, None]
        return {
            "length": self.length.copy(),
            "repeated": self._repeated.copy(),
            "lead": self._lead.copy(),
            "steps": self._steps.copy(),
            "return": self._return.copy(),
            "moves": self._moves,
        } | {name: column[:, :width][inside] for name, column in self._columns.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores `state_dict` of as many environments.

        Raises:
            EnvError: the state is of another number of environments, holds something else of a step, or makes no sense.
        """
        try:
            self._restore(state)
        except EnvError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
            raise EnvError(f"the checkpoint's unfinished episodes make no sense: {one_line(error)[:200]}") from None

    def _restore(self, state: Mapping[str, Any]) -> None:
        length = np.asarray(state["length"])
        if length.shape != self.length.shape:
            raise EnvError(
                f"acting.num_envs: the checkpoint holds the episodes of {len(length)} environments, got "
                f"{len(self.length)}; resume with the old number"
            )
        taken = len(state["action"])
        if length.dtype.kind != "i" or not 0 <= length.min() <= length.max() <= taken or length.sum() != taken:
            raise ValueError(f"expected the steps of {taken} moves, got {length.tolist()[:8]}")
        self.length[:] = length
        # a run with other settings, or of an earlier version, may have kept more of an episode; it is cut next
        room = self._room
        self._allocate(max(room.columns, int(length.max()) + room.columns - room.cut_at - room.lead))
        width = int(length.max())
        inside = np.arange(width)[None, :] < length[:, None]
        if problem := stored_whole(self._spec, state["observation"]):
            raise EnvError(problem)
        for name, column in self._columns.items():
            if name not in state:
                raise EnvError(f"the checkpoint's unfinished episodes hold no {name}; {KEPT}")
            column[:, :width][inside] = np.asarray(state[name])
        # runs of earlier versions kept whole episodes, and did not count moves here
        self._repeated[:] = np.asarray(state.get("repeated", 0))
        self._lead[:] = np.asarray(state.get("lead", 0))
        again = np.minimum(self._repeated, room.lead)
        if (self._lead < 0).any() or (self._lead > again).any() or (self._repeated > np.maximum(length - 1, 0)).any():
            raise ValueError("lead, repeated: expected at most what a row holds")
        self._check({name: column[:, :width][inside] for name, column in self._columns.items()})
        self._steps[:] = np.asarray(state.get("steps", length))
        rewards = _seen_first(self._columns["reward"][:, :width], self._columns["to_play"][:, :width])
        self._return[:] = np.asarray(state.get("return", np.where(inside, rewards, 0.0).sum(1)))
        self._moves = int(state.get("moves", self._room.first_moves))

    def _check(self, steps: Mapping[str, NDArray[Any]]) -> None:
        """Checks what is trusted later: indices and finite numbers."""
        for name, what, most in (
            ("action", "actions", self._spec.num_actions),
            ("to_play", "seats", self._spec.num_players),
        ):
            if ((steps[name] < 0) | (steps[name] >= most)).any():
                raise ValueError(f"{name}: expected {what} in 0 .. {most - 1}")
        for name, array in steps.items():
            if array.dtype.kind == "f" and name != "observation" and not np.isfinite(array).all():
                raise ValueError(f"{name}: expected finite numbers")


def _seen_first(reward: NDArray[np.float32], to_play: NDArray[np.int8]) -> NDArray[np.float64]:
    """Returns rewards of who moved as the first player sees them, who is the only one where there is one."""
    return np.where(to_play == 0, reward, -reward).astype(np.float64)


class RecentEpisodes:
    """Means over the episodes that ended last: `RECENT`, or all of a round that ended more.

    Args:
        counted: [n] bool, the environments whose episodes count.
        num_players: of the environment.
    """

    def __init__(self, counted: NDArray[np.bool_], num_players: int) -> None:
        """Starts with no episode; see the class for the arguments."""
        self._counted, self._num_players = counted, num_players
        self._recent = np.zeros((0, 2))  # length; return, between two players the first one's

    def add(self, lengths: NDArray[np.int64], results: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
        """Takes in finished episodes.

        Args:
            lengths: [E] int64 steps.
            results: [E] float64 undiscounted returns, between two players the first one's.
            rows: [E] int64, environment of each.
        """
        fresh = np.stack([lengths, results], 1)[self._counted[rows]]
        self._recent = np.concatenate([self._recent, fresh])[-max(RECENT, len(fresh)) :]

    def stats(self) -> dict[str, float]:
        """Returns mean length and, for one player, mean return; for two, shares of first-player wins and draws."""
        if not len(self._recent):
            return {}
        length, result = self._recent.mean(0)
        if self._num_players == 1:
            return {"episode/length": float(length), "episode/return": float(result)}
        # a game is won by whoever gets more, whatever a point is worth; partial rewards add up to nothing only almost
        won = np.sign(self._recent[:, 1].round(6))
        return {
            "episode/length": float(length),
            "episode/first_player_score": float((won.mean() + 1.0) / 2.0),
            "episode/draws": float((won == 0).mean()),
        }

    def state_dict(self) -> NDArray[np.float64]:
        """Returns the episodes, oldest first."""
        return self._recent

    def load_state_dict(self, state: NDArray[np.float64]) -> None:
        """Goes on with `state_dict`."""
        self._recent = np.asarray(state, np.float64).reshape(-1, 2)
