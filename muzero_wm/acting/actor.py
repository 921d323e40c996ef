"""Batched self-play: every environment moves once per step, by a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.acting.episodes import Played
from muzero_wm.acting.exploration import Exploration
from muzero_wm.basis.errors import UserError
from muzero_wm.basis.seeding import derive_seed, stream_keys
from muzero_wm.basis.signals import Tick, proceed
from muzero_wm.config import Config
from muzero_wm.envs.base import Step
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.model.device import enough_memory
from muzero_wm.model.world_model import WorldModel
from muzero_wm.planning.planner import Planner, SearchResult
from muzero_wm.planning.shards import resolve_workers, shard_size
from muzero_wm.replay.frames import newest
from muzero_wm.replay.stored import Moment, Stored


class SearchError(UserError):
    """A search could not go on with what the network gave, a NaN for example.

    Attributes:
        arrays: what the network was asked, for inspection.
    """

    def __init__(self, message: str, arrays: dict[str, NDArray[Any]]) -> None:
        """Keeps the arrays beside the message."""
        super().__init__(message)
        self.arrays = arrays


def acting_network(config: Config, model: WorldModel, *, stored: bool = False) -> InferenceModel:
    """Returns the network that self-play calls, on the backend that the configuration names or "auto" finds.

    Args:
        config: the run's configuration.
        model: the first weights.
        stored: the backend comes from a checkpoint, perhaps of another machine; see `InferenceModel`.

    Returns:
        The network; its `backend` is the name to configure where the same one is wanted again.
    """
    inference = config.inference
    rows = shard_size(config.acting.num_envs, inference.shard_roots)
    return InferenceModel(
        model, backend=inference.backend, precision=inference.precision, batch_size=rows, stored=stored
    )


class Actor:
    """Plays environments of a run, all of them or a range, with searched moves.

    Every random number follows from the run's seed, the slot and the number of the move, so the state of an actor is
    that of its environments and a counter.

    Args:
        config: the run's configuration.
        model: an architecture to snapshot; weights arrive with `load_weights`.
        state: where to go on (`state_dict`); None begins.
        keep_episodes: False gives up the unfinished episodes of that state.
        slots: numbers of the environments; None: all of `acting.num_envs`.
        stored: what terms of the loss have stored of every move.

    Attributes:
        goes_on: [n] bool, which unfinished episodes of `state` could be restored.
    """

    def __init__(
        self,
        config: Config,
        model: WorldModel,
        state: Mapping[str, Any] | None = None,
        keep_episodes: bool = True,
        slots: range | None = None,
        stored: Sequence[Stored] = (),
    ) -> None:
        """Makes the environments and begins or restores their episodes; see the class for the arguments."""
        acting = config.acting
        self.config, self.model = config, model
        self._stored = tuple(stored)
        self._slots = slots or range(acting.num_envs)
        options: dict[str, Any] = {"first_slot": self._slots.start}
        options |= {"workers": acting.env_workers, "timeout": acting.env_timeout_seconds}
        if acting.random_openings > 0.0 and acting.max_random_plies > 0:
            options |= {"random_openings": acting.random_openings, "max_random_plies": acting.max_random_plies}
        self.env = envs.make(config.env, len(self._slots), derive_seed(config.seed, "envs"), **options)
        try:
            self._begin(state, keep_episodes)
        except BaseException:
            self.env.close()
            raise

    def _begin(self, state: Mapping[str, Any] | None, keep_episodes: bool) -> None:
        """Builds what searches and begins or restores the episodes."""
        config, acting = self.config, self.config.acting
        self.network = acting_network(config, self.model)
        # beside a learner in another process, its cores are taken
        workers = resolve_workers(config.inference.workers, config.run.threads if acting.process else 0)
        self.planner = Planner(self.network, self.env.spec, config.search, workers, config.inference.shard_roots)
        self._exploration = Exploration(acting, config.seed, self._slots)
        self._moves = 0
        self._length = np.zeros(len(self._slots), np.int64)
        self.goes_on = np.ones(acting.num_envs, np.bool_)
        self._step: Step
        if state is None:
            self._step = self.env.reset()
            return
        self._step, self.goes_on = self.env.restore(state["env"], keep_episodes)
        self._moves = int(state["moves"])
        self._length[:] = np.where(self.goes_on, np.asarray(state["length"]), 0)
        if "exploration" in state:  # runs of earlier versions did not explore
            self._exploration.load_state_dict(state["exploration"])
        self._exploration.forget(~self.goes_on)

    def load_weights(self, state: dict[str, torch.Tensor]) -> None:
        """Plays with the weights of a world model's state dict from now on."""
        self.model.load_state_dict(state)
        self.network.refresh(self.model)

    def play(self, steps: int, tick: Tick = proceed) -> Played:
        """Takes `steps` moves in every environment.

        Args:
            steps: moves, >= 1.
            tick: called before every move; may raise to end the round.

        Returns:
            Everything played.

        Raises:
            SearchError: the network gave a number that is NaN or infinite.
            EnvError: an environment failed.
        """
        rows: list[dict[str, NDArray[Any]]] = []
        ends: list[tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int8]]] = []
        done_rows, terminated_rows = [], []
        entropy = value = 0.0
        searched = 0
        for _ in range(steps):
            tick()
            full = self._exploration.in_full(self._moves)
            result = self._search(self._step, full)
            before = self._step
            states = self.env.states.copy() if self._stored and self.env.states is not None else None
            action = self._exploration.choose(result.action, self._step.legal_actions, self._moves)
            step = self.env.step(action)
            rows.append(
                {
                    "observation": newest(self.env.spec, before.observation),
                    "legal_actions": before.legal_actions,
                    "to_play": before.to_play,
                    "action": action,
                    "reward": step.reward,
                    "policy": result.action_weights if full else np.zeros_like(result.action_weights),
                    "value": self.planner.stored_value(result),
                }
            )
            if self._stored:
                moment = Moment(before, result, action, step, states)
                rows[-1] |= {each.name: each.take(moment, self.env.spec) for each in self._stored}
            done = step.terminated | step.truncated
            ends.append(self._ends(step, done))
            done_rows.append(done)
            terminated_rows.append(step.terminated)
            if full:
                weights, searched = result.action_weights, searched + 1
                entropy -= float(np.sum(weights * np.log(np.maximum(weights, 1e-12)))) / len(weights)
            value += float(np.abs(result.root_value).mean())
            self._length = np.where(done, 0, self._length + 1)
            self._exploration.forget(done)
            self._step = step
            self._moves += 1
        learnt = {"acting/policy_entropy": entropy / searched} if searched else {}
        observation, final_value, to_play = (np.concatenate(parts) for parts in zip(*ends, strict=True))
        return Played(
            steps={name: np.stack([row[name] for row in rows]) for name in rows[0]},
            done=np.stack(done_rows),
            terminated=np.stack(terminated_rows),
            final_observation=observation,
            final_value=final_value,
            final_to_play=to_play,
            stats={"acting/abs_root_value": value / steps} | learnt,
        )

    def _search(self, step: Step, full: bool) -> SearchResult:
        search, acting = self.config.search, self.config.acting
        keys = stream_keys(self.config.seed, "search", np.asarray(self._slots), self._moves)
        noise = self._exploration.noise
        temperature = np.where(self._length < search.temperature_moves, search.temperature * noise, 0.0)
        roots = len(self._slots)
        try:
            with enough_memory(f"searches of {roots} roots", "lower acting.num_envs or search.num_simulations"):
                return self.planner.search(
                    step.observation,
                    step.legal_actions,
                    keys,
                    num_simulations=None if full else acting.quick_simulations,
                    explore=full,
                    states=self.env.states,
                    temperature=temperature,
                    gumbel_scale=noise,
                    tree=False,
                )
        except ValueError as error:
            raise SearchError(
                f"{self.env.spec.name}: the search of move {self._moves} stopped: {error}",
                {"observation": step.observation, "legal_actions": step.legal_actions},
            ) from error

    def _ends(self, step: Step, done: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int8]]:
        """Returns what is stored of the final observation, value and player to move of the episodes that ended."""
        rows = np.flatnonzero(done)
        value = np.zeros(len(rows), np.float32)
        cut = ~step.terminated[rows]
        if cut.any():
            value[cut] = self.network.initial(step.final_observation[rows[cut]]).value
        return newest(self.env.spec, step.final_observation[rows]), value, step.final_to_play[rows]

    def state_dict(self) -> dict[str, Any]:
        """Returns the environments, the number of moves, how long each episode is and random moves under way."""
        return {
            "env": self.env.snapshot(),
            "moves": self._moves,
            "length": self._length.copy(),
            "exploration": self._exploration.state_dict(),
        }

    def close(self) -> None:
        """Closes the environments."""
        self.env.close()
