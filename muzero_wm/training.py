"""The training run on one screen.

Lockstep rounds: in round t the actor plays with the weights of the end of round t - 1 while the learner trains on the
data up to round t - 1; they meet only at the border. So both cores are busy, the ratio of updates to steps is exact,
and what is learnt does not depend on how fast either side is. A border is also the only moment that is ever saved: a
run that is resumed there does what it would have done.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from muzero_wm import envs
from muzero_wm.acting.actor import acting_network
from muzero_wm.acting.worker import ActingError, ActorHandle, make_actor
from muzero_wm.agent import Agent
from muzero_wm.basis.malloc import keep_freed_memory
from muzero_wm.basis.output import lasting_output
from muzero_wm.basis.processes import check_may_start
from muzero_wm.basis.signals import Interrupted, RoundTooLongError, StopSignals, Tick, proceed
from muzero_wm.config import Config
from muzero_wm.config.presets import dump_config, parse_config
from muzero_wm.evaluation.during import Measured, TrainingEvaluation
from muzero_wm.learning.health import HealthMonitor, return_bound
from muzero_wm.learning.learner import Learner
from muzero_wm.learning.pace import Pace
from muzero_wm.learning.schedule import Schedule
from muzero_wm.model.precision import PrecisionWarning, describe, short_name
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.room import share_room
from muzero_wm.run.logger import RunLogger
from muzero_wm.storage.checkpoint import load_checkpoint
from muzero_wm.storage.dump import dump_arrays
from muzero_wm.storage.files import write_atomic
from muzero_wm.storage.folder import RunDirError, open_run
from muzero_wm.storage.saver import CheckpointSaver, restore


class Progress:
    """Counters of a run, and how much of its budget is used.

    Args:
        config: says when the run ends.
        learner: knows its updates.
        replay: knows the finished games.
    """

    def __init__(self, config: Config, learner: Learner, replay: ReplayBuffer) -> None:
        """Starts at zero; time counts from `begin` on."""
        self.rounds = self.steps = 0
        self.pace = Pace(config)
        self._schedule = Schedule(config.learning)
        self._config, self._learner, self._replay = config.learning, learner, replay
        self._before = 0.0
        self._start: float | None = None

    def begin(self) -> None:
        """Has time count from here: importing, compiling and measuring before the first round use up no budget."""
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
        return self._before + (0.0 if self._start is None else time.monotonic() - self._start)

    @property
    def fraction(self) -> float:
        """Share of the budget used, by whichever limit is nearer."""
        shares = [0.0]
        if self._config.max_updates is not None:
            shares.append(self.updates / self._config.max_updates)
        if self._config.max_minutes is not None:
            shares.append(self.elapsed / (60.0 * self._config.max_minutes))
        return min(1.0, max(shares))

    @property
    def share(self) -> float:
        """Share of their way that learning rate, sharpness and beta have gone; see `Schedule`."""
        return self._schedule.share(self.updates, self.elapsed)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock for what is no training."""
        elapsed = self.elapsed
        try:
            yield
        finally:
            self._before, self._start = elapsed, time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Returns the counters."""
        counters = {"rounds": self.rounds, "steps": self.steps, "elapsed": self.elapsed, "updates": self.updates}
        return counters | self.pace.state_dict() | {"schedule": self._schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from saved counters."""
        self.rounds, self.steps = int(state["rounds"]), int(state["steps"])
        self._before = float(state["elapsed"])
        if min(self.rounds, self.steps) < 0 or not 0.0 <= self._before < float("inf"):
            raise ValueError(f"expected counters >= 0, got {state}")
        self.pace.load_state_dict(state)
        if "schedule" in state:  # not in runs of earlier versions
            self._schedule.load_state_dict(state["schedule"], int(state["updates"]), self._before)


OnRound = Callable[[Learner, Progress], None]


class Border:
    """A recent border of rounds in memory, for when the running round cannot be finished.

    Weights, counters and actor are copied; the replay only notes from here on what it overwrites. A copy is taken again
    when it has become so old that copying costs little: at every border where rounds are long. It is taken again too
    when the replay's notes have grown large.

    Args:
        learner: of the run.
        replay: of the run.
        progress: of the run.
        actor: of the run.
    """

    SHORTEST_AGE = 2.0  # seconds
    LARGEST_SHARE = 0.005  # of the run's time
    LARGEST_NOTES = 0.125  # of replay.max_mib

    def __init__(self, learner: Learner, replay: ReplayBuffer, progress: Progress, actor: ActorHandle) -> None:
        """Takes the first copy; the run is at a border."""
        self._learner, self._replay, self._progress, self._actor = learner, replay, progress, actor
        self._taken = self._cost = 0.0
        self._copies: dict[str, Any] = {}
        self.refresh()

    def refresh(self) -> None:
        """Takes a new copy if it is time; the run is at a border."""
        now = time.monotonic()
        young = now - self._taken < max(self.SHORTEST_AGE, self._cost / self.LARGEST_SHARE)
        few = self._replay.undo_nbytes < self.LARGEST_NOTES * self._replay.config.max_mib * 2**20
        if self._copies and young and few:
            return
        self._copies = {
            "learner": self._learner.anchor(),
            "progress": self._progress.state_dict(),
            "actor": self._actor.state_dict(),
        }
        self._replay.mark()
        self._taken = time.monotonic()
        self._cost = self._taken - now

    def now(self) -> dict[str, Any]:
        """Returns what a checkpoint holds, of the border where the run is."""
        return {
            "learner": self._learner.state_dict(),
            "replay": self._replay.state_dict(),
            "progress": self._progress.state_dict(),
            "actor": self._actor.state_dict(),
        }

    def before(self) -> dict[str, Any]:
        """Returns what a checkpoint holds, of the border last copied; the replay goes back there: the run is over."""
        self._replay.rewind()
        return {**self._copies, "replay": self._replay.state_dict()}


def train(config: Config, run_dir: str | Path, *, resume: bool = False, on_round: OnRound | None = None) -> Agent:
    """Trains an agent and leaves a run folder behind.

    Args:
        config: all settings.
        run_dir: where config, metrics and checkpoints go; `~` is the home.
        resume: go on with the run that is there.
        on_round: called at the border of every round, for example to measure the strength on the way.

    Returns:
        The agent with the EMA weights at the end of the budget.

    Raises:
        StartError: this is called by a module that is imported only for the environment in it.
        RunDirError: the folder holds a run and `resume` is False, or the other way round; or another process trains
            in it.
        CheckpointError: there is no intact checkpoint to resume from, or it does not fit the configuration.
        SaveError: a checkpoint could not be written, at the end or with `run.on_save_error: stop`.
        ActingError: an environment or the acting process failed; the last border is saved.
        NonFiniteLossError: training diverged; the checkpoints from before stay.
        Interrupted: SIGINT, SIGTERM or SIGHUP ended the run; a border is saved.
    """
    check_may_start()
    # Absolute before foreign code runs, which may go elsewhere.
    path = Path(os.path.expanduser(run_dir)).absolute()
    with open_run(path, resume) as folder, StopSignals() as stop, lasting_output():
        return _train(config, folder, resume, stop, on_round)


def _train(config: Config, folder: Path, resume: bool, stop: StopSignals, on_round: OnRound | None) -> Agent:
    torch.set_num_threads(config.run.threads)
    keep_freed_memory()
    spec = envs.spec(config.env)
    room = share_room(spec, config)
    learner = Learner(config, spec, partial(dump_arrays, folder))
    replay = ReplayBuffer(spec, config.replay, config.search.discount, room.open_bytes)
    progress = Progress(config, learner, replay)
    acting_state = None
    if resume:
        saved = load_checkpoint(folder / "checkpoints")
        restore({"learner": learner, "replay": replay, "progress": progress}, saved)
        acting_state = saved.get("actor")
        _tell_precision(saved.get("precision"), short_name(learner.dtype))
    _write_config(folder, config)
    saver = CheckpointSaver(folder / "checkpoints", config.run)

    newest = (-1, 0)  # round and update of the last checkpoint

    def save(payload: dict[str, Any], last: bool = False) -> int:
        """Returns the update up to which the run is saved."""
        nonlocal newest
        start = time.monotonic()
        this = (int(payload["progress"]["rounds"]), int(payload["learner"]["updates"]))
        described = {"config": dump_config(config), "env": spec.to_dict(), "backend": network.backend}
        described["precision"] = short_name(learner.dtype)
        # the border in memory may be older than the last checkpoint
        if this >= newest and saver.save(payload | described, this[1], last=last):
            newest = this
        stop.seconds_to_save = max(1.0, time.monotonic() - start)
        return newest[1]

    # chosen once, here, and kept: acting inline, in a process of its own and after a resume uses the same
    chosen = config.inference.backend if not resume or config.inference.backend != "auto" else saved["backend"]
    stored = resume and parse_config(saved["config"], f"{folder}: checkpoint").inference == config.inference
    network = acting_network(_with_backend(config, chosen), learner.teacher, stored=stored)
    learner.config = _with_backend(config, network.backend)
    actor = make_actor(learner.config, acting_state)
    border = Border(learner, replay, progress, actor)
    resume_at = (progress.steps, progress.updates) if resume else None
    evaluation = TrainingEvaluation(learner.config, spec, progress.elapsed)
    health = HealthMonitor(promised=abs(config.model.initial_value or 0.0))
    try:
        with RunLogger(folder, config.run.tensorboard, resume_at=resume_at) as log:
            stop.show = log.notice
            log.start(config.learning)
            log.message(network.describe())
            log.message(f"learning: {describe(learner.dtype)}")
            for line in room.describe():
                log.message(line)
            if not resume:
                save(border.now())
            actor.prepare(stop.check)
            progress.begin()
            last_log = last_save = progress.elapsed
            while progress.fraction < 1.0 and not evaluation.reached:
                if stop.requested is not None:
                    save(border.now(), last=True)
                    raise Interrupted(stop.requested, saved=True)
                border.refresh()
                actor.begin(learner.acting_weights())
                metrics = _learn(learner, replay, progress, config, stop.check)
                acted = actor.collect(stop.check)
                if acted.trajectories is not None:
                    replay.extend(acted.trajectories)
                progress.rounds += 1
                progress.steps += acted.steps
                saver.observe(metrics | acted.stats)
                _tell(log, acted.notes)
                if on_round is not None:
                    on_round(learner, progress)
                measured = _evaluate(evaluation, learner, progress, stop)
                if measured is not None:
                    saver.observe(measured.metrics)
                    metrics |= measured.metrics
                    log.message(measured.line)
                due = progress.elapsed - last_log >= config.run.log_every_seconds or progress.fraction >= 1.0
                if due or measured is not None:
                    last_log = progress.elapsed
                    metrics |= acted.stats | {"replay/steps": float(replay.num_steps)}
                    _log(log, metrics, progress, health, replay)
                best = measured is not None and config.run.keep_best in measured.metrics
                if best or progress.elapsed - last_save >= 60.0 * config.run.checkpoint_every_minutes:
                    last_save = progress.elapsed
                    save(border.now())
            save(border.now(), last=True)
    except RoundTooLongError:
        save(border.before(), last=True)
        raise Interrupted(stop.requested or 0, saved=True) from None
    except ActingError as error:
        path = dump_arrays(folder, f"acting_{progress.rounds:09d}", error.arrays) if error.arrays else None
        updates = save(border.before(), last=True)
        if stop.requested is not None:  # what ends the program ends what an environment runs in it, too
            raise Interrupted(stop.requested, saved=True) from error
        kept = f"; what the network was asked is in {path}" if path else ""
        raise ActingError(f"{error}{kept}; the run is saved up to update {updates}") from error
    except KeyboardInterrupt as interrupt:
        if not isinstance(interrupt, Interrupted):  # in a thread, where signals are not ours
            save(border.before(), last=True)
        raise
    finally:
        actor.close()
    return Agent(config, spec, learner.teacher, learner.updates)


def _evaluate(
    evaluation: TrainingEvaluation, learner: Learner, progress: Progress, stop: StopSignals
) -> Measured | None:
    """Evaluates the teacher where it is time, with the run's clock stopped."""
    if not evaluation.due(progress.elapsed, progress.updates, last=progress.fraction >= 1.0):
        return None
    with progress.paused():
        return evaluation.measure(learner.teacher, progress.updates, progress.elapsed, stop)


def _with_backend(config: Config, backend: str) -> Config:
    inference = config.inference.model_copy(update={"backend": backend})
    return config.model_copy(update={"inference": inference})


def _tell_precision(before: str | None, now: str) -> None:
    """Warns where "auto" means another precision of the learner than on the machine that saved the run."""
    if before not in (None, now):
        text = f"learning.precision: the run learnt in {before} so far and goes on in {now}"
        warnings.warn(
            f"{text}, so it will not end as it would have there; name one of them to keep it",
            PrecisionWarning,
            stacklevel=2,
        )


def _write_config(folder: Path, config: Config) -> None:
    try:
        write_atomic(folder / "config.yaml", dump_config(config).encode())
    except OSError as error:
        raise RunDirError(f"{folder}: cannot be written: {error.strerror}") from None


def _learn(
    learner: Learner,
    replay: ReplayBuffer,
    progress: Progress,
    config: Config,
    tick: Tick = proceed,
) -> dict[str, float]:
    updates = progress.pace.round(progress.steps, replay)
    if config.learning.max_updates is not None:
        updates = min(updates, config.learning.max_updates - learner.updates)
    if updates == 0:
        return {}
    return learner.run_round(replay, progress.rounds, updates, progress.share, tick)


def _log(
    log: RunLogger, metrics: dict[str, float], progress: Progress, health: HealthMonitor, replay: ReplayBuffer
) -> None:
    if "value/abs_mean" in metrics:
        metrics["value/bound"] = return_bound(replay)
    flags, due = health.watch(metrics)
    log.log(
        metrics | flags,
        updates=progress.updates,
        steps=progress.steps,
        games=progress.games,
        elapsed=progress.elapsed,
        fraction=progress.fraction,
    )
    _tell(log, due)


def _tell(log: RunLogger, lines: list[str]) -> None:
    """Shows warnings that stay, above the progress."""
    for line in lines:
        log.message(f"warning: {line}")
