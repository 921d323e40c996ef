"""The learner: world model, teacher, optimiser; rounds of updates on the replay."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muzero_wm.acting.planner import Planner
from muzero_wm.config import Config
from muzero_wm.envs.base import EnvSpec
from muzero_wm.errors import UserError
from muzero_wm.learning.augment import apply_symmetries
from muzero_wm.learning.losses import effective_rank, unrolled_loss
from muzero_wm.model.ema import make_teacher, update_teacher
from muzero_wm.model.inference import InferenceModel, resolve_precision
from muzero_wm.model.world_model import WorldModel
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.reanalyze import reanalyze
from muzero_wm.seeding import derive_seed, stream_keys


class NonFiniteLossError(UserError):
    """The loss or its gradient is NaN or infinite; training cannot go on from here."""


class Learner:
    """Trains a world model on replayed experience.

    Args:
        config: the run's configuration.
        spec: the environment's shapes.
    """

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        """Builds model, teacher and optimiser; see the class for the arguments."""
        self.config, self.spec = config, spec
        torch.manual_seed(derive_seed(config.seed, "weights"))
        self.model = WorldModel(config.model, spec)
        self.dtype = resolve_precision(config.learning.precision, self.model.conv)
        if self.model.conv:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teacher: WorldModel = make_teacher(self.model)  # type: ignore[assignment]
        self.optimizer = self._make_optimizer()
        self.updates = 0

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

    def run_round(self, buffer: ReplayBuffer, round_index: int, updates: int, fraction: float) -> dict[str, float]:
        """Makes `updates` updates on what the replay holds.

        Args:
            buffer: sampled from; its priorities and reanalysed targets change.
            round_index: names the round's random stream.
            updates: number of updates, >= 1.
            fraction: share of the training budget used.

        Returns:
            Means of the losses over the round and the health of the latent.
        """
        learning, replay = self.config.learning, self.config.replay
        rng = np.random.default_rng(derive_seed(self.config.seed, f"learner/{round_index}"))
        slots = buffer.sample_slots(updates * learning.batch_size, rng).reshape(updates, -1)
        renewed = self._reanalyze(buffer, slots, round_index)
        beta = replay.priority_beta + (1.0 - replay.priority_beta) * fraction
        totals: dict[str, float] = {}
        latent = None
        for row in slots:
            batch = buffer.batch(row, beta, rng)
            if replay.symmetries:
                apply_symmetries(batch, self.spec.symmetries, rng)
            rate = self.learning_rate(fraction)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
                loss = unrolled_loss(self.model, self.teacher, batch, learning)
            self.optimizer.zero_grad(set_to_none=True)
            loss.total.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), learning.clip_norm)
            if not torch.isfinite(norm):
                raise NonFiniteLossError(
                    f"update {self.updates}: loss {loss.total.item():g}, gradient norm {norm.item():g}; "
                    "lower learning.learning_rate or check the environment's rewards"
                )
            self.optimizer.step()
            update_teacher(self.teacher, self.model, self.config.model.ema_decay)
            self.updates += 1
            buffer.update_priorities(row, loss.td_error.numpy())
            latent = loss.teacher_latent
            for name, part in (*loss.parts.items(), ("total", loss.total.detach()), ("gradient_norm", norm)):
                totals[name] = totals.get(name, 0.0) + float(part)
        metrics = {f"loss/{name}": value / updates for name, value in totals.items()}
        metrics |= {"learning_rate": rate, "replay/reanalyzed": float(renewed)}
        return metrics | ({} if latent is None else latent_health(latent))

    def _reanalyze(self, buffer: ReplayBuffer, slots: NDArray[np.int64], round_index: int) -> int:
        """Searches a share of every batch of the round again, with the teacher; returns how many positions."""
        count = round(self.config.replay.reanalyze_fraction * slots.shape[1])
        if count == 0:
            return 0
        inference = self.config.inference
        network = InferenceModel(self.teacher, backend=inference.backend, precision=inference.precision)
        planner = Planner(network, self.spec, self.config.search, shard_roots=inference.shard_roots)

        def search(
            observations: NDArray[Any], legal_actions: NDArray[np.bool_], rng: NDArray[np.uint64]
        ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            result = planner.search(observations, legal_actions, rng, explore=True)
            return result.action_weights, result.root_value

        chosen = slots[:, :count].reshape(-1)
        streams = np.arange(len(chosen) * (self.config.replay.unroll_steps + 1))
        return reanalyze(buffer, chosen, search, stream_keys(self.config.seed, "reanalyze", streams, round_index))

    def state_dict(self) -> dict[str, Any]:
        """Returns weights, teacher, optimiser state and counters."""
        return {
            "model": self.model.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict`."""
        self.model.load_state_dict(state["model"])
        self.teacher.load_state_dict(state["teacher"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates = int(state["updates"])


def latent_health(latent: torch.Tensor) -> dict[str, float]:
    """Returns the collapse metrics of a batch of latents [n, d].

    `latent/std` is the mean deviation per dimension (0: every position looks alike), `latent/effective_rank` the
    number of directions in use (1: all on a line).
    """
    return {"latent/std": float(latent.std(0).mean()), "latent/effective_rank": effective_rank(latent)}
