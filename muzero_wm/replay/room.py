"""How the memory of the replay is shared out: the ring, and the episodes that are still being played."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from muzero_wm.basis.errors import UserError
from muzero_wm.config import Config, ReplayConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.replay.stored import Layout, Stored, TermError, stored_for

# New steps of a segment for every step it repeats: a fifth of a ring of segments is there twice.
_NEW_PER_REPEATED = 4
# Unfinished episodes lie in their rows and in the copy of the last border.
_COPIES = 2
_MIB = 2**20
# What else the states of ring and unfinished episodes hold.
_TAKEN = (
    "terminated", "cut", "to_end", "since", "priority", "rewarding", "lengths",
    "length", "repeated", "lead", "steps", "return", "moves",
)  # fmt: skip


def step_layout(spec: EnvSpec, stored: Sequence[Stored] = ()) -> Layout:
    """Returns shape and dtype of what a step consists of, by the names of Trajectories.

    Args:
        spec: shapes.
        stored: what terms of the loss have stored besides.

    Raises:
        TermError: a term stores something by a name that is taken.
    """
    layout: Layout = {
        "observation": (spec.frame_shape, spec.observation_dtype),
        "legal_actions": ((spec.num_actions,), np.bool_),
        "to_play": ((), np.int8),
        "action": ((), np.int32),
        "reward": ((), np.float32),
        "policy": ((spec.num_actions,), np.float32),
        "value": ((), np.float32),
    }
    for each in stored:
        if each.name in layout or each.name in _TAKEN:
            raise TermError(f"learning.terms: a term stores {each.name!r}, a name that is taken; choose another")
        layout[each.name] = each.entry(spec)
    return layout


def ring_layout(spec: EnvSpec, stored: Sequence[Stored] = ()) -> Layout:
    """Returns shape and dtype of what a slot of the ring holds, by name."""
    layout = step_layout(spec, stored) | {"terminated": ((), np.bool_), "cut": ((), np.bool_), "to_end": ((), np.int32)}
    return layout | ({"since": ((), np.uint8)} if spec.frames > 1 else {})


def layout_bytes(layout: Layout) -> int:
    """Returns the bytes of one step or slot."""
    return sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in layout.values())


def ring_capacity(spec: EnvSpec, config: ReplayConfig, open_bytes: int = 0, stored: Sequence[Stored] = ()) -> int:
    """Returns how many slots a ring has, with everything that belongs to a slot.

    Args:
        spec: shapes.
        config: `max_mib` and `max_steps`, the smaller of which counts.
        open_bytes: of `max_mib`, what is not for the ring.
        stored: what terms of the loss have stored.

    Raises:
        UserError: there is room for less than two slots.
    """
    slot = _slot_bytes(spec, config, stored)
    capacity = min(int(config.max_mib * _MIB - open_bytes) // slot, config.max_steps)
    if capacity < 2:
        raise UserError(f"replay.max_mib: {config.max_mib} MiB hold no episode, one slot takes {slot} bytes")
    return capacity


def _slot_bytes(spec: EnvSpec, config: ReplayConfig, stored: Sequence[Stored]) -> int:
    # two sum trees of the next power of two leaves hold less than this per slot, with one byte for what was renewed
    return layout_bytes(ring_layout(spec, stored)) + (65 if config.bootstrap == "search" else 69)


def targets_reach(config: ReplayConfig) -> int:
    """Returns how many steps behind a sampled one its targets look, 0 where they look for the end of the episode."""
    return config.unroll_steps + config.n_step if config.n_step else 0


@dataclass(frozen=True)
class Room:
    """What there is room for.

    Attributes:
        capacity: slots of the ring.
        columns: slots in the row of an unfinished episode.
        cut_at: an episode that has more steps at the border of a round is handed over as far as it is known; those that
            only stacks of frames need are not counted.
        reach: steps behind a sampled one that its targets need; 0: all until the end of the episode.
        first_moves: moves of every environment after which the first update may come, for a reach > 0.
        open_bytes: of all unfinished episodes, with their copy at the last border.
        max_mib: what is shared out.
        max_steps: what the ring was asked to hold.
        longest: steps an episode can have, None where unknown.
        stored: what terms of the loss have stored of every step.
        lead: most steps at the beginning of a segment that were sampled in the one before it, and are there for what
            stacks of frames show.
    """

    capacity: int
    columns: int
    cut_at: int
    reach: int
    first_moves: int
    open_bytes: int
    max_mib: float
    max_steps: int
    longest: int | None
    stored: tuple[Stored, ...] = ()
    lead: int = 0

    def describe(self) -> list[str]:
        """Returns what the replay holds, a line each."""
        lowered = ""
        if self.capacity < self.max_steps:
            lowered = f" (replay.max_mib lowers replay.max_steps {self.max_steps})"
        lines = [
            f"replay: up to {self.capacity} steps{lowered}, within {self.max_mib:g} MiB, of which "
            f"{self.open_bytes / _MIB:.3g} MiB for unfinished episodes"
        ]
        if not self.reach and (self.longest is None or self.longest > self.cut_at):
            lines.append(
                f"replay: n_step 0 waits for the end of every episode, for {self.cut_at} steps at most; returns of "
                "longer ones end with the search's value there"
            )
        return lines


def share_room(spec: EnvSpec, config: Config) -> Room:
    """Shares out the memory of a run's replay.

    Unfinished episodes get what they need, up to half of it, and what they want, up to a quarter.

    Args:
        spec: of the environment.
        config: of the run.

    Returns:
        What there is room for.

    Raises:
        UserError: not even what the targets of one step need fits in.
        TermError: a term of the loss is not known.
    """
    stored = stored_for(config)
    replay, rows, round_steps = config.replay, config.acting.num_envs, config.acting.steps_per_round
    budget, column = int(replay.max_mib * _MIB), _COPIES * rows * layout_bytes(step_layout(spec, stored))
    reach, lead = targets_reach(replay), spec.frames - 1
    needed = max(reach, 1)
    # what is handed over together should be a small part of the ring
    wanted = reach + _NEW_PER_REPEATED * (reach + lead)
    wanted = min(wanted, replay.max_steps // (4 * rows)) if reach else replay.max_steps
    wanted = max(needed, min(wanted, spec.max_episode_steps or wanted))
    # steps until the next border, the final observation, and what stacks show from before the first step
    beyond = round_steps + 1 + lead
    in_quarter, in_half = (budget // (share * column) - beyond for share in (4, 2))
    in_ring = min(replay.max_steps, budget // (2 * _slot_bytes(spec, replay, stored))) - beyond
    cut_at = min(wanted, max(in_quarter, min(needed, in_half)), in_ring)
    if cut_at < needed:
        least = 2 * max(column * (needed + beyond), _slot_bytes(spec, replay, stored) * (needed + beyond)) / _MIB
        raise UserError(
            f"replay.max_mib / max_steps: expected room for {needed + beyond} steps of each of {rows} environments, "
            f"which takes {least:.3g} MiB and {needed + beyond} steps, got {replay.max_mib:g} MiB and "
            f"{replay.max_steps} steps; raise them, or lower acting.num_envs, acting.steps_per_round, "
            "replay.unroll_steps or replay.n_step"
        )
    columns = cut_at + beyond
    return Room(
        capacity=ring_capacity(spec, replay, columns * column, stored),
        columns=columns,
        cut_at=cut_at,
        reach=reach,
        first_moves=max(-(-replay.min_steps // rows), reach + 1),
        open_bytes=columns * column,
        max_mib=replay.max_mib,
        max_steps=replay.max_steps,
        longest=spec.max_episode_steps,
        stored=stored,
        lead=lead,
    )
