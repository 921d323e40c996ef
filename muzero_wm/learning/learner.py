"""The learner: world model, teacher, optimiser; rounds of updates on the replay."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muzero_wm.basis.seeding import derive_seed, stream_keys
from muzero_wm.basis.signals import Tick, proceed
from muzero_wm.config import Config, SearchConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.learning.augment import change_images, check_images
from muzero_wm.learning.batches import Laid, lay_out
from muzero_wm.learning.health import latent_health
from muzero_wm.learning.losses import unrolled_loss
from muzero_wm.learning.nonfinite import (
    Keep,
    NonFiniteGuard,
    NonFiniteLossError,
    bad_weights,
    batch_arrays,
    name_problem,
)
from muzero_wm.learning.outcomes import Made, Outcome, Tally, fetch
from muzero_wm.learning.registry import make_heads, terms_of
from muzero_wm.learning.steps import Stepper
from muzero_wm.model.device import CPU, autocast, make_generator
from muzero_wm.model.ema import make_teacher
from muzero_wm.model.precision import PrecisionWarning, resolve_precision, why_not_bf16_on
from muzero_wm.model.world_model import WorldModel
from muzero_wm.planning.planner import Planner
from muzero_wm.replay.batch import Batch
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.reanalyze import fresh_bootstraps, reanalyze

_SPREAD_RATE = 0.05  # per round
_SHARP_FROM = 0.8

MOST_BYTES = 2**30
"""Of observations that are laid out at once where a round asks the device for nothing in between."""


class Learner:
    """Trains a world model on replayed experience.

    A round asks the device for nothing in between: its batches are laid out beforehand, and what its updates came to
    is fetched at its end. On the CPU, where looking costs nothing, every update is a round of its own in this.

    Args:
        config: the run's configuration.
        spec: the environment's shapes.
        keep: takes a batch that makes trouble, for inspection; None: nobody does.
        device: where model, teacher and batches are.
    """

    def __init__(self, config: Config, spec: EnvSpec, keep: Keep | None = None, device: torch.device = CPU) -> None:
        """Builds model, teacher and optimiser; see the class for the arguments."""
        check_images(config.learning, spec)
        self.config, self.spec, self.device = config, spec, device
        torch.manual_seed(derive_seed(config.seed, "weights"))
        self.model = WorldModel(config.model, spec).to(device)  # drawn on the CPU: the same weights everywhere
        self.dtype = resolve_precision(config.learning.precision, self.model.torso.spatial, device)
        if self.dtype == torch.bfloat16 and (reason := why_not_bf16_on(device)):
            warnings.warn(
                f"learning.precision: bf16 takes many times as long as float32 here, {reason}; auto takes float32",
                PrecisionWarning,
                stacklevel=2,
            )
        if self.model.torso.spatial:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teacher: WorldModel = make_teacher(self.model)  # type: ignore[assignment]
        self._own = terms_of(config.learning)
        self.heads = make_heads(
            (term for term, _ in self._own.values()), self.model, lambda name: derive_seed(config.seed, f"term/{name}")
        )
        decay = config.model.ema_decay
        self._stepper = Stepper(self.model, self.teacher, config.learning, decay, device, self.heads)
        self.optimizer = self._stepper.optimizer
        self.generator = make_generator(device, derive_seed(config.seed, "learner"))
        self.updates = 0
        self.guard = NonFiniteGuard(config.learning.on_nonfinite, keep)
        self._going: torch.Tensor | None = None  # whether all updates that are under way are good so far
        self._anchor: dict[str, Any] | None = None
        self._planner: Planner | None = None

    def learning_rate(self, fraction: float, ahead: int = 0) -> float:
        """Returns the rate of the next update: linear warm-up, flat, then linear decay over the rest of the budget.

        Args:
            fraction: share of the budget used, in [0, 1].
            ahead: of the update that many after the next.
        """
        c = self.config.learning
        warm = min(1.0, (self.updates + ahead + 1) / max(1, c.warmup_updates))
        late = max(0.0, min(1.0, (fraction - c.decay_from) / max(1e-9, 1.0 - c.decay_from)))
        return c.learning_rate * warm * (1.0 - (1.0 - c.final_rate) * late)

    def acting_weights(self) -> dict[str, torch.Tensor]:
        """Returns a copy of the weights that act, on the CPU: the teacher's, or the model's by configuration."""
        source = self.teacher if self.config.acting.ema_weights else self.model
        return {name: tensor.detach().to(CPU, copy=True) for name, tensor in source.state_dict().items()}

    def run_round(
        self,
        buffer: ReplayBuffer,
        round_index: int,
        updates: int,
        fraction: float,
        tick: Tick = proceed,
    ) -> dict[str, float]:
        """Makes `updates` updates on what the replay holds.

        Args:
            buffer: sampled from; its priorities and reanalysed targets change.
            round_index: names the round's random stream.
            updates: number of updates, >= 1.
            fraction: share of the training budget used.
            tick: called before every update; may raise to end the round.

        Returns:
            Means of the losses, of the size of values, of the share of targets beyond the bins and of the accuracy of
            turns over the round, and the health of the latent.

        Raises:
            NonFiniteLossError: something is NaN or infinite, and `learning.on_nonfinite` does not let it pass.
        """
        learning, replay = self.config.learning, self.config.replay
        rng = np.random.default_rng(derive_seed(self.config.seed, f"learner/{round_index}"))
        draws = buffer.sample_slots(updates * learning.batch_size, rng).by_update(updates)
        self._know_observations(buffer)
        ends = self._fresh_bootstraps(buffer, draws.slot, tick) if replay.bootstrap == "teacher" else None
        renewed = self._reanalyze(buffer, draws.slot, round_index, tick)
        beta = replay.priority_beta + (1.0 - replay.priority_beta) * fraction
        tally = Tally(self.model, self.spec)
        rate = self.learning_rate(fraction, updates - 1)
        span = 1 if self._stepper.looks else min(updates, self._together())
        for begin in range(0, updates, span):
            laid = lay_out(
                buffer,
                draws[begin : begin + span],
                beta,
                rng,
                ends=ends,
                model=self.model,
                config=learning,
                symmetries=self.spec.symmetries if replay.symmetries else (),
                device=self.device,
            )
            while laid:  # a second time where a rollback gave up what followed it
                laid = self._settle(laid, fetch(self._launch(laid, fraction, tick)), buffer, tally)
        self._check_weights()
        metrics = tally.metrics() | {"learning_rate": rate, "replay/reanalyzed": float(renewed)}
        if tally.good:
            metrics["value/spread"] = self._follow_spread(tally.value_targets(), fraction)
        if self.guard.total:
            metrics["health/nonfinite"] = float(self.guard.total)
        return metrics | ({} if tally.latent is None else latent_health(tally.latent))

    def _together(self) -> int:
        """Returns the batches that are laid out at once: all of a round, if they are not too large."""
        shape, dtype = self.spec.observation_shape, self.spec.observation_dtype
        observations = self.config.learning.batch_size * (self.config.replay.unroll_steps + 1)
        return max(1, MOST_BYTES // (observations * math.prod(shape) * dtype.itemsize))

    def _launch(self, laid: Sequence[Laid], fraction: float, tick: Tick) -> list[Made | None]:
        """Makes updates, one after the other, without waiting for what they come to."""
        self._going = None
        made = []
        for index, each in enumerate(laid):
            tick()
            batch = each.batch if each.changes is None else change_images(each.batch, each.changes)
            made.append(self._update(batch, self.learning_rate(fraction, index), each.cells))
        return made

    def _update(self, batch: Batch[torch.Tensor], rate: float, cells: torch.Tensor | None = None) -> Made | None:
        """Makes one update, or leaves it out where a number is not finite.

        Returns:
            What it came to, on the device; None where it is known to be left out before it began.
        """
        targets = batch.targets
        # the two-hot code of a NaN is no code, and that of an infinity looks fine
        good = torch.isfinite(targets.value.sum() + targets.reward.sum() + targets.policy.sum())
        if self._stepper.looks and not good:
            return None
        self._stepper.begin(rate)
        with autocast(self.device, self.dtype):
            loss = unrolled_loss(
                self.model,
                self.teacher,
                batch,
                self.config.learning,
                cells,
                own=self._own,
                heads=self.heads,
                generator=self.generator,
            )
        norm, norms = self._stepper.gradient(loss.total)
        # a part that is not finite makes the gradient so; td_error comes from the same logits and costs nothing to test
        good = good & torch.isfinite(norm) & torch.isfinite(loss.td_error).all()
        if not self._stepper.looks and self.guard.policy != "skip":
            # what follows an update that ends the round, or takes it back, must not be made
            good = self._going = good if self._going is None else good & self._going
        self._stepper.step(norm, good)
        return Made(good, loss.without_graph(), norm, norms, self._stepper.named())

    def _settle(
        self, laid: Sequence[Laid], outcomes: Sequence[Outcome | None], buffer: ReplayBuffer, tally: Tally
    ) -> list[Laid]:
        """Takes note of what updates came to, in their order, and deals with those that were left out.

        Returns:
            The updates that a rollback leaves to be made again.
        """
        for index, (each, outcome) in enumerate(zip(laid, outcomes, strict=True)):
            if outcome is not None and outcome.good:
                self.guard.good()
                buffer.update_priorities(each.samples.slot, outcome.td_error)
                tally.add(each.samples, outcome)
                self.updates += 1
                continue
            problem = name_problem(each.samples, outcome)
            decided = self.guard.bad(self.updates, problem, batch_arrays(each.samples))
            if decided == "rollback":
                self._roll_back(problem)
            self.updates += 1
            self._know_observations(buffer)  # weights from before the first update may be back
            if decided == "rollback":
                return list(laid[index + 1 :])
        return []

    def _follow_spread(self, value_targets: NDArray[np.float32], fraction: float) -> float:
        """Moves the model's spread of values towards that of a round's targets; returns it."""
        # correctly rounded sums: those of NumPy depend, in the last digit, on where in memory the numbers lie
        mean = math.fsum(value_targets) / len(value_targets)
        deviation = math.sqrt(math.fsum((value_targets.astype(np.float64) - mean) ** 2) / len(value_targets))
        spread = self.model.value_spread
        spread += (_SPREAD_RATE if spread > 0.0 else 1.0) * (deviation - spread)
        self.model.q_scale.copy_(spread * rescale_share(self.config.search, fraction))
        for name in ("value_spread", "q_scale"):
            getattr(self.teacher, name).copy_(getattr(self.model, name))
        return float(spread)

    def _know_observations(self, buffer: ReplayBuffer) -> None:
        """Takes the statistics that normalise observations whenever twice as much was seen as the last time.

        What an agent sees while it plays at random is not what it sees later; and how much was seen, unlike time, is
        the same in every repetition of a run.
        """
        observation, seen = self.model.observation, buffer.total_steps + buffer.total_episodes
        if observation.count is not None and seen >= 2 * observation.seen:
            statistics = buffer.observation_statistics(self.model.torso.spatial)
            for model in (self.model, self.teacher):
                model.normalize(statistics, seen)

    def _check_weights(self) -> None:
        """Makes sure that the weights that act next, and are saved, are numbers."""
        name = bad_weights(self.model) or (bad_weights(self.heads) if len(self.heads) else None)
        if name is None:
            return
        problem = f"not finite: {name} after the step (the gradient was)"
        # leaving out an update does not mend weights
        self.guard.bad(self.updates, problem, {}, "rollback" if self.guard.policy == "rollback" else "stop")
        self._roll_back(problem)

    def anchor(self) -> dict[str, Any]:
        """Keeps the present weights to roll back to; returns the copy of the state, which must not be changed."""
        self._anchor = copy.deepcopy(self.state_dict())
        return self._anchor

    def _roll_back(self, problem: str) -> None:
        if self._anchor is None:
            raise NonFiniteLossError(f"update {self.updates}: {problem}; there are no earlier weights to go back to")
        updates, guard = self.updates, self.guard.state_dict()
        self.load_state_dict(self._anchor)
        self.updates = updates
        self.guard.load_state_dict(guard)

    def _reanalyze(self, buffer: ReplayBuffer, slots: NDArray[np.int64], round_index: int, tick: Tick) -> int:
        """Searches a share of every batch of the round again, with the teacher; returns how many positions."""
        count = round(self.config.replay.reanalyze_fraction * slots.shape[1])
        if count == 0:
            return 0
        planner = self._refreshed_planner()

        def search(
            observations: NDArray[Any],
            legal_actions: NDArray[np.bool_],
            rng: NDArray[np.uint64],
            states: NDArray[np.int64] | None,
        ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            tick()
            try:
                result = planner.search(observations, legal_actions, rng, states=states, explore=True, tree=False)
            except ValueError as error:
                arrays = {"observation": observations, "legal_actions": legal_actions}
                self.guard.bad(self.updates, f"reanalyze: the search stopped: {error}", arrays, "stop")
                raise
            return result.action_weights, planner.stored_value(result)

        chosen = slots[:, :count].reshape(-1)
        streams = np.arange(len(chosen) * (self.config.replay.unroll_steps + 1))
        return reanalyze(buffer, chosen, search, stream_keys(self.config.seed, "reanalyze", streams, round_index))

    def _fresh_bootstraps(self, buffer: ReplayBuffer, slots: NDArray[np.int64], tick: Tick) -> NDArray[np.float32]:
        """Evaluates anew, with the teacher, the positions at which the returns of the round's samples end."""
        network = self._refreshed_planner().network

        def evaluate(observations: NDArray[Any]) -> NDArray[np.float32]:
            tick()
            value = network.initial(observations).value
            if not np.isfinite(value).all():
                self.guard.bad(self.updates, "bootstrap: a value is not finite", {"observation": observations}, "stop")
            return value

        return fresh_bootstraps(buffer, slots.reshape(-1), evaluate)

    def _refreshed_planner(self) -> Planner:
        """Returns a planner with the teacher's present weights."""
        if self._planner is None:
            inference = self.config.inference
            network = InferenceModel(self.teacher, backend=inference.backend, precision=inference.precision)
            self._planner = Planner(network, self.spec, self.config.search, shard_roots=inference.shard_roots)
        else:
            self._planner.network.refresh(self.teacher)
        return self._planner

    def state_dict(self) -> dict[str, Any]:
        """Returns weights, teacher, optimiser state and counters."""
        return {
            "model": self.model.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "updates": self.updates,
            "nonfinite": self.guard.state_dict(),
            "terms": self.heads.state_dict(),
            "generator": {"device": self.device.type, "state": self.generator.get_state()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict`."""
        self.model.load_state_dict(state["model"])
        self.teacher.load_state_dict(state["teacher"])
        self.heads.load_state_dict(state.get("terms", {}))  # runs of earlier versions had none
        self._stepper.load_state_dict(state["optimizer"])
        self.updates = int(state["updates"])
        if self.updates < 0:
            raise ValueError(f"updates: expected a count >= 0, got {self.updates}")
        self.guard.load_state_dict(state["nonfinite"])
        drawn = state.get("generator")  # runs of earlier versions had none
        if drawn is not None and drawn["device"] == self.device.type:
            self.generator.set_state(drawn["state"])
        else:  # another kind of device draws other numbers from the same state
            self.generator.manual_seed(derive_seed(self.config.seed, f"learner/generator/{self.updates}"))


def rescale_share(config: SearchConfig, fraction: float) -> float:
    """Returns the share of the spread of values that differences of q are weighed against.

    Args:
        config: first and final share.
        fraction: share of the budget used, in [0, 1]; the final share is reached at `_SHARP_FROM`.
    """
    first, final = config.rescale_share, config.final_rescale_share
    if final is None or first == 0.0:
        return first
    return first * (final / first) ** min(1.0, fraction / _SHARP_FROM)
