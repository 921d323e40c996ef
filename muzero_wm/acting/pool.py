"""The actors of a run as one: each plays a range of its slots, and their rounds are put together to episodes here.

The single process is the simplest pool, an actor in the learner's own process another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.acting.episodes import ActingResult, OpenEpisodes, Played, RecentEpisodes
from muzero_wm.acting.exploration import counted_slots
from muzero_wm.acting.worker import ActorHandle, InlineActor, ProcessActor, Weights
from muzero_wm.basis.signals import Tick, proceed
from muzero_wm.config import Config
from muzero_wm.replay.room import share_room


class ActorPool:
    """One round at a time: `begin`, then `collect`; in between, the state is that of the last border.

    Args:
        config: the run's configuration.
        state: where to go on (`state_dict`); None or empty begins.
        kind: where its actors run.
        ranges: slots of each actor, one behind the other, `acting.num_envs` together; None: one actor has them all.
            Games that are built in cannot be divided.
        note: told with the first round.

    Attributes:
        actors: one for each range.

    Raises:
        EnvError: the environment cannot be made or cannot be made there, or the state is of other slots.
    """

    def __init__(
        self,
        config: Config,
        state: Mapping[str, Any] | None = None,
        *,
        kind: type[ActorHandle],
        ranges: Sequence[range] | None = None,
        note: str = "",
    ) -> None:
        """Makes room for the unfinished episodes and starts the actors; see the class for the arguments."""
        ranges = ranges or [range(config.acting.num_envs)]
        if [slot for slots in ranges for slot in slots] != list(range(config.acting.num_envs)):
            raise ValueError(f"ranges: expected all of {config.acting.num_envs} slots in order, got {[*ranges]}")
        self._spec = envs.spec(config.env)
        self._room = share_room(self._spec, config)
        self._open = OpenEpisodes(self._spec, config.acting.num_envs, self._room)
        self._recent = RecentEpisodes(counted_slots(config.acting), self._spec.num_players)
        self._borders: list[Any] | None = None
        self._notes = [note] if note else []
        self._told = False  # that there are episodes without an end
        if state:
            self._open.load_state_dict(state["open"])
            self._borders = _borders(state["actor"], len(ranges))
            if "recent" in state:  # runs of earlier versions kept none
                self._recent.load_state_dict(state["recent"])
        self.actors: list[ActorHandle] = []
        try:
            for slots, border in zip(ranges, self._borders or [None] * len(ranges), strict=True):
                self.actors.append(kind(config, slots, border))
        except BaseException:
            self.close()
            raise

    def prepare(self, tick: Tick = proceed) -> None:
        """Waits until a round can begin at once; `begin` does not need it.

        Args:
            tick: as for `collect`.
        """
        for actor in self.actors:
            actor.prepare(tick)

    def begin(self, weights: Weights, moves: int | None = None) -> None:
        """Hands over the weights of the round; does not wait for it.

        Args:
            weights: of the network that plays.
            moves: of every environment, at most `acting.steps_per_round`, which None stands for.

        Raises:
            ActingError: a process must be replaced because of its size, and may not.
        """
        for actor in self.actors:
            actor.begin(weights, moves)

    def collect(self, tick: Tick = proceed) -> ActingResult:
        """Waits for the round and returns what it brought.

        Args:
            tick: called several times a second; may raise to give the round up.

        Raises:
            ActingError: the environment or a process failed.
        """
        rounds = [actor.collect(tick) for actor in self.actors]
        self._open.drop(np.concatenate([one.lost for one in rounds]))
        self._notes += [note for one in rounds for note in one.notes]
        self._borders = [one.border for one in rounds]
        result = self._take(_joined([one.played for one in rounds]))
        for one in rounds:
            for name, count in one.counts.items():
                result.stats[name] = result.stats.get(name, 0.0) + count
        return result

    def close(self) -> None:
        """Ends acting."""
        for actor in self.actors:
            actor.close()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state at the last border; empty before the first round."""
        if self._borders is None:
            return {}
        actor = self._borders[0] if len(self._borders) == 1 else self._borders
        return {"actor": actor, "open": self._open.state_dict(), "recent": self._recent.state_dict()}

    def _take(self, played: Played) -> ActingResult:
        """Puts a round of all slots together with what they played before."""
        absorbed = self._open.absorb(played)
        self._recent.add(absorbed.lengths, absorbed.results, np.nonzero(played.done)[1])
        stats = played.stats | self._recent.stats()
        if not self._told and not self._room.reach and absorbed.trajectories and absorbed.trajectories.cut.any():
            self._told = True
            self._notes.append(
                f"{self._spec.name}: an episode has not ended after {self._room.cut_at} steps; returns end with the "
                "search's value there, since replay.n_step 0 waits for an end: set replay.n_step, or limit the episodes"
            )
        notes, self._notes = self._notes, []
        return ActingResult(absorbed.trajectories, played.done.size, stats, notes)


def make_pool(config: Config, state: Mapping[str, Any] | None = None) -> ActorPool:
    """Returns the actor that `acting.process` asks for, or an inline one where the environment is in this process only.

    Args:
        config: the run's configuration.
        state: where to go on (`ActorPool.state_dict`); None or empty begins.
    """
    if not config.acting.process:
        return ActorPool(config, state, kind=InlineActor)
    try:
        return ActorPool(config, state, kind=ProcessActor)
    except envs.EnvError as error:
        here = config.model_copy(update={"acting": config.acting.model_copy(update={"process": False})})
        note = f"acting shares the process of the learner: {error}"
        return ActorPool(here, state, kind=InlineActor, note=note)


def _joined(parts: Sequence[Played]) -> Played:
    """Returns a round of several ranges of slots, one behind the other, as if one actor had played it."""
    if len(parts) == 1:
        return parts[0]
    widths = np.array([part.done.shape[1] for part in parts])
    ends = [np.nonzero(part.done) for part in parts]
    step = np.concatenate([steps for steps, _ in ends])
    slot = np.concatenate([slots + first for (_, slots), first in zip(ends, widths.cumsum() - widths, strict=True)])
    order = np.lexsort((slot, step))

    def ended(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    return Played(
        steps={name: np.concatenate([part.steps[name] for part in parts], 1) for name in parts[0].steps},
        done=np.concatenate([part.done for part in parts], 1),
        terminated=np.concatenate([part.terminated for part in parts], 1),
        final_observation=ended("final_observation"),
        final_value=ended("final_value"),
        final_to_play=ended("final_to_play"),
        stats={
            name: float(np.average([part.stats[name] for part in parts], weights=widths)) for name in parts[0].stats
        },
    )


def _borders(saved: Any, count: int) -> list[Any]:
    """Returns the saved state of each actor."""
    borders = [_as_arrays(part) for part in (saved if isinstance(saved, list) else [saved])]
    if len(borders) != count:
        raise envs.EnvError(
            f"actors: the checkpoint holds the states of {len(borders)}, got {count}; resume with those"
        )
    return borders


def _as_arrays(state: Any) -> Any:
    """Returns a nested dictionary with the tensors that a checkpoint holds as arrays."""
    if isinstance(state, Mapping):
        return {name: _as_arrays(part) for name, part in state.items()}
    return state.numpy() if isinstance(state, torch.Tensor) else state
