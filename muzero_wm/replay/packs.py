"""What of the replay is on the disk already: packs of episodes, written once, and what was renewed since.

A ring of hundreds of thousands of steps is not written again for every checkpoint. What is new since the last one
becomes a pack; a pack that is still small takes in the one before it, as the digits of a binary counter carry, so the
number of packs stays near the logarithm of the number of checkpoints. Evicted episodes stay in their pack until all of
it is evicted and no checkpoint names it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import CheckpointError
from muzero_wm.basis.packs import EpisodePack
from muzero_wm.envs.base import EnvSpec
from muzero_wm.replay.frames import reach_back, stored_whole

KEPT = "a run keeps its learning.terms, and by rules whether replay.reanalyze_fraction is 0"
# A pack of this share of the ring takes in no other.
_LARGE = 16
_DERIVED = ("to_end", "since")  # follow from the lengths of the episodes

Layout = Mapping[str, tuple[tuple[int, ...], Any]]


@dataclass
class _Span:
    """Consecutive episodes of the ring.

    Attributes:
        slots: of all its episodes.
        evicted: slots of the oldest ones, which are in the ring no more.
        pack: where they are stored; None: they must be.
    """

    slots: int = 0
    evicted: int = 0
    pack: EpisodePack | None = None

    @property
    def alive(self) -> int:
        return self.slots - self.evicted


class Packs:
    """Keeps account of which slots of a ring are stored where.

    Args:
        layout: shape and dtype of what a slot holds, by name.
        capacity: slots of the ring.
        spec: of the environment.
    """

    def __init__(self, layout: Layout, capacity: int, spec: EnvSpec) -> None:
        self._spec = spec
        self._layout = {name: entry for name, entry in layout.items() if name not in _DERIVED}
        self._capacity = capacity
        self._spans: deque[_Span] = deque()
        self._renewed = np.zeros(capacity, np.bool_)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._renewed.nbytes

    def append(self, where: NDArray[np.int64]) -> None:
        """Takes note of new slots, whole episodes."""
        if not self._spans or self._spans[-1].pack is not None:
            self._spans.append(_Span())
        self._spans[-1].slots += len(where)
        self._renewed[where] = False

    def evict(self, slots: int) -> None:
        """Takes note that the oldest episode, of so many slots, is gone."""
        self._spans[0].evicted += slots
        if self._spans[0].alive == 0:
            self._spans.popleft()

    def forget(self, slots: int) -> None:
        """Forgets what is stored: the next state holds one new pack of all `slots` in use.

        For a ring that went back to an earlier moment, whose packs may be gone from the disk.
        """
        self._spans = deque([_Span(slots)] if slots else [])
        self._renewed[:] = False

    def mark_renewed(self, slots: NDArray[np.int64]) -> None:
        """Takes note that policies and values of slots were replaced."""
        self._renewed[slots] = True

    def state_dict(self, ring: Mapping[str, NDArray], order: NDArray[np.int64]) -> dict[str, Any]:
        """Returns the packs and what was renewed after they were made.

        Args:
            ring: what the slots hold.
            order: the slots in use, oldest first.
        """
        self._carry()
        if self._spans and self._spans[-1].pack is None:
            last = self._spans[-1]
            slots = order[len(order) - last.alive :]
            arrays = {name: ring[name][slots] for name in self._layout}
            arrays["lengths"] = 1 + ring["to_end"][slots][_starts(ring["to_end"][slots])]
            self._spans[-1] = _Span(slots=len(slots), pack=EpisodePack(arrays))
            self._renewed[slots] = False
        renewed = np.flatnonzero(self._renewed[order])
        slots = order[renewed]
        return {
            "packs": [span.pack for span in self._spans],
            "evicted": self._spans[0].evicted if self._spans else 0,
            "renewed": {"index": renewed, "policy": ring["policy"][slots], "value": ring["value"][slots]},
        }

    def load_state_dict(
        self, state: Mapping[str, Any], ring: Mapping[str, NDArray], order: NDArray[np.int64]
    ) -> list[int]:
        """Fills the slots of a ring.

        Args:
            state: from `state_dict`.
            ring: written to.
            order: the slots to fill, oldest first.

        Returns:
            Slots of each episode, oldest first.

        Raises:
            CheckpointError: a pack is missing or damaged, or of a version that stored stacks of frames.
            ValueError: the state does not fit the ring or contradicts itself.
        """
        self._spans.clear()
        self._renewed[:] = False
        slot_bytes = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in self._layout.values()) + 8
        done, skip, episodes = 0, int(state["evicted"]), []
        if skip < 0:
            raise ValueError(f"{skip} evicted slots")
        for pack in state["packs"]:
            if not isinstance(pack, EpisodePack):
                raise ValueError("a pack of episodes is none")
            arrays = _arrays(pack, max_bytes=2 * self._capacity * slot_bytes)
            lengths = self._checked_lengths(arrays)
            span = _Span(slots=int(lengths.sum()), evicted=skip, pack=pack)
            ends = np.cumsum(lengths)
            first = int(np.searchsorted(ends, skip, side="right")) if skip else 0
            where = order[done : done + span.alive]
            if len(where) != span.alive or not len(where) or (skip and ends[first - 1] != skip):
                raise ValueError("the packs of episodes do not fit together")
            for name in self._layout:
                ring[name][where] = arrays[name][skip:]
            here = np.arange(span.slots)
            ring["to_end"][where] = (np.repeat(ends - 1, lengths) - here)[skip:]
            if "since" in ring:
                ring["since"][where] = reach_back(here - np.repeat(ends - lengths, lengths), self._spec.frames)[skip:]
            episodes += lengths[first:].tolist()
            self._spans.append(span)
            done, skip = done + span.alive, 0
        if done != len(order):
            raise ValueError(f"the packs hold {done} slots, {len(order)} are in use")
        self._patch(state["renewed"], ring, order)
        self._check(ring, order)
        return episodes

    def _carry(self) -> None:
        """Opens the packs again that were never written, and those that the newest one should take in."""
        while self._spans and (pack := self._spans[-1].pack) is not None and pack.stored is None:
            self._spans[-1].pack = None
        while len(self._spans) > 1 and self._spans[-1].pack is None:
            last, before = self._spans[-1], self._spans[-2]
            carried = last.alive + before.alive
            written = before.pack is not None and before.pack.stored is not None
            if written and (before.alive > 2 * last.alive or carried > self._capacity // _LARGE):
                break
            self._spans.pop()
            self._spans[-1] = _Span(slots=carried)

    def _checked_lengths(self, arrays: Mapping[str, NDArray]) -> NDArray[np.int64]:
        """Returns the slots of each episode of a pack whose arrays are what this ring holds."""
        if missing := sorted(self._layout.keys() - arrays.keys()):
            raise ValueError(f"a pack of episodes holds no {missing[0]}; {KEPT}")
        if further := sorted(arrays.keys() - {*self._layout, "lengths"}):
            raise ValueError(f"a pack of episodes holds {further[0]}, which this run does not store; {KEPT}")
        lengths = np.asarray(arrays["lengths"])
        if lengths.ndim != 1 or lengths.dtype.kind != "i" or not len(lengths) or lengths.min() < 2:
            raise ValueError("expected episodes of two slots or more")
        if lengths.max() > self._capacity or lengths.sum() > 2 * self._capacity:
            raise ValueError("a pack of episodes is larger than the ring")
        if problem := stored_whole(self._spec, arrays["observation"]):
            raise CheckpointError(f"replay: {problem}")
        for name, (shape, dtype) in self._layout.items():
            expected = (int(lengths.sum()), *shape)
            if arrays[name].shape != expected or arrays[name].dtype != dtype:
                raise ValueError(
                    f"{name}: expected {np.dtype(dtype)} {expected}, got {arrays[name].dtype} {arrays[name].shape}"
                )
        return lengths.astype(np.int64)

    def _patch(self, renewed: Mapping[str, Any], ring: Mapping[str, NDArray], order: NDArray[np.int64]) -> None:
        index, policy, value = (np.asarray(renewed[name]) for name in ("index", "policy", "value"))
        inside = not len(index) or 0 <= index.min() <= index.max() < len(order)
        if index.ndim != 1 or index.dtype != np.int64 or not inside:
            raise ValueError("expected indices of stored slots that were renewed")
        if policy.dtype != np.float32 or value.dtype != np.float32 or value.shape != index.shape:
            raise ValueError("expected a policy and a value for each renewed slot")
        slots = order[index]
        ring["policy"][slots] = policy
        ring["value"][slots] = value
        self._renewed[slots] = True

    def _check(self, ring: Mapping[str, NDArray], order: NDArray[np.int64]) -> None:
        """Checks what kernels trust: indices and finite numbers."""
        num_actions = self._layout["policy"][0][0]
        action, final = ring["action"][order], ring["to_end"][order] == 0
        if ((action < 0) != final).any() or (action < -1).any() or (action >= num_actions).any():
            raise ValueError(f"actions: expected 0 .. {num_actions - 1}, and -1 in final slots")
        if ((ring["to_play"][order] != 0) & (ring["to_play"][order] != 1)).any():
            raise ValueError("to_play: expected 0 or 1")
        for name, (_, dtype) in self._layout.items():
            stored = np.dtype(dtype).kind == "f" and name != "observation"
            if stored and not np.isfinite(ring[name][order]).all():
                raise ValueError(f"{name}: expected finite numbers")


def contents(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a saved replay holds, oldest slot first, however it is split into packs.

    Two replays are the same when this is; which packs they lie in depends on when checkpoints were saved.

    Args:
        state: from `ReplayBuffer.state_dict` or a checkpoint.

    Returns:
        What the slots hold, by name; where episodes end; priorities and counters.
    """
    packs = [_arrays(pack) for pack in state["packs"]]
    lengths = [pack.pop("lengths") for pack in packs]
    out: dict[str, Any] = {name: np.concatenate([pack[name] for pack in packs]) for name in (packs or [{}])[0]}
    out = {name: array[state["evicted"] :].copy() for name, array in out.items()}
    for name in ("policy", "value"):
        if name in out:
            out[name][np.asarray(state["renewed"]["index"])] = np.asarray(state["renewed"][name])
    out["episode_ends"] = np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths])) - state["evicted"]
    out["episode_ends"] = out["episode_ends"][out["episode_ends"] > 0]
    return out | {name: state[name] for name in ("capacity", "head", "priority", "counters")}


def _arrays(pack: EpisodePack, max_bytes: int | None = None) -> dict[str, NDArray]:
    """Returns what a pack holds; those of earlier versions, which stored whole episodes only, were never cut."""
    arrays = pack.arrays(max_bytes=max_bytes)
    if "cut" not in arrays and "action" in arrays:
        arrays["cut"] = np.zeros(len(arrays["action"]), np.bool_)
    return arrays


def _starts(to_end: NDArray[np.int32]) -> NDArray[np.int64]:
    """Returns where episodes begin in consecutive whole ones."""
    return np.flatnonzero(np.concatenate([[True], to_end[:-1] == 0])[: len(to_end)])
