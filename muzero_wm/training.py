"""The training run on one screen.

Lockstep rounds: in round t the actors play with the weights of the end of round t - 1 while the learner trains on the
data up to round t - 1; they meet only at the border. So both cores are busy, the ratio of updates to steps is exact,
and what is learnt does not depend on how fast either side is. A border is also the only moment that is ever saved: a
run that is resumed there does what it would have done.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from muzero_wm import envs
from muzero_wm.acting.actor import acting_network
from muzero_wm.acting.episodes import ActingResult
from muzero_wm.acting.pool import make_pool
from muzero_wm.acting.worker import ActingError
from muzero_wm.agent import Agent, about
from muzero_wm.basis.malloc import keep_freed_memory
from muzero_wm.basis.output import lasting_output
from muzero_wm.basis.processes import check_may_start
from muzero_wm.basis.signals import Interrupted, RoundTooLongError, StopSignals, Tick, proceed
from muzero_wm.config import Config
from muzero_wm.config.presets import dump_config, parse_config
from muzero_wm.evaluation.during import Measured, TrainingEvaluation
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.learning.learner import Learner
from muzero_wm.model.device import DeviceError, DeviceWarning, describe_device, enough_memory, resolve_device
from muzero_wm.model.precision import PrecisionWarning, describe, short_name
from muzero_wm.model.torsos import make_torso
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.room import share_room
from muzero_wm.run.border import Border
from muzero_wm.run.logger import RunLogger
from muzero_wm.run.progress import Progress
from muzero_wm.run.report import Report
from muzero_wm.storage.checkpoint import CheckpointWarning, load_checkpoint
from muzero_wm.storage.dump import dump_arrays
from muzero_wm.storage.exported import WEIGHTS, write_agent
from muzero_wm.storage.files import write_atomic
from muzero_wm.storage.folder import RunDirError, open_run
from muzero_wm.storage.saver import CheckpointSaver, restore

OnRound = Callable[[Learner, Progress], None]


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
        DeviceError: there is no such device, or its memory is not enough; the last border is saved.
        Interrupted: SIGINT, SIGTERM or SIGHUP ended the run; a border is saved.
    """
    check_may_start()
    # Absolute before foreign code runs, which may go elsewhere.
    path = Path(os.path.expanduser(run_dir)).absolute()
    with open_run(path, resume) as folder, StopSignals() as stop, lasting_output():
        run = Run(config, folder, resume, stop)
        with run.ending(), run.reporting() as report:
            while run.goes_on():
                run.border.refresh()
                run.actors.begin(run.learner.acting_weights(), run.progress.moves)
                metrics = _learn(run.learner, run.replay, run.progress, config, stop.check)
                acted = run.actors.collect(stop.check)
                run.take(acted, metrics)
                report.warn(acted.notes)
                if on_round is not None:
                    on_round(run.learner, run.progress)
                if (measured := run.evaluate()) is not None:
                    report.line(measured.line)
                    metrics |= measured.metrics
                report.round(metrics | acted.stats, now=measured is not None)
                run.save_where_due(measured)
            run.save(run.border.now(), last=True)
        return run.agent()


class Run:
    """Owns what a run is made of: learner, replay, actors, and what is saved of them.

    Args:
        config: all settings.
        folder: the run folder, which is held.
        resume: go on with the run that is there.
        stop: what asks it to end.

    Attributes:
        learner: makes the updates.
        replay: what it learns from.
        actors: play what goes there.
        progress: counters and clock.
        border: the last border between two rounds.
    """

    def __init__(self, config: Config, folder: Path, resume: bool, stop: StopSignals) -> None:
        """Builds every part, or restores it; nothing is played or learnt yet."""
        torch.set_num_threads(config.run.threads)
        keep_freed_memory()
        self._config, self._folder, self._stop = config, folder, stop
        self._spec = envs.spec(config.env)
        self._room = share_room(self._spec, config)
        device = resolve_device(config.run.device, make_torso(config.model, self._spec).spatial)
        self.learner = Learner(config, self._spec, partial(dump_arrays, folder), device)
        room = self._room
        self.replay = ReplayBuffer(
            self._spec,
            config.replay,
            config.search.discount,
            room.open_bytes,
            room.stored,
            config.learning.clip_rewards,
        )
        self.progress = Progress(config, self.learner, self.replay)
        saved = self._restore() if resume else None
        _write_config(folder, config)
        self._saver = CheckpointSaver(folder / "checkpoints", config.run)
        self._newest = (-1, 0)  # round and update of the last checkpoint
        self._last_save = self.progress.elapsed
        self._network = _network(config, self.learner, folder, saved)
        self.learner.config = _with_device(_with_backend(config, self._network.backend), str(device))
        self._evaluation = TrainingEvaluation(self.learner.config, self._spec, self.progress.elapsed)
        self.actors = make_pool(self.learner.config, saved.get("actor") if saved else None)
        self.border = Border(self.learner, self.replay, self.progress, self.actors)
        self._resume_at = (self.progress.steps, self.progress.updates) if resume else None

    def _restore(self) -> dict[str, Any]:
        """Goes on from the newest checkpoint and returns it."""
        saved = load_checkpoint(self._folder / "checkpoints")
        restore({"learner": self.learner, "replay": self.replay, "progress": self.progress}, saved)
        _tell_precision(saved.get("precision"), short_name(self.learner.dtype))
        _tell_device(saved.get("device", "cpu"), self.learner.device.type)
        return saved

    def goes_on(self) -> bool:
        """Returns whether there is another round; the run is at a border.

        Raises:
            Interrupted: a signal asked the run to end; it is saved.
        """
        if self.progress.fraction >= 1.0 or self._evaluation.reached:
            return False
        if self._stop.requested is not None:
            self.save(self.border.now(), last=True)
            raise Interrupted(self._stop.requested, saved=True)
        return True

    def take(self, acted: ActingResult, metrics: Mapping[str, float]) -> None:
        """Takes in what a round brought: the next one learns from it."""
        if acted.trajectories is not None:
            self.replay.extend(acted.trajectories)
        self.progress.advance(acted.steps)
        self._saver.observe({**metrics, **acted.stats})

    def evaluate(self) -> Measured | None:
        """Evaluates the teacher where it is time, with the run's clock stopped."""
        progress = self.progress
        if not self._evaluation.due(progress.elapsed, progress.updates, last=progress.fraction >= 1.0):
            return None
        with progress.paused():
            measured = self._evaluation.measure(self.learner.teacher, progress.updates, progress.elapsed, self._stop)
        if measured is not None:
            self._saver.observe(measured.metrics)
        return measured

    def save_where_due(self, measured: Measured | None) -> None:
        """Saves the border where it is time, and where an evaluation may have found the best weights."""
        settings = self._config.run
        best = measured is not None and settings.keep_best in measured.metrics
        if best or self.progress.elapsed - self._last_save >= 60.0 * settings.checkpoint_every_minutes:
            self._last_save = self.progress.elapsed
            self.save(self.border.now())

    def save(self, payload: dict[str, Any], last: bool = False) -> int:
        """Saves a border, unless the last checkpoint is newer.

        Args:
            payload: `border.now()` or `border.before()`.
            last: the run ends here.

        Returns:
            The update up to which the run is saved.

        Raises:
            SaveError: it could not be saved, and the run must not go on without.
        """
        start = time.monotonic()
        this = (int(payload["progress"]["rounds"]), int(payload["learner"]["updates"]))
        described = {"config": dump_config(self._config), "env": self._spec.to_dict(), "backend": self._network.backend}
        described |= {"precision": short_name(self.learner.dtype), "device": self.learner.device.type}
        # the border in memory may be older than the last checkpoint
        if this >= self._newest and self._saver.save(payload | described, this[1], last=last):
            self._newest = this
            self._export(payload["learner"]["teacher"], this[1])
        self._stop.seconds_to_save = max(1.0, time.monotonic() - start)
        return self._newest[1]

    def _export(self, weights: Mapping[str, torch.Tensor], updates: int) -> None:
        """Leaves the weights of the newest checkpoint for others to read; the checkpoint is what counts."""
        try:
            write_agent(self._folder, weights, about(self._config, self._spec, updates))
        except OSError as error:
            problem = error.strerror or error
            warnings.warn(f"{self._folder}: {WEIGHTS} cannot be written: {problem}", CheckpointWarning, stacklevel=2)

    @contextmanager
    def reporting(self) -> Iterator[Report]:
        """Opens the log and brings the run to its first border: what comes before it uses up no budget."""
        with RunLogger(self._folder, self._config.run.tensorboard, resume_at=self._resume_at) as log:
            self._stop.show = log.notice
            log.start(self._config.learning)
            learner = self.learner
            learning = f"learning: {describe(learner.dtype, learner.device)}, on {describe_device(learner.device)}"
            for line in (self._network.describe(), learning, *self._room.describe()):
                log.message(line)
            if self._resume_at is None:
                self.save(self.border.now())
            self.actors.prepare(self._stop.check)
            self.progress.begin()
            yield Report(log, self._config, self.progress, self.replay)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Ends acting, however the run ends, and saves a border where a round could not be finished.

        Raises:
            Interrupted: there was no time to finish the round.
            ActingError: it says up to where the run is saved.
            DeviceError: so does this.
        """
        try:
            yield
        except RoundTooLongError:
            self.save(self.border.before(), last=True)
            raise Interrupted(self._stop.requested or 0, saved=True) from None
        except ActingError as error:
            name, arrays = f"acting_{self.progress.rounds:09d}", error.arrays
            path = dump_arrays(self._folder, name, arrays) if arrays else None
            updates = self.save(self.border.before(), last=True)
            if self._stop.requested is not None:  # what ends the program ends what an environment runs in it, too
                raise Interrupted(self._stop.requested, saved=True) from error
            kept = f"; what the network was asked is in {path}" if path else ""
            raise ActingError(f"{error}{kept}; the run is saved up to update {updates}") from error
        except DeviceError as error:
            updates = self.save(self.border.before(), last=True)
            raise DeviceError(f"{error}; the run is saved up to update {updates}") from error
        except KeyboardInterrupt as interrupt:
            if not isinstance(interrupt, Interrupted):  # in a thread, where signals are not ours
                self.save(self.border.before(), last=True)
            raise
        finally:
            self.actors.close()

    def agent(self) -> Agent:
        """Returns the agent with the teacher's weights of now."""
        return Agent(self._config, self._spec, self.learner.teacher, self.learner.updates)


def _learn(
    learner: Learner, replay: ReplayBuffer, progress: Progress, config: Config, tick: Tick = proceed
) -> dict[str, float]:
    """Makes the updates of a round and returns what it says of them; nothing where there are none to make."""
    updates = progress.pace.round(progress.steps, replay)
    if config.learning.max_updates is not None:
        updates = min(updates, config.learning.max_updates - learner.updates)
    if updates == 0:
        return {}
    size = config.learning.batch_size
    remedy = f"lower learning.batch_size, {max(1, size // 2)} takes about half of it, or the sizes of the model"
    with enough_memory(f"updates of {size} samples", remedy):
        return learner.run_round(replay, progress.rounds, updates, progress.share, tick)


def _network(config: Config, learner: Learner, folder: Path, saved: Mapping[str, Any] | None) -> InferenceModel:
    """Returns what evaluates the network while acting: chosen once for a run and kept, wherever acting runs."""
    if saved is None:
        return acting_network(config, learner.teacher)
    chosen = saved["backend"] if config.inference.backend == "auto" else config.inference.backend
    stored = parse_config(saved["config"], f"{folder}: checkpoint").inference == config.inference
    return acting_network(_with_backend(config, chosen), learner.teacher, stored=stored)


def _with_backend(config: Config, backend: str) -> Config:
    inference = config.inference.model_copy(update={"backend": backend})
    return config.model_copy(update={"inference": inference})


def _with_device(config: Config, device: str) -> Config:
    return config.model_copy(update={"run": config.run.model_copy(update={"device": device})})


def _tell_precision(before: str | None, now: str) -> None:
    """Warns where "auto" means another precision of the learner than on the machine that saved the run."""
    if before not in (None, now):
        text = f"learning.precision: the run learnt in {before} so far and goes on in {now}"
        warnings.warn(
            f"{text}, so it will not end as it would have there; name one of them to keep it",
            PrecisionWarning,
            stacklevel=2,
        )


def _tell_device(before: str, now: str) -> None:
    """Warns where a run goes on on another kind of device: both round, each in its own way."""
    if before != now:
        text = f"run.device: the run learnt on {before} so far and goes on on {now}"
        warnings.warn(f"{text}, so it will not end as it would have there", DeviceWarning, stacklevel=2)


def _write_config(folder: Path, config: Config) -> None:
    try:
        write_atomic(folder / "config.yaml", dump_config(config).encode())
    except OSError as error:
        raise RunDirError(f"{folder}: cannot be written: {error.strerror}") from None
