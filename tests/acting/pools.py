"""The two simplest pools: one actor for all slots, in this process or in one of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from muzero_wm.acting.pool import ActorPool
from muzero_wm.acting.worker import InlineActor, ProcessActor
from muzero_wm.config import Config

Kind = Callable[..., ActorPool]


def inline(config: Config, state: Mapping[str, Any] | None = None) -> ActorPool:
    return ActorPool(config, state, kind=InlineActor)


def spawned(config: Config, state: Mapping[str, Any] | None = None) -> ActorPool:
    return ActorPool(config, state, kind=ProcessActor)


def pid(pool: ActorPool) -> int:
    """Returns the number of the acting process."""
    (actor,) = pool.actors
    assert isinstance(actor, ProcessActor)
    return actor._child.pid
