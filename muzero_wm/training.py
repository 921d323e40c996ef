"""The training run on one screen.

Lockstep rounds: in round t the actor plays with the weights of the end of round t - 1 while the learner trains on the
data up to round t - 1; they meet only at the border. So both cores are busy, the ratio of updates to steps is exact,
and what is learnt does not depend on how fast either side is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from muzero_wm import envs
from muzero_wm.acting.actor import acting_network
from muzero_wm.acting.worker import make_actor
from muzero_wm.agent import Agent
from muzero_wm.config import Config
from muzero_wm.learning.learner import Learner
from muzero_wm.presets import dump_config
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.run.checkpoint import load_checkpoint, prepare_run_dir, save_checkpoint
from muzero_wm.run.logger import RunLogger
from muzero_wm.run.malloc import keep_freed_memory


class Progress:
    """Counters of a run, and how much of its budget is used.

    Args:
        config: says when the run ends.
        learner: knows its updates.
        replay: knows the finished games.
    """

    def __init__(self, config: Config, learner: Learner, replay: ReplayBuffer) -> None:
        """Starts at zero; time counts from here."""
        self.rounds = self.steps = 0
        self._config, self._learner, self._replay = config.learning, learner, replay
        self._before = 0.0
        self._start = time.monotonic()

    @property
    def updates(self) -> int:
        """Updates made."""
        return self._learner.updates

    @property
    def games(self) -> int:
        """Games finished."""
        return self._replay.total_episodes

    @property
    def elapsed(self) -> float:
        """Seconds trained, earlier parts of a resumed run included."""
        return self._before + time.monotonic() - self._start

    @property
    def fraction(self) -> float:
        """Share of the budget used, by whichever limit is nearer."""
        shares = [0.0]
        if self._config.max_updates is not None:
            shares.append(self.updates / self._config.max_updates)
        if self._config.max_minutes is not None:
            shares.append(self.elapsed / (60.0 * self._config.max_minutes))
        return min(1.0, max(shares))

    def state_dict(self) -> dict[str, Any]:
        """Returns the counters."""
        return {"rounds": self.rounds, "steps": self.steps, "elapsed": self.elapsed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from saved counters."""
        self.rounds, self.steps = int(state["rounds"]), int(state["steps"])
        self._before, self._start = float(state["elapsed"]), time.monotonic()


OnRound = Callable[[Learner, Progress], None]


def train(config: Config, run_dir: str | Path, *, resume: bool = False, on_round: OnRound | None = None) -> Agent:
    """Trains an agent and leaves a run folder behind.

    Args:
        config: all settings.
        run_dir: where config, metrics and checkpoints go.
        resume: go on with the run that is there.
        on_round: called at the border of every round, for example to measure the strength on the way.

    Returns:
        The agent with the EMA weights at the end of the budget.

    Raises:
        RunDirError: the folder holds a run and `resume` is False, or the other way round.
        ActingError: an environment or the acting process failed.
        NonFiniteLossError: training diverged.
    """
    folder = Path(run_dir)
    prepare_run_dir(folder, resume)
    torch.set_num_threads(config.run.threads)
    keep_freed_memory()
    spec = envs.spec(config.env)
    learner = Learner(config, spec)
    replay = ReplayBuffer(spec, config.replay, config.search.discount)
    progress = Progress(config, learner, replay)
    parts: dict[str, Any] = {"learner": learner, "replay": replay, "progress": progress}
    if resume:
        saved = load_checkpoint(folder / "checkpoints")
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")

    def save() -> None:
        payload = {name: part.state_dict() for name, part in parts.items()}
        save_checkpoint(folder / "checkpoints", payload, step=learner.updates, keep=config.run.keep_checkpoints)

    # chosen once, here, so that acting inline and in a process of its own uses the same
    network = acting_network(config, learner.teacher)
    inference = config.inference.model_copy(update={"backend": network.backend})
    actor = make_actor(config.model_copy(update={"inference": inference}), progress.rounds)
    try:
        with RunLogger(folder, tensorboard=config.run.tensorboard) as log:
            log.start(config.learning)
            log.message(network.describe())
            last_log = last_save = progress.elapsed
            while progress.fraction < 1.0:
                actor.begin(learner.acting_weights())
                metrics = _learn(learner, replay, progress, config)
                acted = actor.collect()
                if acted.trajectories is not None:
                    replay.extend(acted.trajectories)
                progress.rounds += 1
                progress.steps += acted.steps
                if on_round is not None:
                    on_round(learner, progress)
                if progress.elapsed - last_log >= config.run.log_every_seconds or progress.fraction >= 1.0:
                    last_log = progress.elapsed
                    _log(log, metrics | acted.stats | {"replay/steps": float(replay.num_steps)}, progress)
                if progress.elapsed - last_save >= 60.0 * config.run.checkpoint_every_minutes:
                    last_save = progress.elapsed
                    save()
    except KeyboardInterrupt:
        save()
        raise
    finally:
        actor.close()
    save()
    return Agent(config, spec, learner.teacher, learner.updates)


def _learn(learner: Learner, replay: ReplayBuffer, progress: Progress, config: Config) -> dict[str, float]:
    if replay.total_steps < config.replay.min_steps or replay.num_steps == 0:
        return {}
    updates = config.learning.updates_per_round
    if config.learning.max_updates is not None:
        updates = min(updates, config.learning.max_updates - learner.updates)
    return learner.run_round(replay, progress.rounds, updates, progress.fraction)


def _log(log: RunLogger, metrics: dict[str, float], progress: Progress) -> None:
    log.log(
        metrics,
        updates=progress.updates,
        steps=progress.steps,
        games=progress.games,
        elapsed=progress.elapsed,
        fraction=progress.fraction,
    )
