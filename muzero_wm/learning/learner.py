"""The learner: world model, teacher, optimiser; rounds of updates on the replay."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muzero_wm.basis.seeding import derive_seed, stream_keys
from muzero_wm.basis.signals import Tick, proceed
from muzero_wm.config import Config, SearchConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.learning.augment import apply_symmetries
from muzero_wm.learning.losses import LossResult, draw_cells, effective_rank, unrolled_loss
from muzero_wm.learning.nonfinite import (
    Keep,
    NonFiniteGuard,
    NonFiniteLossError,
    bad_weights,
    batch_arrays,
    name_problem,
)
from muzero_wm.model.ema import make_teacher, update_teacher
from muzero_wm.model.precision import PrecisionWarning, resolve_precision, why_not_bf16
from muzero_wm.model.world_model import WorldModel
from muzero_wm.planning.planner import Planner
from muzero_wm.replay.buffer import Batch, ReplayBuffer
from muzero_wm.replay.reanalyze import reanalyze, renew_bootstraps

_SPREAD_RATE = 0.05  # per round
_SHARP_FROM = 0.8


class Learner:
    """Trains a world model on replayed experience.

    Args:
        config: the run's configuration.
        spec: the environment's shapes.
        keep: takes a batch that makes trouble, for inspection; None: nobody does.
    """

    def __init__(self, config: Config, spec: EnvSpec, keep: Keep | None = None) -> None:
        """Builds model, teacher and optimiser; see the class for the arguments."""
        self.config, self.spec = config, spec
        torch.manual_seed(derive_seed(config.seed, "weights"))
        self.model = WorldModel(config.model, spec)
        self.dtype = resolve_precision(config.learning.precision, self.model.conv)
        if self.dtype == torch.bfloat16 and (reason := why_not_bf16()):
            warnings.warn(
                f"learning.precision: bf16 takes many times as long as float32 here, {reason}; auto takes float32",
                PrecisionWarning,
                stacklevel=2,
            )
        if self.model.conv:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teacher: WorldModel = make_teacher(self.model)  # type: ignore[assignment]
        # a forward pass alone moves them, the teacher's too
        self._statistics = [
            buffer
            for network in (self.model, self.teacher)
            for module in network.modules()
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)
            for buffer in module.buffers()
        ]
        self.optimizer = self._make_optimizer()
        self.updates = 0
        self.guard = NonFiniteGuard(config.learning.on_nonfinite, keep)
        self._anchor: dict[str, Any] | None = None
        self._planner: Planner | None = None

    def _make_optimizer(self) -> torch.optim.Optimizer:
        c = self.config.learning
        if c.optimizer == "adamw":
            return torch.optim.AdamW(
                self.model.parameters(),
                lr=c.learning_rate,
                betas=(c.momentum, c.beta2),
                weight_decay=c.weight_decay,
                fused=True,
            )
        return torch.optim.SGD(
            self.model.parameters(), lr=c.learning_rate, momentum=c.momentum, weight_decay=c.weight_decay
        )

    def learning_rate(self, fraction: float) -> float:
        """Returns the rate of the next update: linear warm-up, flat, then linear decay over the rest of the budget.

        Args:
            fraction: share of the budget used, in [0, 1].
        """
        c = self.config.learning
        warm = min(1.0, (self.updates + 1) / max(1, c.warmup_updates))
        late = max(0.0, min(1.0, (fraction - c.decay_from) / max(1e-9, 1.0 - c.decay_from)))
        return c.learning_rate * warm * (1.0 - (1.0 - c.final_rate) * late)

    def acting_weights(self) -> dict[str, torch.Tensor]:
        """Returns a copy of the weights that act: the teacher's, or the model's by configuration."""
        source = self.teacher if self.config.acting.ema_weights else self.model
        return {name: tensor.detach().clone() for name, tensor in source.state_dict().items()}

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
        draws = buffer.sample_slots(updates * learning.batch_size, rng)
        slots, odds = draws.slot.reshape(updates, -1), draws.odds.reshape(updates, -1)
        self._know_observations(buffer)
        if replay.bootstrap == "teacher":
            self._renew_bootstraps(buffer, slots, tick)
        renewed = self._reanalyze(buffer, slots, round_index, tick)
        beta = replay.priority_beta + (1.0 - replay.priority_beta) * fraction
        totals: dict[str, float] = {}
        latent, size, right, good = None, 0.0, 0.0, 0
        value_targets = []
        outside = {"value/outside": 0.0, "reward/outside": 0.0}
        rate = self.learning_rate(fraction)
        for row, row_odds in zip(slots, odds, strict=True):
            tick()
            batch = buffer.batch(row, beta, rng, row_odds)
            if replay.symmetries:
                apply_symmetries(batch, self.spec.symmetries, rng)
            rate = self.learning_rate(fraction)
            done = self._update(batch, rate, draw_cells(self.model, rng))
            self.updates += 1
            if done is None:
                self._know_observations(buffer)  # weights from before the first update may be back
                continue
            loss, norm, td_error = done
            good += 1
            buffer.update_priorities(row, td_error)
            latent = loss.teacher_latent
            size += float(np.abs(td_error + batch.targets.value[:, 0]).mean())
            value_targets.append(batch.targets.value[:, 0])
            outside["value/outside"] += self.model.value_support.outside(self._possible(batch.targets.value))
            outside["reward/outside"] += self.model.reward_support.outside(batch.targets.reward)
            right += 0.0 if loss.turn_accuracy is None else float(loss.turn_accuracy)
            for name, part in (*loss.parts.items(), ("total", loss.total.detach()), ("gradient_norm", norm)):
                totals[name] = totals.get(name, 0.0) + float(part)
        self._check_weights()
        metrics = {f"loss/{name}": value / good for name, value in totals.items()}
        metrics |= {"learning_rate": rate, "replay/reanalyzed": float(renewed)}
        if good:
            metrics |= {name: share / good for name, share in outside.items()}
            metrics["value/abs_mean"] = size / good
            metrics["value/spread"] = self._follow_spread(np.concatenate(value_targets), fraction)
            if self.model.learns_turns:
                metrics["turn/accuracy"] = right / good
        if self.guard.total:
            metrics["health/nonfinite"] = float(self.guard.total)
        return metrics | ({} if latent is None else latent_health(latent))

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

    def _possible(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns values within the bounds that the environment states; a search may promise a little more."""
        if self.spec.value_bounds is None:
            return values
        low, high = self.spec.value_bounds
        if self.spec.num_players == 2:  # seen from either side
            low, high = min(low, -high), max(high, -low)
        return np.clip(values, low, high)

    def _know_observations(self, buffer: ReplayBuffer) -> None:
        """Takes the statistics that normalise observations whenever twice as much was seen as the last time.

        What an agent sees while it plays at random is not what it sees later; and how much was seen, unlike time, is
        the same in every repetition of a run.
        """
        known, seen = self.model.observation.count, buffer.total_steps + buffer.total_episodes
        if known is not None and seen >= 2 * int(known):
            statistics = buffer.observation_statistics(self.model.conv)
            for model in (self.model, self.teacher):
                model.normalize(statistics, seen)

    def _update(
        self, batch: Batch, rate: float, cells: torch.Tensor | None = None
    ) -> tuple[LossResult, torch.Tensor, NDArray[np.float32]] | None:
        """Makes one update; returns loss, gradient norm and errors, or None where it was left out."""
        targets = batch.targets
        if not np.isfinite(targets.value.sum() + targets.reward.sum() + targets.policy.sum()):
            self._leave_out(batch)  # the two-hot code of a NaN is no code, and that of an infinity looks fine
            return None
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        statistics = [buffer.clone() for buffer in self._statistics]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            loss = unrolled_loss(self.model, self.teacher, batch, self.config.learning, cells)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        weights = list(self.model.parameters())
        norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        td_error = loss.td_error.numpy()
        # a part that is not finite makes the gradient so; td_error comes from the same logits and costs nothing to test
        if not torch.isfinite(norm) or not np.isfinite(td_error).all():
            for buffer, before in zip(self._statistics, statistics, strict=True):
                buffer.copy_(before)
            self._leave_out(batch, loss)
            return None
        torch.nn.utils.clip_grads_with_norm_(weights, self.config.learning.clip_norm, norm)
        self.optimizer.step()
        update_teacher(self.teacher, self.model, self.config.model.ema_decay)
        self.guard.good()
        return loss, norm, td_error

    def _leave_out(self, batch: Batch, loss: LossResult | None = None) -> None:
        """Deals with an update that came to numbers that are not finite, by the option."""
        problem = name_problem(batch, self.model, loss)
        if self.guard.bad(self.updates, problem, batch_arrays(batch)) == "rollback":
            self._roll_back(problem)

    def _check_weights(self) -> None:
        """Makes sure that the weights that act next, and are saved, are numbers."""
        name = bad_weights(self.model)
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
            observations: NDArray[Any], legal_actions: NDArray[np.bool_], rng: NDArray[np.uint64]
        ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            tick()
            try:
                result = planner.search(observations, legal_actions, rng, explore=True)
            except ValueError as error:
                arrays = {"observation": observations, "legal_actions": legal_actions}
                self.guard.bad(self.updates, f"reanalyze: the search stopped: {error}", arrays, "stop")
                raise
            return result.action_weights, planner.stored_value(result)

        chosen = slots[:, :count].reshape(-1)
        streams = np.arange(len(chosen) * (self.config.replay.unroll_steps + 1))
        return reanalyze(buffer, chosen, search, stream_keys(self.config.seed, "reanalyze", streams, round_index))

    def _renew_bootstraps(self, buffer: ReplayBuffer, slots: NDArray[np.int64], tick: Tick) -> None:
        """Evaluates anew, with the teacher, the positions at which the returns of the round's samples end."""
        network = self._refreshed_planner().network

        def evaluate(observations: NDArray[Any]) -> NDArray[np.float32]:
            tick()
            value = network.initial(observations).value
            if not np.isfinite(value).all():
                self.guard.bad(self.updates, "bootstrap: a value is not finite", {"observation": observations}, "stop")
            return value

        renew_bootstraps(buffer, slots.reshape(-1), evaluate)

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
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict`."""
        self.model.load_state_dict(state["model"])
        self.teacher.load_state_dict(state["teacher"])
        self.optimizer.load_state_dict(state["optimizer"])
        for weight, kept in self.optimizer.state.items():
            for name, tensor in kept.items():
                if isinstance(tensor, torch.Tensor):
                    # a copy of its own, and laid out like its weight: the fused optimiser walks through memory
                    like = weight.detach() if tensor.shape == weight.shape else tensor
                    kept[name] = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
        self.updates = int(state["updates"])
        if self.updates < 0:
            raise ValueError(f"updates: expected a count >= 0, got {self.updates}")
        self.guard.load_state_dict(state["nonfinite"])


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


def latent_health(latent: torch.Tensor) -> dict[str, float]:
    """Returns the collapse metrics of a batch of latents [n, d].

    `latent/std` is the mean deviation per dimension (0: every position looks alike), `latent/effective_rank` the
    number of directions in use (1: all on a line).
    """
    return {"latent/std": float(latent.std(0).mean()), "latent/effective_rank": effective_rank(latent)}
