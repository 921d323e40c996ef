"""The replay ring: episodes and parts of them in preallocated arrays, bounded in bytes, sampled through a sum tree."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import CheckpointError, UserError
from muzero_wm.config import ReplayConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.model.observation import Statistics
from muzero_wm.replay.batch import Batch, Draws
from muzero_wm.replay.frames import reach_back, stacks
from muzero_wm.replay.packs import Packs
from muzero_wm.replay.room import ring_capacity, ring_layout, targets_reach
from muzero_wm.replay.sampling import draw, leads_to_reward
from muzero_wm.replay.statistics import observation_statistics
from muzero_wm.replay.stored import Stored
from muzero_wm.replay.sum_tree import SumTree
from muzero_wm.replay.targets import check_clipping, make_targets, return_ends
from muzero_wm.replay.trajectory import Trajectories
from muzero_wm.replay.undo import UndoLog

__all__ = ["PRIORITY_FLOOR", "Batch", "Draws", "ReplayBuffer"]

PRIORITY_FLOOR = 1e-6


class ReplayBuffer:
    """Most recent episodes, or parts of them, evicted whole and oldest first.

    Parts of an episode overlap by what targets look ahead (`targets_reach`) and stacks of frames look back: a step is
    sampled in the one part that holds all that it needs, so its targets and stacks are those of the whole episode.

    Args:
        spec: shapes of what is stored.
        config: bounds and sampling constants.
        discount: per step, in [0, 1]; signs between players come from `to_play`.
        open_bytes: what unfinished episodes take of `config.max_mib`.
        stored: what terms of the loss have stored of every step.
        clip_rewards: targets are made of the signs of rewards, which are stored as they are.

    Raises:
        UserError: the byte bound is too small for two slots, or rewards are clipped between two players or where the
            environment bounds them.
    """

    def __init__(
        self,
        spec: EnvSpec,
        config: ReplayConfig,
        discount: float,
        open_bytes: int = 0,
        stored: Sequence[Stored] = (),
        clip_rewards: bool = False,
    ) -> None:
        """Allocates the ring; see the class for the arguments."""
        if clip_rewards:
            check_clipping(spec)
        self.config, self.discount, self.clip_rewards = config, discount, clip_rewards
        self._spec = spec
        layout = ring_layout(spec, stored)
        self.capacity = ring_capacity(spec, config, open_bytes, stored)
        self._stored = tuple(each.name for each in stored)
        self.ring: dict[str, NDArray[Any]] = {
            name: np.zeros((self.capacity, *shape), dtype) for name, (shape, dtype) in layout.items()
        }
        self._ends = np.zeros(self.capacity if config.bootstrap == "teacher" else 0, np.float32)
        self._tree = SumTree(self.capacity)
        self._rewarding = SumTree(self.capacity) if config.reward_fraction else None  # 1 where a reward can be seen
        self._packs = Packs(layout, self.capacity, spec)
        self._segments: deque[int] = deque()  # slots of each stored segment, oldest first
        self._head = 0  # slot that is written next
        self._used = 0
        self._num_steps = 0
        self._played: deque[int] = deque()  # steps of each segment, drawn or not, that no other counts
        self.total_steps = 0
        self.total_episodes = 0
        self._undo: UndoLog | None = None
        self._marked: dict[str, Any] = {}

    @property
    def nbytes(self) -> int:
        """Bytes held, all of them allocated at the start."""
        stored = sum(array.nbytes for array in self.ring.values())
        trees = self._tree.nbytes + (0 if self._rewarding is None else self._rewarding.nbytes)
        return stored + self._ends.nbytes + trees + self._packs.nbytes

    @property
    def num_steps(self) -> int:
        """Steps that can be sampled now."""
        return self._num_steps

    @property
    def undo_nbytes(self) -> int:
        """Bytes held for `rewind`, beyond `nbytes`."""
        return 0 if self._undo is None else self._undo.nbytes

    def extend(self, data: Trajectories) -> None:
        """Stores episodes or parts of them, evicting the oldest where room is needed.

        Args:
            data: packed segments.

        Raises:
            UserError: a segment is longer than the whole ring.
            ValueError: a reward, value, policy or something else that is stored is not finite.
        """
        numbers = {name: getattr(data, name) for name in ("reward", "value", "policy")} | data.stored
        for name, array in numbers.items():
            if not np.isfinite(array).all():
                raise ValueError(f"{name}: expected finite numbers in a trajectory, got NaN or infinity")
        slots_of = data.lengths + 1
        if len(data) and slots_of.max() > self.capacity:
            raise UserError(
                f"replay.max_mib / max_steps: an episode of {slots_of.max() - 1} steps does not fit "
                f"into {self.capacity} slots; raise them, or limit the length of an episode"
            )
        ends = np.cumsum(slots_of)
        # of what is there now, so that one large error long ago does not count for ever
        priority = self._tree.largest or 1.0
        start = 0
        while start < len(data):  # at most one ring at a time
            base = ends[start] - slots_of[start]
            stop = int(np.searchsorted(ends, base + self.capacity, side="right"))
            self._write(data, slice(start, stop), slots_of[start:stop], int(base), int(ends[stop - 1]), priority)
            start = stop
        self.total_steps += data.num_steps
        self.total_episodes += int((~data.cut).sum())
        wanted = max(self.config.min_steps, self.config.window * self.total_steps)
        kept = sum(self._played)
        while self._played and kept - self._played[0] >= wanted:
            kept -= self._played[0]
            self._evict()

    def _write(
        self, data: Trajectories, part: slice, slots_of: NDArray[np.int64], begin: int, end: int, priority: float
    ) -> None:
        count = end - begin
        while self._used + count > self.capacity:
            self._evict()
        where = (self._head + np.arange(count)) % self.capacity
        for name in ("observation", "legal_actions", "to_play", "action", "reward", "policy", "value"):
            self._put(name, where, getattr(data, name)[begin:end])
        for name in self._stored:
            self._put(name, where, data.stored[name][begin:end])
        last = np.repeat(np.cumsum(slots_of) - 1, slots_of)
        to_end = last - np.arange(count)
        self._put("to_end", where, to_end)
        position = np.repeat(slots_of - 1, slots_of) - to_end
        if "since" in self.ring:
            self._put("since", where, reach_back(position, self._spec.frames))
        cut = np.repeat(data.cut[part], slots_of)
        self._put("terminated", where, np.repeat(data.terminated[part], slots_of))
        self._put("cut", where, cut)
        # before a cut, what looks beyond it is sampled in the next segment, which begins with it; where targets look
        # for an end that did not come, returns end with the value there, as at a truncation
        sampled = to_end >= np.where(cut, max(targets_reach(self.config), 1), 1)
        sampled &= position >= np.repeat(data.lead[part], slots_of)
        self._played.extend(_sums(sampled, slots_of).tolist())
        # where there is no policy to learn, a position is seen on the way from the one before
        sampled &= data.policy[begin:end].any(axis=1)
        self._put("priority", where, np.where(sampled, priority, 0.0))
        if self._rewarding is not None:
            leads = leads_to_reward(data.reward[begin:end], to_end, self.config.unroll_steps)
            self._put("rewarding", where, (sampled & leads).astype(np.float64))
        self._num_steps += int(sampled.sum())
        self._segments.extend(int(n) for n in slots_of)
        self._packs.append(where)
        self._head = (self._head + count) % self.capacity
        self._used += count

    def _evict(self) -> None:
        """Takes the oldest segment out."""
        oldest = (self._head - self._used + np.arange(self._segments.popleft())) % self.capacity
        self._played.popleft()
        self._num_steps -= int((self._tree.get(oldest) > 0.0).sum())
        for name in self._trees():
            self._put(name, oldest, np.zeros(len(oldest)))
        self._used -= len(oldest)
        self._packs.evict(len(oldest))

    def sample_slots(self, count: int, rng: np.random.Generator) -> Draws:
        """Draws steps in proportion to their priorities, a share of `reward_fraction` where a reward follows.

        Of the others a share of `terminal_fraction` is moved forward to within K steps of its episode's end, where
        rewards of board games live; not in a segment that was cut, whose episode's end is elsewhere.

        The odds of a step that was moved are those of the step that was drawn: what `terminal_fraction` is for is not
        corrected.

        Args:
            count: number of draws.
            rng: source of randomness.

        Returns:
            The steps and their odds.
        """
        share = self.config.reward_fraction
        draws, chosen = draw(self._tree, self._rewarding, share, count, self.num_steps, rng)
        slots = draws.slot
        near_end = (rng.random(count) < self.config.terminal_fraction) & ~self.ring["cut"][slots] & ~chosen
        to_end = self.ring["to_end"][slots]
        back = 1 + (rng.random(count) * np.minimum(self.config.unroll_steps, to_end)).astype(np.int64)
        return replace(draws, slot=np.where(near_end, (slots + to_end - back) % self.capacity, slots))

    def observations(self, slots: NDArray[np.int64]) -> NDArray[Any]:
        """Returns what was shown, [..., *observation_shape], in slots [...] int64 that are sampled or behind such."""
        return stacks(self.ring, slots, self._spec)

    def observation_statistics(self, per_channel: bool) -> Statistics:
        """Returns the statistics of all stored observations, final ones included; at least one episode is stored.

        Args:
            per_channel: over all cells of a channel [C, H, W] too, not feature by feature.
        """
        return observation_statistics(self.ring["observation"], self._order(), per_channel, self._spec.frames)

    def batch(
        self,
        drawn: Draws | NDArray[np.int64],
        beta: float,
        rng: np.random.Generator,
        ends: NDArray[np.float32] | None = None,
    ) -> Batch[NDArray[Any]]:
        """Gathers observations and builds targets.

        Args:
            drawn: [B] from `sample_slots`, with the odds of then: priorities may have changed since. Or slots [B] int64
                that were not drawn, whose weights are 1.
            beta: in [0, 1], how much weights undo priorities. What rewarding steps are drawn more often is undone
                whole, but for the rewards; and for these priorities are undone only as far as they chose.
            rng: draws the actions of absorbing states.
            ends: from `ends_with`, values with which returns end; None for the stored ones.

        Returns:
            Samples for one or several updates.
        """
        slots = drawn.slot if isinstance(drawn, Draws) else drawn
        unroll, actions = self.config.unroll_steps, self.ring["policy"].shape[1]
        targets = make_targets(
            slots,
            self.ring,
            self.ring["value"] if ends is None else ends,
            unroll_steps=unroll,
            n_step=self.config.n_step,
            discount=self.discount,
            outcome_weight=self.config.outcome_weight,
            filler=rng.integers(0, actions, (len(slots), unroll), dtype=np.int32),
            clip_rewards=self.clip_rewards,
        )
        weight = reward_weight = np.ones(len(slots))
        if isinstance(drawn, Draws):
            by_priority = drawn.odds**-beta
            weight = by_priority / drawn.favour
            reward_weight = (1.0 - drawn.evenly) * by_priority + drawn.evenly
        return Batch(
            observation=self.observations(slots),
            next_observation=self.observations(targets.slot[:, 1:]),
            targets=targets,
            weight=(weight / weight.max()).astype(np.float32),
            reward_weight=(reward_weight / reward_weight.max()).astype(np.float32),
            slot=slots,
            stored={name: self.ring[name][targets.slot] for name in self._stored},
        )

    def update_priorities(self, slots: NDArray[np.int64], td_errors: NDArray[np.float32]) -> None:
        """Sets priorities from fresh errors: p = (|td_error| + 1e-6) ** alpha.

        Source: Schaul et al. (arXiv:1511.05952) section 3.3.

        Args:
            slots: [B] int64 roots of a batch.
            td_errors: [B] float32, value minus target.
        """
        if self.config.priority_exponent == 0.0:
            return
        priorities = (np.abs(td_errors.astype(np.float64)) + PRIORITY_FLOOR) ** self.config.priority_exponent
        # `terminal_fraction` moves samples to steps that are not drawn by themselves, and these stay so
        drawn = self._tree.get(slots) > 0.0
        self._put("priority", slots[drawn], priorities[drawn])

    def renew(self, slots: NDArray[np.int64], policy: NDArray[np.float32], value: NDArray[np.float32]) -> None:
        """Replaces stored policy targets and root values.

        Args:
            slots: [n] int64 ring slots, none of them final.
            policy: [n, A] float32.
            value: [n] float32.
        """
        self._put("policy", slots, policy)
        self._put("value", slots, value)
        self._packs.mark_renewed(slots)

    def bootstrap_slots(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the slots whose values end the n-step returns of K + 1 positions behind each sampled slot.

        Args:
            slots: [n] int64 from `sample_slots`.

        Returns:
            [m] int64, ascending, each once; without the ends of terminated episodes, whose value is 0 for ever.
        """
        return return_ends(slots, self.ring, self.config.unroll_steps, self.config.n_step)

    def ends_with(self, slots: NDArray[np.int64], value: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns values with which returns may end instead of the stored ones; for bootstrap "teacher".

        Args:
            slots: [m] int64 from `bootstrap_slots`, for all samples of the batches to come.
            value: [m] float32.

        Returns:
            [capacity] float32 for `batch`, in memory of the buffer that the next call writes anew.
        """
        # what is stored stays the search's; elsewhere, and at the ends of terminated episodes, it counts as it did
        np.copyto(self._ends, self.ring["value"])
        self._ends[slots] = value
        return self._ends

    def mark(self) -> None:
        """Remembers this moment for `rewind`; from here on overwritten values are kept until the next mark."""
        self._undo = UndoLog()
        names = ("_head", "_used", "_num_steps", "total_steps", "total_episodes")
        self._marked = {name: getattr(self, name) for name in names} | {
            "_segments": self._segments.copy(),
            "_played": self._played.copy(),
        }

    def rewind(self) -> None:
        """Goes back to the last mark, exactly, and keeps nothing more until the next.

        Raises:
            RuntimeError: nothing was marked.
        """
        if self._undo is None:
            raise RuntimeError("rewind: nothing was marked")
        undo, self._undo = self._undo, None
        undo.undo(self._put)
        for name, value in self._marked.items():
            setattr(self, name, value)
        self._packs.forget(self._used)

    def _put(self, name: str, slots: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Writes values into slots of the ring or of a tree."""
        tree = self._trees().get(name)
        if self._undo is not None:
            self._undo.keep(name, slots, self.ring[name][slots] if tree is None else tree.get(slots))
        if tree is None:
            self.ring[name][slots] = values
        else:
            tree.update(slots, values)

    def _trees(self) -> dict[str, SumTree]:
        return {"priority": self._tree} | ({} if self._rewarding is None else {"rewarding": self._rewarding})

    def state_dict(self) -> dict[str, Any]:
        """Returns everything stored.

        Episodes come in packs that `save_checkpoint` writes once, however many checkpoints need them; priorities, what
        was renewed since a pack was made, and counters are in the state itself.
        """
        order = self._order()
        state = self._packs.state_dict(self.ring, order)
        state |= {
            "capacity": self.capacity,
            "head": self._head,
            "priority": self._tree.get(order),
            "counters": [self.total_steps, self.total_episodes],
            "played": list(self._played),
        }
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict`, slot by slot where the ring has the size it had.

        In a ring of the same size every slot gets its old place, so that the same draws give the same samples.

        Raises:
            CheckpointError: a pack of episodes is damaged, or the state does not fit this ring; the ring is then as
                good as empty and must not be used.
        """
        try:
            self._restore(state)
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
            raise CheckpointError(f"replay: the checkpoint makes no sense: {str(error)[:200]}") from None

    def _restore(self, state: dict[str, Any]) -> None:
        priority = np.asarray(state["priority"])
        used, same_ring = len(priority), state["capacity"] == self.capacity
        if used > self.capacity:
            raise CheckpointError(
                f"replay: the checkpoint holds {used} slots, this ring {self.capacity}; raise max_mib or max_steps"
            )
        head = int(state["head"]) if same_ring else used % self.capacity
        total_steps, total_episodes = (int(n) for n in state["counters"])
        if not 0 <= head < self.capacity:
            raise ValueError(f"head {head}")
        self._head, self._used = head, used
        order = self._order()
        segments = self._packs.load_state_dict(state, self.ring, order)
        if priority.dtype != np.float64 or priority.shape != (used,):
            raise ValueError(f"expected {used} float64 priorities")
        if ((priority > 0.0) & (self.ring["to_end"][order] == 0)).any():
            raise ValueError("a final slot has a priority")
        self._tree = SumTree(self.capacity)
        self._tree.update(order, priority)
        if self._rewarding is not None:
            reward, to_end = self.ring["reward"][order], self.ring["to_end"][order]
            leads = leads_to_reward(reward, to_end, self.config.unroll_steps) & (priority > 0.0)
            self._rewarding = SumTree(self.capacity)
            self._rewarding.update(order, leads.astype(np.float64))
        self._segments = deque(segments)
        # in runs of earlier versions every step could be drawn
        played = state["played"] if "played" in state else _sums(priority > 0.0, np.asarray(segments, np.int64))
        self._played = deque(int(n) for n in played)
        if len(self._played) != len(self._segments):
            raise ValueError(f"{len(self._played)} numbers of steps for {len(self._segments)} segments")
        self._num_steps = int((priority > 0.0).sum())
        ended = int(((self.ring["to_end"][order] == 0) & ~self.ring["cut"][order]).sum())
        if total_episodes < ended or total_steps < self.num_steps:
            raise ValueError(f"counters {total_steps}, {total_episodes} are smaller than what is stored")
        self.total_steps, self.total_episodes = total_steps, total_episodes

    def _order(self) -> NDArray[np.int64]:
        """Returns the slots in use, oldest first."""
        return (self._head - self._used + np.arange(self._used)) % self.capacity


def _sums(flags: NDArray[np.bool_], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns how many flags are set in each of consecutive stretches of these lengths."""
    before = np.concatenate([[0], np.cumsum(flags)])
    ends = np.cumsum(lengths, dtype=np.int64)
    return before[ends] - before[ends - lengths]
