"""Training targets for unrolled positions, computed straight from the ring in Numba.

Source: MuZero (arXiv:1911.08265) section 3 and appendix G; signs as for zero-sum games, one flip per change of player.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import numpy as np
from numba import types
from numpy.typing import NDArray

from muzero_wm.basis.compiling import compiled
from muzero_wm.basis.errors import UserError
from muzero_wm.envs.base import EnvSpec

A = TypeVar("A")
B = TypeVar("B")


@dataclass
class Targets(Generic[A]):
    """Targets of B unrolls; index k is k imagined steps after the root.

    They are made as NumPy arrays; whoever learns from them wants tensors on a device (`map`).

    Attributes:
        action: [B, K] int32; past the end of an episode any action (absorbing state).
        reward: [B, K] float32, of action k, seen by the player who took it; its sign where rewards are clipped.
        reward_mask: [B, K] float32; 0 where nothing is known (past a truncation).
        value: [B, K + 1] float32, seen by the player to move.
        value_mask: [B, K + 1] float32.
        policy: [B, K + 1, A] float32.
        policy_mask: [B, K + 1] float32; 0 where no full search was made, and from the final observation on.
        next_mask: [B, K] float32; 1 where the observation after action k exists.
        same_player: [B, K] float32; 1 where the player who took action k is to move after it, else 0.
        same_player_mask: [B, K] float32; 0 past the end and on the move that ends a game: nobody is to move there.
        terminal: [B, K + 1] bool; True at the terminal position itself.
        slot: [B, K + 1] int64, ring slot of each position; clamped to the episode's final slot.
    """

    action: A
    reward: A
    reward_mask: A
    value: A
    value_mask: A
    policy: A
    policy_mask: A
    next_mask: A
    same_player: A
    same_player_mask: A
    terminal: A
    slot: A

    def map(self, change: Callable[[A], B]) -> Targets[B]:
        """Returns the targets with every array changed in the same way."""
        return Targets(**{each.name: change(getattr(self, each.name)) for each in fields(self)})


_INTS, _FLAGS, _SEATS, _FLOATS = types.int32[::1], types.boolean[::1], types.int8[::1], types.float32[::1]
_STEP_INTS, _STEP_FLOATS = types.int32[:, ::1], types.float32[:, ::1]


@compiled(types.float32(types.float32, types.boolean))
def learnt_reward(reward: float, clip: bool) -> float:
    """Returns what is learnt of a stored reward: its sign (Mnih et al. 2015, Nature 518), or all of it."""
    if not clip:
        return reward
    return 1.0 if reward > 0.0 else (-1.0 if reward < 0.0 else 0.0)


@compiled(types.float64(types.int64, _INTS, _SEATS, _FLOATS, _FLOATS, types.int64, types.float64, types.boolean))
def n_step_return(
    slot: int,
    to_end: NDArray[np.int32],
    to_play: NDArray[np.int8],
    reward: NDArray[np.float32],
    value: NDArray[np.float32],
    n_step: int,
    discount: float,
    clip: bool,
) -> float:
    """Returns the discounted return of one ring slot, bootstrapped after `n_step` steps.

    Source: z_t = sum_{i<n} g^i r_{t+i} + g^n v_{t+n}, each term negated where the player to move is not the one at t.

    Args:
        slot: ring slot of a step (or of a final observation: its stored value is returned).
        to_end: [capacity] steps until the episode's final slot.
        to_play: [capacity] player to move.
        reward: [capacity] reward of the step, seen by the player who moved.
        value: [capacity] value of the position; 0 in the final slot of a terminated episode.
        n_step: horizon; 0 runs to the episode's end.
        discount: per step.
        clip: rewards count by their signs; values are in these units already.

    Returns:
        The return, seen by the player to move at `slot`.
    """
    capacity = to_end.shape[0]
    remaining = to_end[slot]
    horizon = remaining if n_step == 0 else min(n_step, remaining)
    mover = to_play[slot]
    total, factor = 0.0, 1.0
    for i in range(horizon):
        s = (slot + i) % capacity
        r = learnt_reward(reward[s], clip)
        total += factor * r if to_play[s] == mover else -factor * r
        factor *= discount
    s = (slot + horizon) % capacity
    return total + factor * value[s] if to_play[s] == mover else total - factor * value[s]


@compiled(
    types.void(
        types.int64[::1], _INTS, _FLAGS, _SEATS, _INTS, _FLOATS, _FLOATS, _FLOATS, _STEP_FLOATS,
        types.int64, types.float64, types.boolean, types.float64, _STEP_INTS,
        _STEP_INTS, _STEP_FLOATS, _STEP_FLOATS, _STEP_FLOATS, _STEP_FLOATS, types.float32[:, :, ::1], _STEP_FLOATS,
        _STEP_FLOATS, _STEP_FLOATS, _STEP_FLOATS, types.boolean[:, ::1], types.int64[:, ::1],
    )
)  # fmt: skip
def _fill(  # type: ignore[no-untyped-def]
    slots, to_end, terminated, to_play, action, reward, value, bootstrap, policy,
    n_step, discount, clip, outcome_weight, filler,
    out_action, out_reward, out_reward_mask, out_value, out_value_mask, out_policy, out_policy_mask, out_next_mask,
    out_same_player, out_same_player_mask, out_terminal, out_slot,
):  # fmt: skip
    capacity = to_end.shape[0]
    unroll = out_action.shape[1]
    for b in range(slots.shape[0]):
        remaining = to_end[slots[b]]
        absorbing = terminated[slots[b]]
        for k in range(unroll + 1):
            s = (slots[b] + min(k, remaining)) % capacity
            out_slot[b, k] = s
            if k < remaining:
                z = n_step_return(s, to_end, to_play, reward, bootstrap, n_step, discount, clip)
                out_value[b, k] = outcome_weight * z + (1.0 - outcome_weight) * value[s]
                out_value_mask[b, k] = 1.0
                for a in range(policy.shape[1]):
                    out_policy[b, k, a] = policy[s, a]
                    if policy[s, a] > 0.0:  # all 0: no full search was made there
                        out_policy_mask[b, k] = 1.0
            elif k == remaining:
                out_value[b, k] = bootstrap[s]
                out_value_mask[b, k] = 1.0
                out_terminal[b, k] = absorbing
            elif absorbing:
                out_value_mask[b, k] = 1.0
            if k == unroll:
                continue
            if k < remaining:
                out_action[b, k] = action[s]
                out_reward[b, k] = learnt_reward(reward[s], clip)
                out_reward_mask[b, k] = 1.0
                out_next_mask[b, k] = 1.0
                if k + 1 < remaining or not absorbing:
                    out_same_player[b, k] = 1.0 if to_play[(s + 1) % capacity] == to_play[s] else 0.0
                    out_same_player_mask[b, k] = 1.0
            else:
                out_action[b, k] = filler[b, k]
                out_reward_mask[b, k] = 1.0 if absorbing else 0.0


def check_clipping(spec: EnvSpec) -> None:
    """Checks that the rewards of an environment can be learnt by their signs.

    Raises:
        UserError: they cannot: what is known of returns would hold no more.
    """
    if spec.num_players != 1 or spec.value_bounds is not None:
        raise UserError(
            f"learning.clip_rewards: expected one player whose returns have no stated bounds, got {spec.name} with "
            f"{spec.num_players} and {spec.value_bounds}; leave it false"
        )


def return_ends(
    slots: NDArray[np.int64], ring: dict[str, NDArray], unroll_steps: int, n_step: int
) -> NDArray[np.int64]:
    """Returns the slots whose values end the n-step returns of K + 1 positions behind each slot.

    Args:
        slots: [B] int64, ring slots of steps.
        ring: arrays over the ring's slots: to_end, terminated.
        unroll_steps: K.
        n_step: bootstrap horizon, 0 for the episode's end.

    Returns:
        [m] int64, ascending, each once; without the ends of terminated episodes, whose value is 0 for ever.
    """
    offsets = np.arange(unroll_steps + 1)
    to_end = ring["to_end"][slots][:, None].astype(np.int64)
    remaining = np.broadcast_to(to_end - offsets, (len(slots), len(offsets)))
    horizon = np.minimum(n_step, remaining) if n_step else remaining
    ends = (slots[:, None] + offsets + horizon) % len(ring["to_end"])
    known = ring["terminated"][slots][:, None] & (horizon == remaining)
    return np.unique(ends[(remaining > 0) & ~known])


def make_targets(
    slots: NDArray[np.int64],
    ring: dict[str, NDArray],
    bootstrap: NDArray[np.float32],
    *,
    unroll_steps: int,
    n_step: int,
    discount: float,
    outcome_weight: float,
    filler: NDArray[np.int32],
    clip_rewards: bool = False,
) -> Targets[NDArray[Any]]:
    """Builds the targets of B unrolls.

    Args:
        slots: [B] int64, ring slots of steps.
        ring: arrays over the ring's slots: to_end, terminated, to_play, action, reward, value, policy.
        bootstrap: [capacity] float32, values with which returns end; 0 in the final slot of a terminated episode.
        unroll_steps: K.
        n_step: bootstrap horizon, 0 for the episode's end.
        discount: per step, in [0, 1].
        outcome_weight: share of the n-step return in the value target; the rest is the search's root value.
        filler: [B, K] int32, actions taken in absorbing states.
        clip_rewards: rewards count by their signs; values are in these units already.

    Returns:
        Targets of the B unrolls.
    """
    batch, actions = len(slots), ring["policy"].shape[1]
    steps, positions = (batch, unroll_steps), (batch, unroll_steps + 1)
    out: Targets[NDArray[Any]] = Targets(
        action=np.zeros(steps, np.int32),
        reward=np.zeros(steps, np.float32),
        reward_mask=np.zeros(steps, np.float32),
        value=np.zeros(positions, np.float32),
        value_mask=np.zeros(positions, np.float32),
        policy=np.zeros((*positions, actions), np.float32),
        policy_mask=np.zeros(positions, np.float32),
        next_mask=np.zeros(steps, np.float32),
        same_player=np.zeros(steps, np.float32),
        same_player_mask=np.zeros(steps, np.float32),
        terminal=np.zeros(positions, np.bool_),
        slot=np.zeros(positions, np.int64),
    )
    roots = np.ascontiguousarray(slots, np.int64)
    _fill(
        roots, ring["to_end"], ring["terminated"], ring["to_play"], ring["action"], ring["reward"], ring["value"],
        bootstrap, ring["policy"], n_step, discount, clip_rewards, outcome_weight, filler,
        out.action, out.reward, out.reward_mask, out.value, out.value_mask, out.policy, out.policy_mask,
        out.next_mask, out.same_player, out.same_player_mask, out.terminal, out.slot,
    )  # fmt: skip
    return out
